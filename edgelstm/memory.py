"""Aligned memory for arenas, states and packed weights; large weights lie in huge pages where the system has such."""

from collections.abc import Sequence
from ctypes import addressof, c_char

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
HUGE_PAGE = 2**21  # bytes, on x86-64 and on aarch64 with pages of 4 KiB

_first_byte = c_char.from_buffer


def aligned_zeros(shape: Sequence[int], dtype: str | type = "float32") -> np.ndarray:
    """A zeroed C-contiguous array whose first byte lies on a cache line."""
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    block = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -address(block) % ALIGNMENT
    return block[start : start + nbytes].view(dtype).reshape(shape)


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A C-contiguous copy of an array that lies on a cache line."""
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def weights_copy(array: np.ndarray) -> np.ndarray:
    """An aligned copy of weights that are read again and again; long ones come from beyond the cache, faster in huge pages.

    Only pages that it fills to three quarters are huge, so that little memory is wasted.
    """
    pages = (array.nbytes + HUGE_PAGE // 4) // HUGE_PAGE
    block = _mapped(array.nbytes, pages) if pages else None
    if block is None:
        return aligned_copy(array)
    copy = block.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _mapped(nbytes: int, pages: int) -> np.ndarray | None:
    """Memory that begins with so many huge pages, each given when it is first written; None where the system has none."""
    import mmap

    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        block = mmap.mmap(-1, max(nbytes, pages * HUGE_PAGE) + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = -address(np.frombuffer(block, np.uint8)) % HUGE_PAGE
        block.madvise(mmap.MADV_HUGEPAGE, start, pages * HUGE_PAGE)
    except OSError:
        return None
    return np.frombuffer(block, np.uint8, nbytes, start)


def address(array: np.ndarray) -> int:
    """Address of the first byte of an array."""
    if array.flags.writeable:
        try:
            return addressof(_first_byte(array))  # four times as fast as what follows
        except (TypeError, ValueError):  # it is empty, lies in several pieces, or is of a type that buffers don't know
            pass
    return array.__array_interface__["data"][0]


def round_up(nbytes: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of the alignment."""
    return -(-nbytes // alignment) * alignment
