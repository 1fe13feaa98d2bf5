"""The op that cuts a box out of an array: slice."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.known import known_ints
from edgelstm.ops.op import Case, Fact, NeedsFuture, Op, StateSlot, carries_time, normal_axis
from edgelstm.ops.strided import copy, dense_strides


class Slice(Op):
    """x[starts:ends:steps] along `axes` (default: the first ones), as ONNX Slice.

    Ends are exclusive, negative numbers count from the end, numbers out of range are limited to the axis. Streams along
    time for the full range, and for exactly the last step.
    """

    name = "slice"
    narrow = ("*",)
    inputs = ("x", "starts", "ends", "axes?", "steps?")
    parameters = ("starts", "ends", "axes", "steps")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        cuts = _fact_cuts(ins)
        return [Fact(tuple(len(cuts.get(axis, range(n))) for axis, n in enumerate(ins[0].shape)), ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        index = [slice(None)] * ins[0].ndim
        for axis, cut in _cuts(ins[0].shape, ins[1:]).items():
            stop = cut.stop if cut.stop >= 0 else None
            index[axis] = slice(cut.start, stop, cut.step) if len(cut) else slice(0, 0)
        return [ins[0][tuple(index)]]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, axis) for axis, cut in _fact_cuts(ins).items() if cut != range(ins[0].shape[axis])]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        for axis, cut in _fact_cuts(ins).items():
            n = ins[0].shape[axis]
            if carries_time(ins[0], axis, time) and cut != range(n) and not _only_last(cut, n, time):
                raise NeedsFuture(f"it takes the time steps {cut.start}:{cut.stop}:{cut.step}; "
                                  "only the last step can be taken")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, y = ins[0], outs[0]
        if x.shape == y.shape and not self._reverses(ins):
            low.alias(y, x)
            return
        strides, start = dense_strides(x.shape), 0
        for axis, cut in _fact_cuts(ins).items():
            start += cut.start * strides[axis]
            strides[axis] *= cut.step
        copy(low, x, y, y.shape, strides, dense_strides(y.shape), start)

    def _reverses(self, ins: Sequence[Any]) -> bool:
        return any(cut.step < 0 and len(cut) > 1 for cut in _fact_cuts(ins).values())

    def cases(self) -> Iterable[Case]:
        x = np.arange(3 * 17 * 33, dtype=np.float32).reshape(3, 17, 33)
        rows = {"last step": ([-1], [2**31 - 1], [1], None), "features": ([0, 5], [3, 22], [0, 2], None),
                "backwards": ([-1], [-(2**63)], [1], [-1]), "stride": ([1], [99], [2], [3]),
                "whole": ([0], [3], [0], [1]),
                "empty": ([9], [4], [1], None), "one": ([2, 3, 4], [3, 4, 5], None, None)}
        for name, numbers in rows.items():
            yield Case(name, [x, *(None if n is None else np.array(n, np.int64) for n in numbers)])
        yield Case("int64", [np.arange(9), np.array([2]), np.array([-2]), None, None])
        yield Case("bool", [x[0] > 40, np.array([1]), np.array([7]), np.array([1]), np.array([2])])


def _fact_cuts(ins: Sequence[Any]) -> dict[int, range]:
    """What is taken of every sliced axis, from facts or operands. Raises ShapeError when an index is unknown."""
    known = [None if fact is None else np.array(known_ints(fact, role), np.int64)
             for fact, role in zip(ins[1:], ("starts", "ends", "axes", "steps"), strict=False)]
    return _cuts(ins[0].shape, known)


def _cuts(shape: Sequence[int], numbers: Sequence[np.ndarray | None]) -> dict[int, range]:
    """The positions taken along every sliced axis."""
    starts, ends, axes, steps = ([] if n is None else n.reshape(-1).tolist() for n in (*numbers, None, None)[:4])
    axes = [normal_axis(axis, len(shape)) for axis in axes or range(len(starts))]
    steps = steps or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes) or 0 in steps:
        raise ShapeError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not describe one slice")
    if axes and max(axes) >= len(shape):
        raise ShapeError(f"it slices axis {max(axes)} of {list(shape)}")
    return {axis: range(*slice(start, end, step).indices(shape[axis]))
            for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)}


def _only_last(cut: range, length: int, time: int) -> bool:
    """Whether a slice of an axis that is time, and nothing else, is its last step."""
    return length == time and len(cut) == 1 and cut[0] == length - 1


OPS = (Slice(),)
