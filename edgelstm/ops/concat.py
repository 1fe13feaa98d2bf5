"""Ops that join and part arrays along one axis: concat and split."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time, normal_axis
from edgelstm.ops.strided import copy, dense_strides


class Concat(Op):
    """The inputs one after the other along `axis`; all other axes have equal lengths."""

    name = "concat"
    narrow = ("*",)
    inputs = ("x*",)
    attrs = {"axis": Attr("int")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        parts = [fact for fact in ins if fact is not None]
        if not parts or len(parts) != len(ins):
            raise ShapeError("it joins no inputs, or an absent one")
        first, axis = parts[0], normal_axis(attrs["axis"], parts[0].rank)
        for part in parts[1:]:
            same = part.rank == first.rank and _without(part.shape, axis) == _without(first.shape, axis)
            if not first.rank or not same or part.dtype != first.dtype:
                raise ShapeError(f"it joins {part.dtype}{list(part.shape)} to {first.dtype}{list(first.shape)} "
                                 f"along axis {axis}; dtype and all other axes must be equal")
        length = sum(part.shape[axis] for part in parts)
        return [Fact((*first.shape[:axis], length, *first.shape[axis + 1:]), first.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.concatenate(ins, attrs["axis"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(i, normal_axis(attrs["axis"], fact.rank)) for i, fact in enumerate(ins)]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        axis = normal_axis(attrs["axis"], ins[0].rank)
        parts = [fact for fact in ins if fact.shape[axis]]
        if len(parts) > 1 and any(carries_time(fact, axis, time) for fact in parts):
            raise NeedsFuture("it joins values along time, so a step gives more or fewer values than it takes")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        y, start = outs[0], 0
        axis, strides = normal_axis(attrs["axis"], len(y.shape)), dense_strides(y.shape)
        whole = [x for x in ins if x.shape[axis]]
        if len(whole) == 1:
            low.alias(y, whole[0])
            return
        for x in whole:
            copy(low, x, y, x.shape, dense_strides(x.shape), strides, 0, start)
            start += x.shape[axis] * strides[axis]

    def cases(self) -> Iterable[Case]:
        x = np.arange(5 * 17 * 33, dtype=np.float32).reshape(5, 17, 33)
        yield Case("features", [x, x[..., :5], x[..., :1]], {"axis": -1})
        yield Case("middle", [x, x[:, :3]], {"axis": 1})
        yield Case("batch", [x, x], {"axis": 0})
        yield Case("one", [x], {"axis": 2})
        yield Case("empty part", [x[:, :0], x], {"axis": 1})
        yield Case("int64", [np.array([2], np.int64), np.array([3, 4], np.int64)], {"axis": 0})
        yield Case("bool", [x[0] > 9, x[0] > 99], {"axis": 0})


class Split(Op):
    """x in consecutive parts of the given sizes along `axis`."""

    name = "split"
    narrow = ("*",)
    outputs = ("y*",)
    attrs = {"axis": Attr("int"), "sizes": Attr("ints")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, sizes = ins[0], attrs["sizes"]
        axis = normal_axis(attrs["axis"], x.rank)
        if not x.rank or not sizes or min(sizes) < 0 or sum(sizes) != x.shape[axis]:
            raise ShapeError(f"axis {axis} of {list(x.shape)} cannot be split into {list(sizes)}")
        return [Fact((*x.shape[:axis], size, *x.shape[axis + 1:]), x.dtype) for size in sizes]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return np.split(ins[0], np.cumsum(attrs["sizes"])[:-1], attrs["axis"])

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, normal_axis(attrs["axis"], ins[0].rank))]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        axis = normal_axis(attrs["axis"], ins[0].rank)
        if carries_time(ins[0], axis, time) and sum(size > 0 for size in attrs["sizes"]) > 1:
            raise NeedsFuture("it splits the time steps into parts")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, start = ins[0], 0
        axis, strides = normal_axis(attrs["axis"], len(x.shape)), dense_strides(x.shape)
        for y, size in zip(outs, attrs["sizes"], strict=False):
            if y is not None and size == x.shape[axis]:
                low.alias(y, x)
            elif y is not None:
                copy(low, x, y, y.shape, strides, dense_strides(y.shape), start)
            start += size * strides[axis]

    def cases(self) -> Iterable[Case]:
        x = np.arange(3 * 5 * 65, dtype=np.float32).reshape(3, 5, 65)
        yield Case("gates", [x[..., :64]], {"axis": 2, "sizes": (16, 16, 16, 16)})
        yield Case("odd", [x], {"axis": -1, "sizes": (1, 31, 33)})
        yield Case("steps", [x], {"axis": 1, "sizes": (1, 1, 1, 1, 1)})
        yield Case("whole", [x], {"axis": 0, "sizes": (3, 0)})
        yield Case("int64", [np.arange(5)], {"axis": 0, "sizes": (2, 3)})


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1:])


OPS = (Concat(), Split())
