"""Ops that repeat an array: expand (broadcasting) and tile."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.known import known_ints
from edgelstm.ops.op import Case, Fact, NeedsFuture, Op, StateSlot, carries_time, time_axes
from edgelstm.ops.strided import copy, dense_strides

_REPEATED = "it repeats a value over all time steps, and that value may be known only after the last of them"


class Expand(Op):
    """x broadcast with a known shape, both ways: an axis of length 1 on either side takes the other's length."""

    name = "expand"
    narrow = ("*",)
    inputs = ("x", "shape")
    parameters = ("shape",)

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        return [Fact(_broadcast(ins[0].shape, known_ints(ins[1], "shape")), ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.broadcast_to(ins[0], _broadcast(ins[0].shape, [int(n) for n in ins[1].reshape(-1)]))]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        x, lead = ins[0], outs[0].rank - ins[0].rank
        new = [axis for axis in time_axes(outs[0], time) if axis < lead or not carries_time(x, axis - lead, time)]
        if new and x.sources:
            raise NeedsFuture(_REPEATED)
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, y = ins[0], outs[0]
        if np.prod(x.shape, dtype=np.int64) == np.prod(y.shape, dtype=np.int64):
            low.alias(y, x)
            return
        lead = len(y.shape) - len(x.shape)
        own = zip(x.shape, dense_strides(x.shape), strict=True)
        strides = [0] * lead + [0 if n == 1 else stride for n, stride in own]
        copy(low, x, y, y.shape, strides, dense_strides(y.shape))

    def cases(self) -> Iterable[Case]:
        x = np.arange(5 * 33, dtype=np.float32).reshape(5, 1, 33)
        for name, shape in {"middle": [5, 17, 33], "front": [3, 1, 1, 1], "nothing": [1], "empty": [5, 0, 33]}.items():
            yield Case(name, [x, np.array(shape, np.int64)])
        yield Case("scalar", [np.array(3, np.float32), np.array([2, 17], np.int64)])
        yield Case("int64", [np.arange(5).reshape(5, 1), np.array([5, 65], np.int64)])
        yield Case("bool", [x[:, 0] > 9, np.array([3, 1, 1], np.int64)])


class Tile(Op):
    """x written repeats[axis] times, one copy after the other, along every axis; `repeats` is known."""

    name = "tile"
    narrow = ("*",)
    inputs = ("x", "repeats")
    parameters = ("repeats",)

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        repeats = known_ints(ins[1], "repeats")
        if len(repeats) != ins[0].rank or any(n < 0 for n in repeats):
            raise ShapeError(f"repeats {list(repeats)} for the {ins[0].rank} axes of {list(ins[0].shape)}")
        return [Fact(tuple(n * times for n, times in zip(ins[0].shape, repeats, strict=True)), ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.tile(ins[0], ins[1].reshape(-1))]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, axis) for axis, times in enumerate(known_ints(ins[1], "repeats")) if times != 1]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        for _, axis in self.mixes(attrs, ins):
            if carries_time(ins[0], axis, time):
                raise NeedsFuture("it repeats the whole sequence along time")
            if carries_time(outs[0], axis, time) and ins[0].sources:
                raise NeedsFuture(_REPEATED)
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, y = ins[0], outs[0]
        repeats = known_ints(ins[1], "repeats")
        if all(n == 1 for n in repeats):
            low.alias(y, x)
            return
        dims, x_strides, y_strides = [], [], []
        rows = zip(x.shape, repeats, dense_strides(x.shape), dense_strides(y.shape), strict=True)
        for n, times, x_stride, y_stride in rows:
            dims += [times, n]
            x_strides += [0, x_stride]
            y_strides += [n * y_stride, y_stride]
        copy(low, x, y, dims, x_strides, y_strides)

    def cases(self) -> Iterable[Case]:
        x = np.arange(2 * 3 * 17, dtype=np.float32).reshape(2, 3, 17)
        rows = {"time": [1, 5, 1], "features": [1, 1, 3], "all": [2, 3, 2], "nothing": [1, 1, 1], "empty": [1, 0, 1]}
        for name, repeats in rows.items():
            yield Case(name, [x, np.array(repeats, np.int64)])
        yield Case("many axes", [x.reshape(2, 3, 1, 17, 1), np.array([2, 2, 3, 2, 3], np.int64)])
        yield Case("int64", [np.arange(5), np.array([3], np.int64)])


def _broadcast(shape: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(tuple(shape), tuple(wanted))
    except ValueError:
        raise ShapeError(f"{list(shape)} cannot be expanded to {list(wanted)}") from None


OPS = (Expand(), Tile())
