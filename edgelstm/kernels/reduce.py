"""Reductions of the middle axis of x [outer][n][inner] to y [outer][inner], and cumsum and arg_max along it.

Sums of floats are taken in blocks, so that their error does not grow with n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelstm.kernels.declare import kernel

Formula = Callable[..., Any]

PARAMS = "outer:int n:int inner:int"
BLOCK = 32  # terms that are summed before the block's sum joins the total


@dataclass(frozen=True)
class Reduction:
    """start: the result of no terms; take(total, x): one term more; join(a, b): of two parts; across: of a vector."""

    start: float
    take: Formula
    join: Formula
    across: Formula


def addition(v: Any) -> Reduction:
    """The sum."""
    return Reduction(0.0, v.inline(lambda total, x: total + x), v.inline(lambda a, b: a + b), v.sum)


def _sum_square(v: Any) -> Reduction:
    fma = v.fma
    return Reduction(0.0, v.inline(lambda total, x: fma(x, x, total)), v.inline(lambda a, b: a + b), v.sum)


def maximum(v: Any) -> Reduction:
    """The largest number, NaN where there is one."""
    larger, select, equal = v.max, v.select, v.equal
    take = v.inline(lambda total, x: select(equal(x, x), larger(x, total), x))
    return Reduction(float("-inf"), take, take, v.greatest)


def _min(v: Any) -> Reduction:
    smaller, select, equal = v.min, v.select, v.equal
    take = v.inline(lambda total, x: select(equal(x, x), smaller(x, total), x))
    return Reduction(float("inf"), take, take, v.least)


def row_total(v: Any, reduction: Reduction) -> Formula:
    """`total(x, i, n)`: the reduction of x[i : i + n] to one number."""
    load, load_part, splat, less, select, index = v.load, v.load_part, v.splat, v.less, v.select, v.index
    lanes, start, across = v.lanes, reduction.start, reduction.across
    take, join = reduction.take, reduction.join
    block = BLOCK * lanes

    @v.inline
    def total(x, i, n):
        sums = splat(start)
        whole = n - n % lanes
        for first in range(0, whole, block):
            part = splat(start)
            end = first + block if first + block < whole else whole
            for k in range(first, end, lanes):
                part = take(part, load(x, i + k))
            sums = join(sums, part)
        rest = n - whole
        tail = select(less(index(), splat(rest)), load_part(x, i + whole, rest), start)
        return across(take(sums, tail))

    return total


def column_total(v: Any, reduction: Reduction) -> Formula:
    """`total(x, i, n, stride, count)`: the reduction of n rows of `count` <= lanes columns, from x[i] on."""
    load_part, splat, start = v.load_part, v.splat, reduction.start
    take, join = reduction.take, reduction.join

    @v.inline
    def total(x, i, n, stride, count):
        sums = splat(start)
        for first in range(0, n, BLOCK):
            part = splat(start)
            end = first + BLOCK if first + BLOCK < n else n
            for k in range(first, end):
                part = take(part, load_part(x, i + k * stride, count))
            sums = join(sums, part)
        return sums

    return total


def _vector(make: Callable[[Any], Reduction]) -> Callable[[Any], Formula]:
    def factory(v: Any) -> Formula:
        along_row, along_columns = row_total(v, make(v)), column_total(v, make(v))
        lanes, store_part = v.lanes, v.store_part

        def reduce(x, y, outer, n, inner):
            if inner == 1:
                for r in range(outer):
                    y[r] = along_row(x, r * n, n)
                return
            for r in range(outer):
                for c in range(0, inner, lanes):
                    sums = along_columns(x, r * n * inner + c, n, inner, inner - c)
                    store_part(y, r * inner + c, inner - c, sums)

        return reduce

    return factory


def _scalar(start: int, take: Formula) -> Callable[[Any], Formula]:
    def factory(v: Any) -> Formula:
        step = v.inline(take)

        def reduce(x, y, outer, n, inner):
            for r in range(outer):
                for c in range(inner):
                    total = start
                    for k in range(n):
                        total = step(total, x[(r * n + k) * inner + c])
                    y[r * inner + c] = total

        return reduce

    return factory


def cumsum(zero: float) -> Callable[[Any], Formula]:
    """Running sums from either end; `exclusive` leaves the own element out. Floats are summed in float64."""

    def factory(v: Any) -> Formula:
        def cumsum(x, y, outer, n, inner, reverse, exclusive):
            for r in range(outer):
                for c in range(inner):
                    total = zero
                    for step in range(n):
                        k = n - 1 - step if reverse else step
                        i = (r * n + k) * inner + c
                        before = total
                        total += x[i]
                        y[i] = before if exclusive else total

        return cumsum

    return factory


def arg_max(v: Any) -> Formula:
    """y = position of the largest number, the first of equal ones; a NaN counts as the largest."""

    def arg_max(x, y, outer, n, inner):
        for r in range(outer):
            for c in range(inner):
                first = r * n * inner + c
                best = 0
                for k in range(1, n):
                    top, number = x[first + best * inner], x[first + k * inner]
                    if top == top and not number <= top:
                        best = k
                y[r * inner + c] = best

    return arg_max


for _name, _make in {"sum": addition, "sum_square": _sum_square, "max": maximum, "min": _min}.items():
    kernel(f"reduce_{_name}_f32", f"x:f32* y:f32* {PARAMS}")(_vector(_make))
kernel("reduce_prod_f32", f"x:f32* y:f32* {PARAMS}")(_scalar(1.0, lambda total, x: total * x))
for _name, _start, _take in (
    ("sum", 0, lambda total, x: total + x),
    ("prod", 1, lambda total, x: total * x),
    ("max", -(2**63), lambda total, x: x if x > total else total),
    ("min", 2**63 - 1, lambda total, x: x if x < total else total),
):
    kernel(f"reduce_{_name}_i64", f"x:i64* y:i64* {PARAMS}")(_scalar(_start, _take))
for _tag, _zero in (("f32", 0.0), ("i64", 0)):
    kernel(f"cumsum_{_tag}", f"x:{_tag}* y:{_tag}* {PARAMS} reverse:int exclusive:int")(cumsum(_zero))
    kernel(f"arg_max_{_tag}", f"x:{_tag}* y:i64* {PARAMS}")(arg_max)
