"""Convolutions over time. Kernels are (taps, channels, filters) in Keras and in the op."""

import numpy as np
from edgelstm_converters.keras.activations import activate
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.registry import layer

_KEYS = "kernel_size strides dilation_rate use_bias"
_FIXED = {"padding": ("valid", "same", "causal"), "data_format": ("channels_last", None)}


@layer("Conv1D", honours=f"filters groups {_KEYS}", fixed=_FIXED)
def conv1d(call: Call) -> Tensor:
    if call.context.major == 1:
        raise call.refuse(
            "Keras 1 does not record whether Theano wrote the file, which stores convolution kernels reversed; "
            "load and save the model with Keras 2 first"
        )
    x, filters, groups = call.x, call.integer("filters"), call.integer("groups", 1)
    kernel = call.take("kernel", call.integer("kernel_size"), call.features(x) // max(groups, 1), filters)
    return Tensor(activate(call, _convolved(call, x, kernel, _bias(call, filters), groups)))


@layer("DepthwiseConv1D", honours=f"depth_multiplier {_KEYS}", fixed=_FIXED)
def depthwise_conv1d(call: Call) -> Tensor:
    """Every channel convolved by kernels of its own."""
    x = call.x
    channels, multiplier = call.features(x), call.integer("depth_multiplier", 1)
    kernel = call.take("depthwise_kernel", call.integer("kernel_size"), channels, multiplier)
    bias = _bias(call, channels * multiplier)
    return Tensor(activate(call, _convolved(call, x, kernel.reshape(kernel.shape[0], 1, -1), bias, channels)))


@layer("SeparableConv1D", honours=f"filters depth_multiplier {_KEYS}", fixed=_FIXED)
def separable_conv1d(call: Call) -> Tensor:
    """A depthwise convolution, then a mixture of the channels step by step."""
    x, filters = call.x, call.integer("filters")
    channels, multiplier = call.features(x), call.integer("depth_multiplier", 1)
    depthwise = call.take("depthwise_kernel", call.integer("kernel_size"), channels, multiplier)
    pointwise = call.take("pointwise_kernel", 1, channels * multiplier, filters)
    bias = _bias(call, filters)
    inner = _convolved(call, x, depthwise.reshape(depthwise.shape[0], 1, -1), None, channels, "/depthwise")
    mixed = call.add("dense", inner, call.constant(pointwise[0], "pointwise"), bias)
    return Tensor(activate(call, mixed))


def _bias(call: Call, filters: int) -> str | None:
    return call.constant(call.take("bias", filters), "bias") if call.flag("use_bias", True) else None


def _convolved(call: Call, x: str, kernel: np.ndarray, bias: str | None, groups: int, suffix: str = "") -> str:
    if call.context.theano:
        kernel = kernel[::-1]
    return call.add(
        "conv1d",
        x,
        call.constant(kernel, f"kernel{suffix}"),
        bias,
        suffix=suffix,
        groups=groups,
        stride=call.integer("strides", 1),
        dilation=call.integer("dilation_rate", 1),
        padding=call.config.get("padding", "valid"),
    )
