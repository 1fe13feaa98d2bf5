"""Elements that are computed where they are used: expressions, their device functions, and the kernel that stores one.

An expression is told an index and gives the element there. The arrays and numbers that it needs lie in one tuple, `given`, in
the order in which it meets them, so that all launches of the same form share a kernel.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgelstm import kernels
from edgelstm.cuda import scalars
from edgelstm.cuda.decode import DTYPES
from edgelstm.cuda.driver import cuda
from edgelstm.cuda.fused import gathers
from edgelstm.cuda.fused.elements import arrays
from edgelstm.cuda.launching import THREADS, Args, Launch, Twin, blocks_for, jit, launch
from edgelstm.cuda.scalars import device

KERNEL = "expression"  # the name of the calls that store one
ROUNDED = {"add_f32": "plus", "sub_f32": "minus"}  # of what memory would round: x * x - y * y is no less than 0 where x is y


@dataclass(frozen=True)
class Box:
    """A place with so many axes: given[at] is its start, its lengths and its strides follow."""

    at: int
    axes: int


@dataclass(frozen=True)
class Load:
    """given[array] at the index, or where a box says."""

    array: int
    box: Box | None


@dataclass(frozen=True)
class Result:
    """What the product has computed that applies the expression."""


@dataclass(frozen=True)
class Apply:
    """The formula of a kernel, applied to parts and to the numbers that begin at given[at]."""

    kernel: str
    parts: tuple["Expression", ...]
    at: int
    numbers: int


@dataclass(frozen=True)
class Moved:
    """A part at the index that a box says."""

    box: Box
    part: "Expression"


@dataclass(frozen=True)
class Row:
    """An element of rows of a table, which begins with given[at], its scales and its width; `index` gives the row."""

    form: str
    at: int
    index: "Expression"


Expression = Load | Result | Apply | Moved | Row


@dataclass(frozen=True)
class Stored:
    """Element i of an expression, stored as element i of an array, or where `target` says. What a product has computed as
    its element i is that of the expression which the boxes of `moved` lead to, one after the other.
    """

    expression: Expression
    target: Box | None
    moved: tuple[Box, ...] = ()


@cache
def function(expression: Expression) -> Any:
    """`value(given, i, result)`: element i."""
    return device(_MADE[type(expression)](expression))


@cache
def offset(box: Box) -> Any:
    """`offset(given, i)`: where element i of a box is."""
    (start, lengths, strides), inside = range(box.at, box.at + 3), _inside(box.axes)
    return device(lambda given, i: given[start] + inside(i, given[lengths], given[strides]))


@cache
def _inside(axes: int) -> Any:
    if axes == 1:
        return device(lambda i, lengths, strides: i * strides[0])
    last, outer = axes - 1, _inside(axes - 1)

    def inside(i, lengths, strides):
        rest = i // lengths[last]
        return outer(rest, lengths, strides) + (i - rest * lengths[last]) * strides[last]

    return device(inside)


def _load(load: Load) -> Any:
    array = load.array
    if load.box is None:
        return lambda given, i, result: given[array][np.uint64(i)]
    at = offset(load.box)
    return lambda given, i, result: given[array][np.uint64(at(given, i))]


def _moved(moved: Moved) -> Any:
    at, part = offset(moved.box), function(moved.part)
    return lambda given, i, result: part(given, at(given, i), result)


def _row(row: Row) -> Any:
    (table, scale, width), index, element = range(row.at, row.at + 3), function(row.index), gathers.element(row.form)

    def value(given, i, result):
        n = i // given[width]
        return element(given[table], given[scale], index(given, n, result), i - n * given[width], given[width])

    return value


def _apply(apply: Apply) -> Any:
    parts, kind = [function(part) for part in apply.parts], np.dtype(DTYPES[arrays(apply.kernel)["y"]]).type
    f, a, (first, second, third) = formula(apply.kernel), parts[0], range(apply.at, apply.at + 3)
    if len(parts) == 3:
        b, c = parts[1:]
        return lambda given, i, result: kind(f(a(given, i, result), b(given, i, result), c(given, i, result)))
    if len(parts) == 2:
        b = parts[1]
        return lambda given, i, result: kind(f(a(given, i, result), b(given, i, result)))
    return [
        lambda given, i, result: kind(f(a(given, i, result))),
        lambda given, i, result: kind(f(a(given, i, result), given[first])),
        lambda given, i, result: kind(f(a(given, i, result), given[first], given[second])),
        lambda given, i, result: kind(f(a(given, i, result), given[first], given[second], given[third])),
    ][apply.numbers]


_MADE: dict[type, Any] = {Load: _load, Result: lambda expression: lambda given, i, result: result, Apply: _apply, Moved: _moved,
                          Row: _row}


@cache
def formula(kernel: str) -> Any:
    """The formula of a kernel as a device function of numbers."""
    declared = kernels.described(kernel)
    vectors = scalars.make(wide=declared.numbers)
    return getattr(vectors, ROUNDED[kernel]) if kernel in ROUNDED else vectors.inline(declared.formula(vectors))


@cache
def storing(stored: Stored) -> Any:
    """`store(y, i, result, given)`: element i, or that which a product has computed as its element i."""
    value, moved, target = function(stored.expression), _along(stored.moved), _along((stored.target,) if stored.target else ())

    def store(y, i, result, given):
        at = moved(given, i)
        y[np.uint64(target(given, at))] = value(given, at, result)

    return device(store)


def _along(boxes: tuple[Box, ...]) -> Any:
    """`at(given, i)`: where the boxes lead, one after the other."""
    if not boxes:
        return device(lambda given, i: i)
    first, rest = offset(boxes[0]), _along(boxes[1:])
    return device(lambda given, i: rest(given, first(given, i)))


@cache
def kernel(stored: Stored) -> Any:
    """The kernel that stores `count` elements."""
    store = storing(stored)

    def elements(y, count, given):
        for i in range(cuda.grid(1), count, cuda.gridsize(1)):
            store(y, i, np.float32(0.0), given)

    return jit(elements)


def given(args: Args) -> tuple[Any, ...]:
    """What the expressions of a call need; a number where that is nothing."""
    return tuple(value for name, value in args.items() if name.startswith("given")) or (0,)


def _bind(args: Args) -> list[Launch]:
    if args["count"] == 0:
        return []
    blocks = blocks_for(args["count"])
    return [launch(kernel(args["stored"]), blocks, THREADS, args["y"], args["count"], given(args))]


TWIN = Twin(_bind)
