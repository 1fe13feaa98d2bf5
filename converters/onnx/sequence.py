"""Sequence nodes whose length is known: they leave no trace, a sequence is only a list of values while importing."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.errors import FormatError, ShapeError
from edgelstm.ops.op import normal_axis


@node("SequenceConstruct")
def construct(call: Call) -> list[object]:
    return [call.inputs()]


@node("SequenceEmpty")
def empty(call: Call) -> list[object]:
    call.attr("dtype", 1)
    return [[]]


@node("SequenceInsert")
def insert(call: Call) -> list[object]:
    parts = list(_sequence(call))
    at = int(call.array(2, "position").ravel()[0]) if call.has(2) else len(parts)
    parts.insert(at if at >= 0 else len(parts) + at, call.input(1))
    return [parts]


@node("SequenceLength")
def length(call: Call) -> object:
    return np.asarray(len(_sequence(call)), np.int64)


@node("SequenceAt")
def at(call: Call) -> object:
    parts = _sequence(call)
    i = int(call.array(1, "position").ravel()[0])
    if not -len(parts) <= i < len(parts):
        raise FormatError(f"takes element {i} of a sequence of {len(parts)}")
    return parts[i]


@node("SplitToSequence")
def split_to_sequence(call: Call) -> list[object]:
    """Parts of one size, or of the sizes listed; `keepdims` is for parts of size 1 when no sizes are given."""
    axis, keepdims = call.attr("axis", 0), bool(call.attr("keepdims", 1))
    x = call.input(0)
    axis = normal_axis(axis, call.builder.rank(x))
    total = call.builder.dim(x, axis)
    if total is None and call.parts:
        raise ShapeError(f"takes {call.parts} elements of the dynamic axis {axis}")
    if total is None:
        call.refuse(f"it splits the dynamic axis {axis}; supported: an axis of fixed length")
    given = call.array(1, "split") if call.has(1) else np.int64(1)
    if given.ndim == 0:
        size = int(given)
        if size < 1:
            raise FormatError(f"splits into parts of size {size}")
        sizes = [min(size, total - start) for start in range(0, total, size)]
    else:
        sizes = [int(n) for n in given]
    parts = call.add_many("split", x, used=len(sizes), axis=axis, sizes=tuple(sizes))
    if call.has(1) or keepdims:
        return [list(parts)]
    return [[call.add("squeeze", part, axes=(axis,)) for part in parts]]


@node("ConcatFromSequence")
def concat_from_sequence(call: Call) -> str:
    axis, new_axis = call.attr("axis"), bool(call.attr("new_axis", 0))
    parts = _sequence(call)
    if new_axis:
        parts = [call.add("unsqueeze", part, axes=(axis,)) for part in parts]
    return call.add("concat", *parts, axis=axis)


def _sequence(call: Call) -> list[str]:
    value = call.raw(0)
    if not isinstance(value, list):
        raise FormatError("reads a tensor where a sequence is expected")
    return value
