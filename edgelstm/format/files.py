"""Writing .elstm files whole or not at all, and reading them through a memory map."""

import mmap
import os
import stat

from edgelstm.errors import FormatError
from edgelstm.format.container import MAGIC
from edgelstm.format.graph_json import from_bytes, to_bytes
from edgelstm.graph import Graph


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph to a file. The old file is replaced in one step, so that a reader never sees half a model.

    Raises FormatError when the folder is missing or cannot be written, or when the graph holds what the format cannot.
    """
    from pathlib import Path

    path = Path(path)
    if path.exists() and not path.is_file():
        raise FormatError(f"{path}: is no regular file, so nothing is written there; give the name of a file")
    path = path.resolve() if path.is_symlink() else path
    data = to_bytes(graph)
    beside = path.parent / f".{path.name}.{os.urandom(6).hex()}.part"
    try:
        try:
            with open(beside, "xb") as file:
                file.write(data)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise FormatError(f"{path}: cannot write into {str(path.parent)!r}: {error.strerror}") from None


def read(path: str | os.PathLike[str]) -> Graph:
    """The graph of a file; its tensors are views into a read-only memory map. Raises FormatError naming the file."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(f"{path}: not a regular file; load the bytes instead")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
    except OSError as error:
        raise FormatError(f"{path}: cannot read: {error.strerror}") from None
    return from_bytes(data, str(path))


def is_elstm(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like an .elstm file, or is named like one."""
    try:
        with open(path, "rb") as file:
            return file.read(8 + len(MAGIC))[8:] == MAGIC or os.fspath(path).lower().endswith(".elstm")
    except OSError as error:
        raise FormatError(f"{path}: cannot read: {error.strerror}") from None
