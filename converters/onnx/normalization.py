"""Normalization nodes: BatchNormalization becomes a scale and an offset, LayerNormalization an op of its own."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.ops.op import normal_axis


@node("BatchNormalization", limits="inference; statistics constant")
def batch_normalization(call: Call) -> list[str | None]:
    """y = (x - mean) / sqrt(var + epsilon) * scale + B over channels, which are axis 1 (Ioffe and Szegedy 2015)."""
    epsilon = call.attr("epsilon", 1e-5)
    call.attr("momentum", 0.9)
    if call.attr("training_mode", 0):
        call.complain("attribute training_mode=1; supported: inference. Export the model in evaluation mode")
    call.only("spatial", 1)
    if any(call.used[1:]):
        call.complain("its running statistics are used as outputs; supported: inference")
    call.check()
    x = call.input(0)
    roles = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (call.array(i, role).astype(np.float64) for i, role in enumerate(roles, 1))
    gain = scale / np.sqrt(variance + epsilon)
    shape = (-1,) + (1,) * (call.builder.rank(x) - 2)
    scaled = call.add("mul", x, call.const(gain.reshape(shape), "gain"))
    return [call.add("add", scaled, call.const((bias - mean * gain).reshape(shape), "offset"))]


@node("LayerNormalization")
def layer_normalization(call: Call) -> list[str | None]:
    """The normalized values; and the mean and the inverse standard deviation where they are asked for."""
    axis, epsilon = call.attr("axis", -1), float(call.attr("epsilon", 1e-5))
    call.only("stash_type", 1, 0)
    call.check()
    x = call.input(0)
    rank = call.builder.rank(x)
    axes = tuple(range(normal_axis(axis, rank), rank))
    normal = call.add("layer_norm", x, None, None, axes=axes, epsilon=epsilon)
    scaled = call.add("mul", normal, call.input(1)) if call.has(1) else normal
    shifted = call.add("add", scaled, call.input(2)) if call.has(2) else scaled
    return [shifted, *(_moments(call, x, axes, epsilon) if any(call.used[1:]) else ())]


def _moments(call: Call, x: str, axes: tuple[int, ...], epsilon: float) -> tuple[str, str]:
    """The mean of x over `axes`, and 1 / sqrt(var + epsilon)."""
    mean = call.add("reduce_mean", x, axes=axes, keepdims=True)
    variance = call.add("reduce_mean", call.add("square", call.add("sub", x, mean)), axes=axes, keepdims=True)
    return mean, call.add("rsqrt", call.add("add", variance, call.const(np.float32(epsilon), "epsilon")))


@node("InstanceNormalization", limits="scale and bias constant")
def instance_normalization(call: Call) -> str:
    """Every channel of every sample on its own: layer normalization over the axes after batch and channels."""
    epsilon = float(call.attr("epsilon", 1e-5))
    x = call.input(0)
    rank = call.builder.rank(x)
    shape = (-1,) + (1,) * (rank - 2)
    normal = call.add("layer_norm", x, None, None, axes=tuple(range(2, rank)), epsilon=epsilon)
    scaled = call.add("mul", normal, call.const(call.array(1, "scale").reshape(shape), "scale"))
    return call.add("add", scaled, call.const(call.array(2, "bias").reshape(shape), "bias"))


@node("LpNormalization")
def lp_normalization(call: Call) -> str:
    """x divided by its L1 or L2 norm along an axis; 0 where the norm is 0."""
    axis, p = call.attr("axis", -1), call.only("p", 2, 1)
    call.check()
    x, zero = call.input(0), call.const(np.float32(0), "zero")
    if p == 2:
        norm = call.add("reduce_l2", x, axes=(axis,), keepdims=True)
    else:
        norm = call.add("reduce_sum", call.add("abs", x), axes=(axis,), keepdims=True)
    return call.add("where", call.add("equal", norm, zero), zero, call.add("div", x, norm))
