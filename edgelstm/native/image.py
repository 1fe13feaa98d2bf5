"""An image: machine code laid out and relocated, which a process only maps. Made of objects by `linking.py`, mapped by `mapped.py`."""

import struct
from typing import NamedTuple

PAGE = 4096  # images begin at such an address: AArch64 code addresses constants by page and offset
ZEROS = 65536  # zeroed memory begins at a multiple of this, the largest page of the machines that have images
_MAGIC = b"EdgeLSTM image 1"
_HEADER = struct.Struct("<16sIII")


class Image(NamedTuple):
    """Code with its constants, the size of the zeroed memory that belongs at `zeros_at`, and the offsets of the symbols in both."""

    code: bytes
    zeros: int
    symbols: dict[str, int]

    @property
    def zeros_at(self) -> int:
        """The offset of the zeroed memory."""
        return zeros_at(len(self.code))

    def to_bytes(self) -> bytes:
        """As it is stored."""
        names = "\n".join(f"{offset} {name}" for name, offset in self.symbols.items()).encode()
        return _HEADER.pack(_MAGIC, len(self.code), self.zeros, len(names)) + names + self.code


def from_bytes(content: bytes) -> Image | None:
    """The image that was stored, None where it is none or not whole."""
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        return None
    _, code, zeros, names = _HEADER.unpack_from(content)
    start = _HEADER.size + names
    if len(content) != start + code:
        return None
    lines = content[_HEADER.size : start].decode().splitlines()
    return Image(content[start:], zeros, {name: int(offset) for offset, name in (line.split(" ", 1) for line in lines)})


def zeros_at(code: int) -> int:
    """The offset of zeroed memory behind so many bytes of code."""
    return -(-code // ZEROS) * ZEROS
