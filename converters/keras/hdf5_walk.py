"""Reads all of an HDF5 file and gives nothing back: run as a script, in a process that may crash, hang or run out of memory.

The HDF5 library does all three on some damaged files. What fails with an exception is left to the reader behind, which
words it. Imports nothing of this package, so that the process starts fast.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Any

MAX_ATTRIBUTE = 64 << 20  # bytes
MAX_RATIO = 1032  # deflate cannot shrink data further than this
MAX_MEMORY = 8 << 30


def h5py() -> Any:
    """The library, imported where it is used: looking at this module must not load it."""
    return import_module("h5py")


def walk(file: Any) -> None:
    """Read every attribute and every packed dataset that hard links lead to, each once."""
    waiting, seen = [file["/"]], set()
    while waiting:
        node = waiting.pop()
        address = h5py().h5o.get_info(node.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in list(node.attrs):
            attempt(lambda node=node, name=name: attribute(node, name))
        if isinstance(node, h5py().Dataset):
            attempt(lambda node=node: packed(node))
        elif isinstance(node, h5py().Group):
            attempt(lambda node=node: waiting.extend(members(node)))


def attribute(node: Any, name: str) -> object:
    """The value of an attribute. Raises ValueError when it claims more bytes than any attribute of Keras has."""
    claimed = h5py().h5a.open(node.id, name.encode("utf-8", "surrogateescape"))
    size = claimed.get_space().get_simple_extent_npoints() * claimed.get_type().get_size()
    if size > MAX_ATTRIBUTE:
        raise ValueError(f"it claims {size} bytes")
    return node.attrs[name]


def packed(dataset: Any) -> None:
    """Read a dataset stored in chunks; plain ones hold nothing that the library must decode."""
    plausible = dataset.nbytes <= dataset.id.get_storage_size() * MAX_RATIO
    if dataset.chunks is not None and plausible and not dataset.is_virtual:
        dataset[()]


def members(group: Any) -> list[Any]:
    """What hard links of a group lead to."""
    found = []
    for name in list(group.keys()):
        if isinstance(group.get(name, getlink=True), h5py().HardLink):
            attempt(lambda name=name: found.append(group[name]))
    return found


def attempt(action: Callable[[], object]) -> None:
    """Run something that may meet damage."""
    with suppress(OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError):
        action()


def limit_memory() -> None:
    """Bound the memory of this process where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > MAX_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, hard))


if __name__ == "__main__":
    limit_memory()
    source = sys.argv[1] if len(sys.argv) > 1 else BytesIO(sys.stdin.buffer.read())
    attempt(lambda: walk(h5py().File(source, "r")))
