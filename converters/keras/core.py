"""Dense, embedding, masking, activations as layers, and everything that does nothing once training is over."""

import numpy as np
from edgelstm_converters.keras.activations import activate
from edgelstm_converters.keras.call import Call, Mask, Tensor
from edgelstm_converters.keras.registry import layer


@layer("InputLayer", honours="", fixed={"sparse": (False, None), "ragged": (False, None), "optional": (False, None)})
@layer(
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
    honours="rate noise_shape stddev sigma l1 l2",
    keeps_mask=True,
)
def passed_through(call: Call) -> str:
    return call.x


@layer("Dense", "TimeDistributedDense", honours="units use_bias", keeps_mask=True)
def dense(call: Call) -> str:
    """activation(x W + b) over the last axis."""
    x, units = call.x, call.integer("units")
    kernel = call.constant(call.take("kernel", call.features(x), units), "kernel")
    bias = call.constant(call.take("bias", units), "bias") if call.flag("use_bias", True) else None
    return activate(call, call.add("dense", x, kernel, bias))


@layer("Embedding", honours="input_dim output_dim mask_zero")
def embedding(call: Call) -> Tensor:
    """Rows of a table; with mask_zero the index 0 marks steps that do not count."""
    x = call.x
    table = call.take("embeddings", call.integer("input_dim"), call.integer("output_dim"))
    y = call.add("embedding", x, call.constant(table, "embeddings"))
    if not call.flag("mask_zero"):
        return Tensor(y)
    dtype = call.builder.fact(x).dtype
    return Tensor(y, Mask(lambda: call.add("not_equal", x, call.constant(np.zeros((), dtype), "zero"), suffix="/mask")))


@layer("Masking", honours="mask_value")
def masking(call: Call) -> Tensor:
    """A step counts when any of its features differs from mask_value; the others become zero."""
    x = call.x
    value = call.constant(np.float32(call.number("mask_value", 0.0)), "mask_value")
    differs = call.add("cast", call.add("not_equal", x, value, suffix="/differs"), suffix="/differs/float", to="float32")
    counts = call.add("reduce_max", differs, suffix="/counts", axes=(-1,), keepdims=True)
    y = call.add("where", call.add("cast", counts, suffix="/counts/bool", to="bool"), x, call.constant(np.float32(0), "zero"))

    def make() -> str:
        return call.add("cast", call.add("squeeze", counts, suffix="/flat", axes=(-1,)), suffix="/mask", to="bool")

    return Tensor(y, Mask(make))


@layer("Activation", honours="", keeps_mask=True)
def activation(call: Call) -> str:
    return activate(call, call.x)


@layer("LeakyReLU", honours="alpha negative_slope", keeps_mask=True)
def leaky_relu(call: Call) -> str:
    slope = call.number("negative_slope" if "negative_slope" in call.config else "alpha", 0.3)
    return call.add("leaky_relu", call.x, alpha=slope)


@layer("ELU", honours="alpha", keeps_mask=True)
def elu(call: Call) -> str:
    return call.add("elu", call.x, alpha=call.number("alpha", 1.0))


@layer("ThresholdedReLU", honours="theta", keeps_mask=True)
def thresholded_relu(call: Call) -> str:
    return call.add("thresholded_relu", call.x, alpha=call.number("theta", 1.0))


@layer("ReLU", honours="max_value negative_slope threshold", keeps_mask=True)
def relu(call: Call) -> str:
    """max(x, 0); x counts as zero up to a threshold, below it there may be a slope, and above it an upper limit."""
    slope, threshold = call.number("negative_slope", 0.0), call.number("threshold", 0.0)
    limit = None if call.config.get("max_value") is None else call.number("max_value", 0.0)
    if threshold:
        return _thresholded(call, slope, threshold, limit)
    y = call.add("leaky_relu", call.x, alpha=slope) if slope else call.add("relu", call.x)
    return y if limit is None else call.add("clip", y, suffix="/limit", max=limit)


def _thresholded(call: Call, slope: float, threshold: float, limit: float | None) -> str:
    """x above the threshold, within 0 and the limit where there is one, and slope (x - threshold) below it."""
    y = call.add("thresholded_relu", call.x, alpha=threshold)
    if limit is not None:
        y = call.add("clip", y, suffix="/limit", min=0.0, max=limit)
    if not slope:
        return y
    edge = call.constant(np.float32(threshold), "threshold")
    below = call.add("relu", call.add("sub", edge, call.x, suffix="/below"), suffix="/missing")
    lost = call.add("mul", below, call.constant(np.float32(slope), "slope"), suffix="/lost")
    return call.add("sub", y, lost, suffix="/bent")


@layer("PReLU", honours="shared_axes", keeps_mask=True)
def prelu(call: Call) -> str:
    """x above zero and alpha x below it; alpha has the shape of one sample, with 1 on shared axes."""
    x = call.x
    slopes = call.take("alpha", *[None] * (call.rank(x) - 1))
    return call.add("prelu", x, call.constant(slopes, "alpha"))
