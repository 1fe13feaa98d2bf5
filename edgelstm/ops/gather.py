"""The op that picks positions of one axis by index: gather."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time, normal_axis
from edgelstm.ops.strided import WIDTH, copy

_CLAMP = {"int64": "clamp_i64", "int32": "clamp_i32", "float32": "clamp_f32"}


class Gather(Op):
    """numpy.take(x, indices, axis): y has the shape x.shape[:axis] + indices.shape + x.shape[axis+1:].

    A negative index counts from the end. The reference refuses an index out of range; the kernel takes the nearest
    valid one. Streams along time for exactly the last step.
    """

    name = "gather"
    inputs = ("x", "indices")
    selectors = ("indices",)
    narrow = ("x",)
    attrs = {"axis": Attr("int", 0)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, indices = ins
        if not x.rank:
            raise ShapeError("it gathers from a value without axes")
        axis = normal_axis(attrs["axis"], x.rank)
        check_indices(indices, ("int64", "int32"))
        check_range(indices.value, indices.size, -x.shape[axis], x.shape[axis])
        return [Fact((*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]), x.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, indices = ins
        n = x.shape[attrs["axis"]]
        check_range(indices, indices.size, -n, n)
        return [np.take(x, indices, attrs["axis"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, normal_axis(attrs["axis"], ins[0].rank))]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        x, indices = ins
        axis = normal_axis(attrs["axis"], x.rank)
        if carries_time(x, axis, time):
            n, chosen = x.shape[axis], indices.value
            if n != time or chosen is None or chosen.size != 1 or int(chosen.reshape(-1)[0]) % n != n - 1:
                raise NeedsFuture("it picks time steps by index; only the last step can be picked")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (x, indices), y = ins, outs[0]
        axis = normal_axis(attrs["axis"], len(x.shape))
        n = x.shape[axis]
        outer, inner = product(x.shape[:axis]), product(x.shape[axis + 1:])
        count = product(indices.shape)
        if not outer * count * inner:
            return
        regular = None if indices.value is None else _regular(indices.value.reshape(-1) % n)
        if regular is not None:
            start, step = regular
            copy(low, x, y, (outer, count, inner), (n * inner, step * inner, 1), (count * inner, inner, 1),
                 start * inner)
            return
        rows = clamped_indices(low, indices, n, wrap=n)
        gather_rows(low, x, rows, y, (outer, n, count, inner))

    def cases(self) -> Iterable[Case]:
        x = np.arange(3 * 17 * 33, dtype=np.float32).reshape(3, 17, 33)
        chosen = np.array([[0, 16, -1], [5, 5, -17]], np.int64)
        yield Case("last step", [x, np.array(-1)], {"axis": 1})
        yield Case("middle", [x, chosen], {"axis": 1})
        yield Case("features", [x, chosen.astype(np.int32)], {"axis": -1})
        yield Case("rows", [x[:, 0], np.array([2, 0, 0, 1])])
        yield Case("no index", [x, np.zeros((0,), np.int64)], {"axis": 2})
        yield Case("int64", [np.arange(5), np.array([4, 0, 3])])
        yield Case("bool", [x[0] > 50, np.array([1, 0, 16])])


def clamped_indices(low: Any, indices: Any, n: int, wrap: int, outside: int = 0) -> Any:
    """Scratch with the indices as int64: `wrap` is added to negative ones, then they are limited to 0 .. n-1.

    With `outside` = 1 the limits are -1 .. n, so that what is out of range can still be told.
    """
    count = product(indices.shape)
    rows = low.scratch((count,), "int64")
    low.call(_CLAMP[indices.dtype], x=indices, y=rows, count=count, wrap=wrap, low=-outside, high=n - 1 + outside)
    return rows


def gather_rows(low: Any, x: Any, rows: Any, y: Any, sizes: tuple[int, int, int, int]) -> None:
    """Append the call for x (outer, n, inner) and y (outer, count, inner); `sizes` are (outer, n, count, inner)."""
    outer, n, count, inner = sizes
    octets = inner * WIDTH[x.dtype]
    kernel, inner = ("gather1", octets) if octets % 4 else ("gather4", octets // 4)
    low.call(kernel, x=x, indices=rows, y=y, outer=outer, n=n, count=count, inner=inner)


def check_indices(indices: Fact, dtypes: tuple[str, ...]) -> None:
    """Raise ShapeError for indices of another dtype."""
    if indices.dtype not in dtypes:
        raise ShapeError(f"its indices are {indices.dtype}; supported are {', '.join(dtypes)}")


def check_range(indices: np.ndarray | None, count: int, first: int, end: int) -> None:
    """Raise ShapeError when there are indices, but nothing to index, or a known one is out of range."""
    if count and end <= 0:
        raise ShapeError("it looks up rows of an empty axis")
    if indices is not None and indices.size and not (np.min(indices) >= first and np.max(indices) < end):
        raise ShapeError(f"an index in {np.min(indices)} .. {np.max(indices)} is outside {first} .. {end - 1}")


def _regular(indices: np.ndarray) -> tuple[int, int] | None:
    """(start, step) of evenly spaced indices, None for others."""
    steps = np.unique(np.diff(indices))
    return (int(indices[0]), int(steps[0]) if steps.size else 0) if steps.size <= 1 else None


def product(lengths: Sequence[int]) -> int:
    """The number of elements of a shape."""
    return int(np.prod(lengths, dtype=np.int64))


OPS = (Gather(),)
