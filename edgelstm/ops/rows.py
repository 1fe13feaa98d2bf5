"""Lowering shared by the ops that multiply by weights: rows in the form that the kernels of a precision read."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Rows(NamedTuple):
    """Rows of an operand: row (b, t) begins at start + b * far + t * near, `n` numbers long, b < batch and t < count."""

    x: Any
    batch: int
    count: int
    n: int
    start: int
    far: int
    near: int


def dense_rows(x: Any, count: int, n: int) -> Rows:
    """Rows that lie one behind the other."""
    return Rows(x, 1, count, n, 0, 0, n)


def prepared(low: Any, attrs: Mapping[str, Any], rows: Rows) -> tuple[Any, int]:
    """What a matrix product of this precision reads in place of the rows, and the distance from row to row.

    Rows of floats are read where they are, and must lie at equal distances from the operand's begin then.
    """
    words = low.row_words(attrs["precision"], rows.n)
    if not words:
        return rows.x, rows.near
    ready = low.scratch((rows.batch * rows.count, words))
    low.call(low.kernel("quantize", attrs["precision"]), x=rows.x, y=ready, batch=rows.batch, count=rows.count, n=rows.n,
             x_start=rows.start, x_batch=rows.far, x_row=rows.near, scale=attrs["x_scale"])
    return ready, words
