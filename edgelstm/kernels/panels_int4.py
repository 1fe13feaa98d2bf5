"""Panels of int4 weights and rows that meet them; see formats/int4.py."""

import numpy as np

from edgelstm.kernels.panels import flat, in_blocks

GROUP = 32


def pack_int4(values: np.ndarray, scale: np.ndarray, gates: int, units: int, lanes: int) -> np.ndarray:
    """The panels of weights in groups of 32: bytes (groups * 16, gates * units) of two inputs, bfloat16 scales of the groups.

    A block has `units` units, registers have `lanes`.
    """
    rows = in_blocks(values, gates, units)
    count, octets, columns = rows.shape
    groups = octets // 16
    words = np.ascontiguousarray(rows.reshape(count, groups, 4, 4, columns).swapaxes(3, 4)).view(np.int32)
    vectors = columns // lanes
    halves = np.zeros((count, groups, vectors + vectors % 2, lanes), np.uint32)
    halves[:, :, :vectors] = in_blocks(scale, gates, units).reshape(count, groups, vectors, lanes)
    scales = (halves[:, :, ::2] | halves[:, :, 1::2] << 16).view(np.int32)
    parts = [words.reshape(count, groups, 4 * columns), scales.reshape(count, groups, scales.shape[2] * lanes)]
    return flat(np.concatenate(parts, axis=2))


def row_words(n: int) -> int:
    """The 32-bit words of a prepared row of n numbers; also compiled."""
    return (((n + 31) >> 5) * 9 + 16) >> 4 << 4
