"""Nodes that ask for shapes or make values from them: Shape, Size, Constant, ConstantOfShape, Range, OneHot."""

from typing import Any

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.errors import FormatError

_NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


@node("Constant", limits="dense tensors of numbers: no sparse_value, value_string, value_strings")
def constant(call: Call) -> Any:
    value = call.attr("value", None)
    if value is not None:
        return value
    for name, dtype in _NUMBERS.items():
        value = call.attr(name, None)
        if value is not None:
            return np.asarray(value, dtype)
    call.refuse("it holds no dense tensor of numbers; supported: value, " + ", ".join(_NUMBERS))


@node("Shape")
def shape(call: Call) -> str:
    start, end = call.attr("start", 0), call.attr("end", None)
    x = call.input(0)
    return call.add("shape", x, start=start) if end is None else call.add("shape", x, start=start, end=end)


@node("Size")
def size(call: Call) -> str:
    return call.add("size", call.input(0))


@node("ConstantOfShape", limits="a shape that follows from constants and shapes")
def constant_of_shape(call: Call) -> str:
    value = np.asarray(call.attr("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise FormatError(f"its value has {value.size} elements; one is expected")
    dtype = call.builder.fact(call.const(value, "value")).dtype
    if call.fact(0).value is None:
        call.refuse("its shape depends on the data of an input; supported: what follows from constants and shapes")
    return call.add("constant_of_shape", call.input(0), value=float(value.ravel()[0]), dtype=dtype)


@node("Range", limits="bounds that follow from constants and shapes")
def arange(call: Call) -> str:
    call.attr("stash_type", 1)
    for i in range(3):
        if call.fact(i).value is None:
            call.refuse("its bounds depend on the data of an input; supported: what follows from constants and shapes")
    return call.add("range", call.input(0), call.input(1), call.input(2))


@node("OneHot", limits="depth and values constant")
def one_hot(call: Call) -> str:
    """A negative index counts from the end; one out of range gives `off` everywhere."""
    axis = call.attr("axis", -1)
    depth = int(call.array(1, "depth").ravel()[0])
    off, on = call.array(2, "values").ravel()
    indices = call.input(0)
    out = call.add("one_hot", indices, depth=depth, axis=axis, on=float(on), off=float(off))
    dtype = call.fact(2).dtype
    return out if call.builder.fact(out).dtype == dtype else call.add("cast", out, to=dtype)
