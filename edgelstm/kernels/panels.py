"""Weights in the layout that kernels read: panels, one for every block of units, zero padded, 64-byte aligned.

A block is one register's width of output columns (or units), so one pass over the inputs leaves a whole block in registers.

    float32     [block][n_in][gates * lanes]
    bfloat16    [block][n_in / 2][gates * lanes] words of two inputs, the first in the low half; of an odd n_in the last row
                holds its input in the high half, which makes it a float32
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


def in_blocks(weights: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """(n, gates * units), gates side by side, as (block, n, gates * lanes): each block has all gates of a unit."""
    n, width = weights.shape
    units = width // gates
    count = blocks(units, lanes)
    padded = np.zeros((n, gates, count * lanes), weights.dtype)
    padded[:, :, :units] = weights.reshape(n, gates, units)
    return padded.reshape(n, gates, count, lanes).transpose(2, 0, 1, 3).reshape(count, n, gates * lanes)


def pack_panels(weights: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """The panels of float32 weights (n_in, gates * units)."""
    return flat(in_blocks(np.asarray(weights, np.float32), gates, lanes))


def pack_bfloat16(bits: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """The panels of bfloat16 weights (n_in, gates * units), given as their bits, uint16."""
    rows = in_blocks(bits, gates, lanes).astype(np.uint32)
    even = rows.shape[1] // 2 * 2
    words = rows[:, 0:even:2] | rows[:, 1:even:2] << 16
    return flat(np.concatenate([words, rows[:, even:] << 16], axis=1).view(np.int32))


def pack_gates(bias: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """A bias (gates * units,) as [block][gates][lanes]."""
    return pack_panels(bias.reshape(1, -1), gates, lanes)


def flat(values: np.ndarray) -> np.ndarray:
    """The values one behind the other, from a cache line on."""
    packed = aligned(values.size, values.dtype)
    packed[:] = values.ravel()
    return packed
