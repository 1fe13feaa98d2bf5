"""Ops that reorder elements: transpose and flip."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time, normal_axis
from edgelstm.ops.strided import copy, dense_strides


class Transpose(Op):
    """x with its axes in another order: y's axis i is x's axis perm[i]."""

    name = "transpose"
    narrow = ("*",)
    attrs = {"perm": Attr("ints")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, perm = ins[0], attrs["perm"]
        if sorted(perm) != list(range(x.rank)):
            raise ShapeError(f"perm {list(perm)} does not order the {x.rank} axes of {list(x.shape)}")
        return [Fact(tuple(x.shape[axis] for axis in perm), x.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.transpose(ins[0], attrs["perm"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (x,), (y,), perm = ins, outs, attrs["perm"]
        moved = [axis for axis in perm if x.shape[axis] != 1]
        if moved == sorted(moved):
            low.alias(y, x)
            return
        strides = dense_strides(x.shape)
        copy(low, x, y, y.shape, [strides[axis] for axis in perm], dense_strides(y.shape))

    def cases(self) -> Iterable[Case]:
        x = np.arange(5 * 17 * 33, dtype=np.float32).reshape(5, 17, 33)
        yield Case("matrix", [x[0]], {"perm": (1, 0)})
        yield Case("btf to tbf", [x], {"perm": (1, 0, 2)})
        yield Case("reverse", [x], {"perm": (2, 1, 0)})
        yield Case("length 1", [x[:1]], {"perm": (1, 0, 2)})
        yield Case("six axes", [x[:, :16, :32].reshape(5, 4, 4, 2, 4, 4)], {"perm": (5, 3, 1, 0, 2, 4)})
        yield Case("empty", [x[:0]], {"perm": (2, 0, 1)})
        yield Case("int64", [x.astype(np.int64)], {"perm": (0, 2, 1)})
        yield Case("bool", [x[0] % 3 == 0], {"perm": (1, 0)})


class Flip(Op):
    """x backwards along the given axes."""

    name = "flip"
    narrow = ("*",)
    attrs = {"axes": Attr("ints")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        for axis in attrs["axes"]:
            normal_axis(axis, ins[0].rank)
        return [Fact(ins[0].shape, ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.flip(ins[0], attrs["axes"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, normal_axis(axis, ins[0].rank)) for axis in attrs["axes"]]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        if any(carries_time(ins[0], axis, time) for _, axis in self.mixes(attrs, ins)):
            raise NeedsFuture("it reverses time, so its first output is the last time step")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (x,), (y,) = ins, outs
        strides, start = dense_strides(x.shape), 0
        axes = {normal_axis(axis, len(x.shape)) for axis in attrs["axes"]}
        if all(x.shape[axis] == 1 for axis in axes):
            low.alias(y, x)
            return
        for axis in axes:
            start += (x.shape[axis] - 1) * strides[axis]
        backwards = [-stride if axis in axes else stride for axis, stride in enumerate(strides)]
        copy(low, x, y, x.shape, backwards, strides, start)

    def cases(self) -> Iterable[Case]:
        x = np.arange(3 * 17 * 5, dtype=np.float32).reshape(3, 17, 5)
        yield Case("time", [x], {"axes": (1,)})
        yield Case("all", [x], {"axes": (0, 1, -1)})
        yield Case("one step", [x[:, :1]], {"axes": (1,)})
        yield Case("empty", [x[:, :0]], {"axes": (1,)})
        yield Case("bool", [x > 30], {"axes": (2,)})


OPS = (Transpose(), Flip())
