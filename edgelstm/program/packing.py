"""Weights of the graph as panels for one machine, in the format of their precision."""

import numpy as np

from edgelstm.kernels import formats, panels, panels_int4, panels_int8
from edgelstm.ops.stored import Stored

_FORMAT = {"int8-static": "int8"}  # precisions whose format is called otherwise
_ROW_WORDS = {"int8": panels_int8.row_words, "int8x16": panels_int8.two_row_words, "int4": panels_int4.row_words}


def packed(matrix: np.ndarray | Stored, gates: int, lanes: int, vectors: int = 1, taps: int = 1) -> np.ndarray:
    """The panels of a matrix (n_in, gates * units), gates side by side, for blocks of `vectors` registers of units.

    Each block has the panels of `taps` equal parts of the inputs.
    """
    if taps == 1:
        return _whole(matrix, gates, lanes, vectors)
    size, count = matrix.shape[0] // taps, panels.blocks(matrix.shape[1] // gates, vectors * lanes)
    parts = [_whole(_rows(matrix, j * size, (j + 1) * size), gates, lanes, vectors).reshape(count, -1) for j in range(taps)]
    return np.concatenate(parts, axis=1).ravel()


def kernel_name(kernel: str, precision: str) -> str:
    """What a kernel is called that reads weights of this precision."""
    return formats.named(kernel, _FORMAT.get(precision, precision))


def row_words(precision: str, n: int) -> int:
    """The 32-bit words of a prepared row of n numbers, 0 where the kernels of this precision read floats."""
    count = _ROW_WORDS.get(_FORMAT.get(precision, precision))
    return count(n) if count else 0


def _whole(matrix: np.ndarray | Stored, gates: int, lanes: int, vectors: int) -> np.ndarray:
    width = vectors * lanes
    if not isinstance(matrix, Stored):
        return panels.pack_panels(matrix, gates, width)
    values = matrix.values.reshape(-1, matrix.shape[1])
    if matrix.precision == "bfloat16":
        return panels.pack_bfloat16(values, gates, width)
    if matrix.precision == "int4":
        return panels_int4.pack_int4(values, matrix.scale, gates, width, lanes)
    return panels_int8.pack_int8(values, matrix.scale, gates, width)


def _rows(matrix: np.ndarray | Stored, start: int, stop: int) -> np.ndarray | Stored:
    return matrix.rows(start, stop) if isinstance(matrix, Stored) else matrix[start:stop]
