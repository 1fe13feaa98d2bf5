"""Panels of int8 weights; see formats/int8.py."""

import numpy as np

from edgelstm.kernels.panels import flat, in_blocks

OFFSET = 128  # how much too high the bytes of a row may lie


def pack_int8(values: np.ndarray, scale: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """The panels of weights (n_in, gates * units) within [-127, 127], with a scale for each column."""
    n_in, width = values.shape
    whole = np.zeros((-(-n_in // 4) * 4, width), np.int8)
    whole[:n_in] = values
    rows = in_blocks(whole, gates, lanes)
    count, _, columns = rows.shape
    words = np.ascontiguousarray(rows.reshape(count, -1, 4, columns).swapaxes(2, 3)).view(np.int32)
    scales = in_blocks(np.asarray(scale, np.float32).reshape(1, -1), gates, lanes).view(np.int32)
    corrections = in_blocks(-OFFSET * values.sum(0, np.int32)[None], gates, lanes)
    return flat(np.concatenate([words.reshape(count, -1, columns), scales, corrections], axis=1))


def row_words(n: int) -> int:
    """The 32-bit words of a prepared row of n numbers; also compiled."""
    return (((n + 3) >> 2) + 16) >> 4 << 4


def two_row_words(n: int) -> int:
    """The same of a row in two parts; also compiled."""
    return (((n + 3) >> 2) + 16) >> 4 << 5
