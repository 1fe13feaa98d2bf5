"""Ops that give the same elements in the same order another shape: reshape, squeeze, unsqueeze."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.known import known_ints
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, normal_axis, time_axes


class _SameElements(Op):
    """Base: the output is the input's memory under another shape."""

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        low.alias(outs[0], ins[0])


class Reshape(_SameElements):
    """x under a known shape; 0 keeps the input's length (unless `allowzero`), one -1 takes what is left.

    Streams where elements keep their order within a step: time stays an axis of its own, or shares one with the
    batch as its innermost or outermost part.
    """

    name = "reshape"
    narrow = ("*",)
    inputs = ("x", "shape")
    parameters = ("shape",)
    attrs = {"allowzero": Attr("bool", False)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        wanted = known_ints(ins[1], "shape")
        return [Fact(_resolved(ins[0].shape, wanted, attrs["allowzero"]), ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        wanted = tuple(int(n) for n in ins[1].reshape(-1))
        return [ins[0].reshape(_resolved(ins[0].shape, wanted, attrs["allowzero"]))]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        before, after = _step_sizes(ins[0], time), _step_sizes(outs[0], time)
        if len(before) != len(after) or any(a.isdisjoint(b) for a, b in zip(before, after, strict=True)):
            raise NeedsFuture(f"it reshapes {_text(ins[0], time)} to {_text(outs[0], time)}, "
                              "which mixes time with other axes")
        return {}

    def cases(self) -> Iterable[Case]:
        x = np.arange(2 * 5 * 33, dtype=np.float32).reshape(2, 5, 33)
        for name, shape in {"merge": [0, -1], "split": [2, 5, 3, 11], "flat": [-1], "infer": [-1, 33]}.items():
            yield Case(name, [x, np.array(shape, np.int64)])
        yield Case("scalar", [x[:1, :1, :1], np.zeros(0, np.int64)])
        yield Case("allowzero", [x[:0], np.array([0, 7], np.int64)], {"allowzero": True})


class Squeeze(_SameElements):
    """x without the given axes, each of length 1."""

    name = "squeeze"
    narrow = ("*",)
    attrs = {"axes": Attr("ints")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, axes = ins[0], {normal_axis(axis, ins[0].rank) for axis in attrs["axes"]}
        if len(axes) < len(attrs["axes"]):
            raise ShapeError(f"it drops an axis twice: {list(attrs['axes'])}")
        for axis in sorted(axes):
            if x.shape[axis] != 1:
                raise ShapeError(f"it drops axis {axis} of {list(x.shape)}, whose length is not 1")
        return [Fact(tuple(n for axis, n in enumerate(x.shape) if axis not in axes), x.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.squeeze(ins[0], tuple(attrs["axes"]))]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        return {}

    def cases(self) -> Iterable[Case]:
        x = np.arange(33, dtype=np.float32).reshape(1, 33, 1)
        return [Case("one", [x], {"axes": (0,)}), Case("both", [x], {"axes": (-1, 0)}), Case("none", [x], {"axes": ()})]


class Unsqueeze(_SameElements):
    """x with new axes of length 1; `axes` count in the output."""

    name = "unsqueeze"
    narrow = ("*",)
    attrs = {"axes": Attr("ints")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        rank = ins[0].rank + len(attrs["axes"])
        axes = {normal_axis(axis, rank) for axis in attrs["axes"]}
        if len(axes) != len(attrs["axes"]):
            raise ShapeError(f"it adds an axis twice: {list(attrs['axes'])}")
        lengths = iter(ins[0].shape)
        return [Fact(tuple(1 if axis in axes else next(lengths) for axis in range(rank)), ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.expand_dims(ins[0], tuple(attrs["axes"]))]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        return {}

    def cases(self) -> Iterable[Case]:
        x = np.arange(15, dtype=np.float32).reshape(3, 5)
        return [Case("front", [x], {"axes": (0,)}), Case("mixed", [x], {"axes": (-1, 1)}),
                Case("scalar", [np.array(2, np.float32)], {"axes": (0,)})]


def _resolved(shape: Sequence[int], wanted: Sequence[int], allowzero: bool) -> tuple[int, ...]:
    """The shape that a reshape gives. Raises ShapeError when the elements do not fit."""
    if not allowzero and any(n == 0 and axis >= len(shape) for axis, n in enumerate(wanted)):
        raise ShapeError(f"it copies an axis that {list(shape)} does not have: {list(wanted)}")
    dims = [shape[axis] if n == 0 and not allowzero else n for axis, n in enumerate(wanted)]
    total = int(np.prod(shape, dtype=np.int64))
    rest = int(np.prod([n for n in dims if n != -1], dtype=np.int64))
    fits = dims.count(-1) <= 1 and all(n >= -1 for n in dims)
    if not fits or (total % rest if -1 in dims and rest else total != rest):
        raise ShapeError(f"{list(shape)} cannot be reshaped to {list(wanted)}")
    return tuple((total // rest if rest else 0) if n == -1 else n for n in dims)


def _step_sizes(fact: Fact, time: int) -> list[set[int]]:
    """For every axis that carries time, how many elements may lie between one time step and the next.

    Where time shares an axis, it may be the innermost part of it or, except on the last axis, the outermost.
    """
    sizes = []
    for axis in time_axes(fact, time):
        inner = int(np.prod(fact.shape[axis + 1:], dtype=np.int64))
        sizes.append({inner, inner * fact.shape[axis] // time} if inner > 1 else {inner})
    return sizes


def _text(fact: Fact, time: int) -> str:
    names = (n if n % time or not n else "time" if n == time else f"time*{n // time}" for n in fact.shape)
    return f"({', '.join(map(str, names))})"


OPS = (Reshape(), Squeeze(), Unsqueeze())
