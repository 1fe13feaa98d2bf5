"""Aligned memory for arenas, states and packed weights."""

from collections.abc import Sequence

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


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


def address(array: np.ndarray) -> int:
    """Address of the first byte of an array."""
    return array.__array_interface__["data"][0]


def round_up(nbytes: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of the alignment."""
    return -(-nbytes // alignment) * alignment
