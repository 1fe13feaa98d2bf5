"""Nodes that reduce or accumulate along axes: Reduce*, Softmax, ArgMax, ArgMin, CumSum, GlobalAveragePool."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.ops.op import normal_axis

_PLAIN = {
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceL2": "reduce_l2",
}
_BEFORE = {"ReduceL1": "abs", "ReduceSumSquare": "square", "ReduceLogSum": None, "ReduceLogSumExp": "exp"}
_SOFTMAX = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


@node(*_PLAIN)
def reduce(call: Call) -> str:
    x, axes, keepdims = _read(call)
    return x if axes is None else call.add(_PLAIN[call.op_type], x, axes=axes, keepdims=keepdims)


@node(*_BEFORE, limits="at least one axis")
def reduce_after(call: Call) -> str:
    """A sum of |x|, x^2, x or exp(x), and for the logarithmic ones its logarithm."""
    x, axes, keepdims = _read(call)
    if axes is None:
        axes, keepdims = (), True
        call.complain("it reduces over no axes; supported: at least one")
    shift = None
    if call.op_type == "ReduceLogSumExp":
        shift = call.add("reduce_max", x, axes=axes, keepdims=True)
        x = call.add("sub", x, shift)
    before = _BEFORE[call.op_type]
    result = call.add("reduce_sum", call.add(before, x) if before else x, axes=axes, keepdims=keepdims)
    if "Log" in call.op_type:
        result = call.add("log", result)
    if shift is None:
        return result
    return call.add("add", result, shift if keepdims else call.add("squeeze", shift, axes=axes))


@node(*_SOFTMAX)
def softmax_1(call: Call) -> str:
    """Before opset 13 all axes from `axis` on are one, so that the sum runs over all of them."""
    axis = call.attr("axis", 1)
    x = call.input(0)
    rank = call.builder.rank(x)
    axis, op = normal_axis(axis, rank), _SOFTMAX[call.op_type]
    if axis == rank - 1:
        return call.add(op, x, axis=-1)
    whole = call.add("shape", x)
    rows = call.add("concat", call.add("shape", x, start=0, end=axis), call.const(np.array([-1]), "rest"), axis=0)
    return call.add("reshape", call.add(op, call.add("reshape", x, rows), axis=-1), whole)


@node(*_SOFTMAX, since=13)
def softmax_13(call: Call) -> str:
    return call.add(_SOFTMAX[call.op_type], call.input(0), axis=call.attr("axis", -1))


@node("ArgMax", "ArgMin")
def arg_max(call: Call) -> str:
    """The first of equal elements, or with `select_last_index` the last: the first of x turned around."""
    axis, keepdims = call.attr("axis", 0), bool(call.attr("keepdims", 1))
    last = bool(call.only("select_last_index", 0, 1))
    call.check()
    x = call.input(0) if call.op_type == "ArgMax" else call.add("neg", call.input(0))
    if not last:
        return call.add("arg_max", x, axis=axis, keepdims=keepdims)
    axis = normal_axis(axis, call.builder.rank(x))
    from_end = call.add("arg_max", call.add("flip", x, axes=(axis,)), axis=axis, keepdims=keepdims)
    end = call.add("sub", call.add("shape", x, start=axis, end=axis + 1), call.const(np.array([1]), "one"))
    return call.add("sub", call.add("squeeze", end, axes=(0,)), from_end)


@node("CumSum", limits="axis constant")
def cumsum(call: Call) -> str:
    reverse, exclusive = bool(call.attr("reverse", 0)), bool(call.attr("exclusive", 0))
    axis = int(call.array(1, "axis").ravel()[0])
    return call.add("cumsum", call.input(0), axis=axis, reverse=reverse, exclusive=exclusive)


@node("GlobalAveragePool", "GlobalMaxPool")
def global_pool(call: Call) -> str:
    """The mean or maximum over all axes after batch and channels."""
    x = call.input(0)
    op = "reduce_mean" if call.op_type == "GlobalAveragePool" else "reduce_max"
    return call.add(op, x, axes=tuple(range(2, call.builder.rank(x))), keepdims=True)


def _read(call: Call) -> tuple[str, tuple[int, ...] | None, bool]:
    """The input, the axes (empty for all, None when nothing is reduced), and whether they are kept."""
    keepdims = bool(call.only("keepdims", 1, 0))
    moved = 13 if call.op_type == "ReduceSum" else 18
    empty = bool(call.attr("noop_with_empty_axes", 0))
    axes = call.ints("axes", 1, moved)
    call.check()
    return call.input(0), (axes or (None if empty else ())), keepdims
