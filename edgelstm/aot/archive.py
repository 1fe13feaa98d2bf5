"""A static library: one object in the common `ar` format, with the index of symbols that linkers look for."""

import struct
from collections.abc import Sequence

_MAGIC = b"!<arch>\n"
_HEADER = 60


def archive(name: str, content: bytes, symbols: Sequence[str]) -> bytes:
    """The bytes of a library that holds an object called `name` (at most 15 characters are kept) which defines `symbols`."""
    names = b"".join(symbol.encode() + b"\0" for symbol in symbols)
    size = 4 + 4 * len(symbols) + len(names)
    place = len(_MAGIC) + _HEADER + size + size % 2
    index = struct.pack(f">I{len(symbols)}I", len(symbols), *[place] * len(symbols)) + names
    return _MAGIC + _member("/", index) + _member(f"{name[:15]}/", content)


def _member(name: str, content: bytes) -> bytes:
    """A file with its header: name, date, owner, group, mode and size, without anything that depends on when it was made."""
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)
