"""Quantized nodes as the float arithmetic they stand for: QuantizeLinear, DequantizeLinear, MatMulInteger."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.ops.op import normal_axis

_RANGES = {name: np.iinfo(name) for name in ("uint8", "int8", "uint16", "int16")}


@node("DequantizeLinear", limits="per tensor or per axis; no blocks")
def dequantize(call: Call) -> object:
    """y = (x - zero_point) * scale, per tensor or along `axis`."""
    axis = _options(call)
    value = call.raw(0)
    rank = value.ndim if isinstance(value, np.ndarray) else call.builder.rank(value)
    scale, zero = _scale(call, rank, axis)
    if isinstance(value, np.ndarray) and isinstance(scale, np.ndarray):
        return ((value.astype(np.float64) - zero) * scale).astype(np.float32)
    x = call.add("cast", call.input(0), to="float32")
    return call.add("mul", call.add("sub", x, _value(call, zero, "zero")), _value(call, scale, "scale"))


@node("QuantizeLinear", limits="to uint8, int8, uint16, int16; per tensor or per axis; no blocks")
def quantize(call: Call) -> str:
    """y = saturate(round(x / scale) + zero_point), rounding halves to even."""
    axis = _options(call)
    call.attr("saturate", 1)
    x = call.input(0)
    scale, zero = _scale(call, call.builder.rank(x), axis)
    dtype = _target(call)
    low, high = float(_RANGES[dtype].min), float(_RANGES[dtype].max)
    rounded = call.add("round", call.add("div", x, _value(call, scale, "scale")))
    shifted = call.add("clip", call.add("add", rounded, _value(call, zero, "zero")), min=low, max=high)
    return call.add("cast", shifted, to="uint8" if dtype == "uint8" else "int32")


@node("DynamicQuantizeLinear")
def dynamic_quantize(call: Call) -> list[str]:
    """x as uint8 over the range of its values, which always holds 0; gives the numbers, their scale and zero point."""
    x, zero = call.input(0), call.const(np.float32(0), "zero")
    low = call.add("minimum", call.add("reduce_min", x), zero)
    high = call.add("maximum", call.add("reduce_max", x), zero)
    scale = call.add("div", call.add("sub", high, low), call.const(np.float32(255), "levels"))
    empty = call.add("equal", scale, zero)
    divisor = call.add("where", empty, call.const(np.float32(1), "one"), scale)
    point = call.add("clip", call.add("round", call.add("div", call.add("neg", low), divisor)), min=0.0, max=255.0)
    shifted = call.add("add", call.add("round", call.add("div", x, divisor)), point)
    numbers = call.add("cast", call.add("clip", shifted, min=0.0, max=255.0), to="uint8")
    return [numbers, scale, call.add("cast", point, to="uint8")]


@node("MatMulInteger")
def matmul_integer(call: Call) -> str:
    """(A - zero point) (B - zero point) in int32; float32 holds every sum below 2^24 exactly."""
    a, b = (_centred(call, i) for i in (0, 1))
    matrix = call.builder.value(b)
    if matrix is not None and matrix.ndim == 2:
        return call.add("cast", call.add("dense", a, call.const(matrix, "W"), None), to="int32")
    return call.add("cast", call.add("matmul", a, b), to="int32")


def _centred(call: Call, i: int) -> str:
    """Integers of input `i` as floats, less their zero point; that of B may be one for each column."""
    value = call.constant(i)
    zero = call.constant(i + 2) if call.has(i + 2) else np.float32(0)
    if value is not None and zero is not None:
        return call.const(value.astype(np.float64) - zero.astype(np.float64), "AB"[i])
    x = call.add("cast", call.input(i), to="float32")
    return call.add("sub", x, call.add("cast", call.input(i + 2), to="float32")) if call.has(i + 2) else x


def _options(call: Call) -> int:
    """The axis of per-channel scales. Blocked quantization is refused."""
    axis = call.attr("axis", 1)
    call.only("block_size", 0)
    call.only("output_dtype", 0)
    call.only("precision", 0)
    call.check()
    return axis


def _scale(call: Call, rank: int, axis: int) -> tuple[np.ndarray | str, np.ndarray | str]:
    """Scale and zero point as float arrays that broadcast against a value of that rank.

    A scale or zero point that is computed is one number, and comes as a value.
    """
    parts = [call.constant(i) if call.has(i) else np.zeros(1) for i in (1, 2)]
    if any(part is None for part in parts):
        if any(call.fact(i).rank for i in (1, 2) if call.has(i)):
            call.refuse("its scale or zero point for each channel is computed; supported: one number, or constants")
        return call.input(1), call.add("cast", call.input(2), to="float32") if call.has(2) else np.zeros(())
    scale = parts[0].astype(np.float64)
    zero = parts[1].astype(np.float64) if call.has(2) else np.zeros_like(scale)
    if scale.size == 1:
        return scale.reshape(()), zero.reshape(())
    if scale.ndim != 1:
        call.refuse(f"its scale has the shape {scale.shape}; supported: one number, or one for each channel")
    shape = [1] * rank
    shape[normal_axis(axis, rank)] = -1
    return scale.reshape(shape), zero.reshape(shape)


def _value(call: Call, part: np.ndarray | str, role: str) -> str:
    return part if isinstance(part, str) else call.const(part, role)


def _target(call: Call) -> str:
    """The integer dtype that a node quantizes to: that of its zero point."""
    zero = call.raw(2) if call.has(2) else np.zeros((), np.uint8)
    dtype = str(zero.dtype if isinstance(zero, np.ndarray) else call.builder.fact(zero).dtype)
    if dtype not in _RANGES:
        call.refuse(f"it quantizes to {dtype}; supported: {', '.join(_RANGES)}")
    return dtype
