"""softmax and log_softmax along the middle axis of x [outer][n][inner]; y has the same shape and may be x itself."""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels import formulas, reduce
from edgelstm.kernels.declare import kernel

Formula = Callable[..., Any]


def _softmax(v: Any) -> Formula:
    """exp(x - max) / sum exp(x - max)."""
    exp = formulas.make(v).exp
    load, store = v.load_part, v.store_part

    @v.inline
    def finish(x, y, i, count, top, total):
        store(y, i, count, exp(load(x, i, count) - top) / total)

    return finish


def _log_softmax(v: Any) -> Formula:
    """x - max - log(sum exp(x - max))."""
    log = formulas.make(v).log
    load, store = v.load_part, v.store_part

    @v.inline
    def finish(x, y, i, count, top, total):
        store(y, i, count, load(x, i, count) - top - log(total))

    return finish


def _along_row(v: Any, finish: Formula) -> Formula:
    exp, load, select, less, index, splat = formulas.make(v).exp, v.load_part, v.select, v.less, v.index, v.splat
    sum_across, lanes = v.sum, v.lanes
    greatest = reduce.row_total(v, reduce.maximum(v))

    @v.inline
    def row(x, y, i, n):
        top = splat(greatest(x, i, n))
        whole = n - n % lanes
        rest = n - whole
        total = select(less(index(), splat(rest)), exp(load(x, i + whole, rest) - top), 0.0)
        for k in range(0, whole, lanes):
            total = total + exp(load(x, i + k, lanes) - top)
        sums = splat(sum_across(total))
        for k in range(0, whole, lanes):
            finish(x, y, i + k, lanes, top, sums)
        finish(x, y, i + whole, rest, top, sums)

    return row


def _along_columns(v: Any, finish: Formula) -> Formula:
    exp, load, zero = formulas.make(v).exp, v.load_part, v.zero
    greatest = reduce.column_total(v, reduce.maximum(v))

    @v.inline
    def columns(x, y, i, n, stride, count):
        top = greatest(x, i, n, stride, count)
        total = zero()
        for k in range(n):
            total = total + exp(load(x, i + k * stride, count) - top)
        for k in range(n):
            finish(x, y, i + k * stride, count, top, total)

    return columns


def softmax(v: Any, finish: Callable[[Any], Formula]) -> Formula:
    """The kernel for one way to finish a row from its maximum and its sum of exponentials."""
    row, columns, lanes = _along_row(v, finish(v)), _along_columns(v, finish(v)), v.lanes

    def softmax(x, y, outer, n, inner):
        for r in range(outer):
            if inner == 1:
                row(x, y, r * n, n)
            else:
                for c in range(0, inner, lanes):
                    columns(x, y, r * n * inner + c, n, inner, inner - c)

    return softmax


for _name, _finish in (("softmax", _softmax), ("log_softmax", _log_softmax)):
    kernel(f"{_name}_f32", f"x:f32* y:f32* {reduce.PARAMS}")(lambda v, finish=_finish: softmax(v, finish))
