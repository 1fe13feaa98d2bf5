"""Ops that turn shapes into values and values into shapes: shape, size, constant_of_shape, range."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.known import known_ints, known_number
from edgelstm.ops.op import ARITHMETIC, Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time
from edgelstm.ops.strided import fill

_NO_END = 2**31 - 1


class Shape(Op):
    """The lengths of the axes start .. end-1 of x, int64. They are known without running anything."""

    name = "shape"
    narrow = ("*",)
    attrs = {"start": Attr("int", 0), "end": Attr("int", _NO_END)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        lengths = np.array(ins[0].shape[attrs["start"]:attrs["end"]], np.int64)
        return [Fact(lengths.shape, "int64", lengths)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.array(ins[0].shape[attrs["start"]:attrs["end"]], np.int64)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def cases(self) -> Iterable[Case]:
        x = np.zeros((2, 5, 3), np.float32)
        return [Case("all", [x]), Case("part", [x], {"start": -2, "end": 2}), Case("scalar", [np.array(1, np.float32)])]


class Size(Op):
    """The number of elements of x, an int64 scalar. It is known without running anything."""

    name = "size"
    narrow = ("*",)

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        return [Fact((), "int64", np.array(ins[0].size, np.int64))]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.array(ins[0].size, np.int64)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        if ins[0].size and ins[0].size % time == 0:
            raise NeedsFuture("it counts elements over all time steps")
        return {}

    def cases(self) -> Iterable[Case]:
        return [Case("matrix", [np.zeros((5, 17), np.float32)]), Case("empty", [np.zeros((0, 3), np.float32)])]


class ConstantOfShape(Op):
    """An array of the given shape (a list of known integers), filled with `value`."""

    name = "constant_of_shape"
    inputs = ("shape",)
    parameters = ("shape",)
    attrs = {"value": Attr("float", 0.0), "dtype": Attr("str", "float32", ARITHMETIC)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        shape = known_ints(ins[0], "shape")
        if any(n < 0 for n in shape):
            raise ShapeError(f"a shape with a negative length: {list(shape)}")
        return [Fact(shape, attrs["dtype"])]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.broadcast_to(np.asarray(attrs["value"]).astype(attrs["dtype"]), tuple(ins[0].reshape(-1)))]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        fill(low, outs[0], attrs["value"])

    def cases(self) -> Iterable[Case]:
        shapes = {"one": [1], "odd": [5, 33], "large": [4, 65, 17], "empty": [0, 5], "scalar": []}
        for name, shape in shapes.items():
            yield Case(name, [np.array(shape, np.int64)], {"value": 2.5})
        for dtype in ("int64", "int32", "uint8", "bool"):
            yield Case(dtype, [np.array([3, 17], np.int64)], {"value": 1.0, "dtype": dtype})


class Range(Op):
    """start, start + delta, ... up to, but without, limit. The three are known scalars of one dtype."""

    name = "range"
    inputs = ("start", "limit", "delta")
    parameters = ("start", "limit", "delta")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        if len({fact.dtype for fact in ins}) > 1:
            raise ShapeError(f"start, limit and delta are {[fact.dtype for fact in ins]}; one dtype is supported")
        numbers = [known_number(fact, role) for fact, role in zip(ins, self.inputs, strict=True)]
        return [Fact((_range_length(*numbers),), ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        start, limit, delta = (array.reshape(-1)[0] for array in ins)
        return [start + delta * np.arange(_range_length(start.item(), limit.item(), delta.item()), dtype=start.dtype)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        if carries_time(outs[0], 0, time):
            raise NeedsFuture("it numbers the time steps of a whole sequence")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        numbers = [operand.value for operand in ins]
        tag = "range " + " ".join(str(number.reshape(-1)[0]) for number in numbers)
        low.alias(outs[0], low.constant(tag, lambda: self.reference(attrs, numbers)[0]))

    def cases(self) -> Iterable[Case]:
        rows = {"one": (0, 1, 1), "odd": (3, 37, 2), "down": (10, -7, -3), "empty": (5, 5, 1)}
        for name, numbers in rows.items():
            yield Case(name, [np.array(n, np.int64) for n in numbers])
        yield Case("float", [np.array(n, np.float32) for n in (0.0, 1.0, 0.25)])


def _range_length(start: float, limit: float, delta: float) -> int:
    """ceil((limit - start) / delta), at least 0. Raises ShapeError for a step of zero or an endless range."""
    if not delta or not all(map(math.isfinite, (start, limit, delta))):
        raise ShapeError(f"a range from {start} to {limit} by {delta}")
    if all(isinstance(n, int) for n in (start, limit, delta)):
        return max(-((start - limit) // delta), 0)
    return max(math.ceil((limit - start) / delta), 0)


OPS = (Shape(), Size(), ConstantOfShape(), Range())
