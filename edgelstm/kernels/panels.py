"""Weights in the layout that kernels read: panels of [block][k][vectors * lanes], zero padded, 64-byte aligned.

A block is one register's width of output columns (or units), so one pass over k leaves a whole block in registers.
"""

import numpy as np

ALIGNMENT = 64


def aligned(size: int, dtype: np.dtype | type = np.float32) -> np.ndarray:
    """A zeroed one-dimensional array that starts on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size * itemsize + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * itemsize].view(dtype)


def blocks(units: int, lanes: int) -> int:
    """How many blocks of `lanes` hold `units`."""
    return -(-units // lanes)


def pack_panels(weights: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """(n_in, gates * units), gates side by side, as [block][n_in][gates][lanes]: each block has all gates of a unit."""
    n_in, width = weights.shape
    units = width // gates
    count = blocks(units, lanes)
    padded = np.zeros((n_in, gates, count * lanes), dtype=np.float32)
    padded[:, :, :units] = weights.reshape(n_in, gates, units)
    packed = aligned(padded.size)
    packed[:] = padded.reshape(n_in, gates, count, lanes).transpose(2, 0, 1, 3).ravel()
    return packed


def pack_gates(bias: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """A bias (gates * units,) as [block][gates][lanes]."""
    return pack_panels(bias.reshape(1, -1), gates, lanes)
