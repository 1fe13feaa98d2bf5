"""Lowering shared by the ops that multiply by weights: rows in the form that the kernels of a precision read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from edgelstm.ops.binary import axis_params


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


def with_factors(low: Any, rows: Rows, factor: Any) -> Rows:
    """The rows times a factor (n,) for each place; `rows` themselves where there is none."""
    if factor is None:
        return rows
    y, steps = low.scratch((rows.batch, rows.count, rows.n)), (rows.far, rows.near, 1)
    layout = axis_params("d", y.shape, 1) | axis_params("a", steps, 0) | axis_params("b", (0, 0, 1), 0)
    low.call("mul_f32", a=rows.x, b=factor, y=y, **layout)
    return dense_rows(y, rows.batch * rows.count, rows.n)


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
