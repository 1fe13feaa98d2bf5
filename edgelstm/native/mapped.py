"""Images mapped into this process for the rest of its life, where the operating system allows it: Linux on 64 bits.

What is mapped is a nameless file in memory that holds the bytes which were verified, so nothing that happens to the cache
changes it, and a system that never lets written memory be executed has nothing against it. The kernel of the system makes
mapped files visible to the fetching of instructions, as it does for libraries.
"""

import ctypes
import functools
import mmap
import os
import sys
from collections.abc import Callable

from edgelstm.native.image import ZEROS, Image

_FIXED = 0x10
_FAILED = ctypes.c_void_p(-1).value


def addresses(image: Image) -> dict[str, int] | None:
    """The addresses of an image's symbols, newly mapped; None where it cannot be."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32 or mmap.PAGESIZE > ZEROS or not hasattr(os, "memfd_create"):
        return None
    try:
        base = _map(image)
    except OSError:
        return None
    return None if base is None else {name: base + offset for name, offset in image.symbols.items()}


def _map(image: Image) -> int | None:
    file = os.memfd_create("edgelstm", os.MFD_CLOEXEC)
    try:
        if os.write(file, image.code) != len(image.code):
            return None
        where, fixed = None, 0
        if image.zeros:
            size, fixed = image.zeros_at + image.zeros, _FIXED
            where = _mapping(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_ANONYMOUS, -1)
            if where is None:
                return None
        return _mapping(where, len(image.code), mmap.PROT_READ | mmap.PROT_EXEC, fixed, file)
    finally:
        os.close(file)


def _mapping(where: int | None, size: int, access: int, flags: int, file: int) -> int | None:
    found = _mmap()(where, size, access, flags | mmap.MAP_PRIVATE, file, 0)
    return None if found == _FAILED else found


@functools.cache
def _mmap() -> Callable[[int | None, int, int, int, int, int], int | None]:
    """The C library's function: what Python's own maps, it also unmaps, at the latest when the interpreter ends."""
    function = ctypes.CDLL(None).mmap
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    function.restype = ctypes.c_void_p
    return function
