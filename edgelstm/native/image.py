"""An image: machine code laid out and relocated, made of an object by `linking.py`. A process only maps it (`mapped.py`)."""

import struct
from typing import NamedTuple

PAGE = 4096  # images begin at such an address: AArch64 code addresses constants by page and offset
ZEROS = 65536  # zeroed memory begins at a multiple of this, the largest page of the machines that have images
_MAGIC = b"EdgeLSTM image 2"
_HEADER = struct.Struct("<16sIII")


class Image(NamedTuple):
    """Code with its constants, the size of the zeroed memory at `zeros_at`, and the offsets of the symbols in both.

    `params` are the parameters of a kernel as it declares them.
    """

    code: bytes
    zeros: int
    symbols: dict[str, int]
    params: str = ""

    @property
    def zeros_at(self) -> int:
        """The offset of the zeroed memory."""
        return zeros_at(len(self.code))

    def to_bytes(self) -> bytes:
        """As it is stored."""
        names = "\n".join([self.params, *(f"{offset} {name}" for name, offset in self.symbols.items())]).encode()
        return _HEADER.pack(_MAGIC, len(self.code), self.zeros, len(names)) + names + self.code


def from_bytes(content: bytes) -> Image | None:
    """The image that was stored, None where it is none or not whole."""
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        return None
    _, code, zeros, names = _HEADER.unpack_from(content)
    start = _HEADER.size + names
    if len(content) != start + code:
        return None
    params, *lines = content[_HEADER.size : start].decode().split("\n")
    return Image(content[start:], zeros, {name: int(offset) for offset, name in (line.split(" ", 1) for line in lines)}, params)


def zeros_at(code: int) -> int:
    """The offset of zeroed memory behind so many bytes of code."""
    return -(-code // ZEROS) * ZEROS
