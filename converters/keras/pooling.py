"""Pooling over time, in windows or over the whole sequence."""

from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.registry import layer

_CHANNELS_LAST = ("channels_last", None)


@layer(
    "MaxPooling1D",
    "AveragePooling1D",
    honours="pool_size strides",
    fixed={"padding": ("valid", "same"), "data_format": _CHANNELS_LAST},
)
def pooling(call: Call) -> Tensor:
    size = call.integer("pool_size", 2)
    op = "max_pool1d" if call.spec.kind == "MaxPooling1D" else "avg_pool1d"
    return Tensor(
        call.add(op, call.x, size=size, stride=call.integer("strides", size), padding=call.config.get("padding", "valid"))
    )


@layer("GlobalMaxPooling1D", honours="keepdims", fixed={"data_format": _CHANNELS_LAST})
def global_max(call: Call) -> Tensor:
    return Tensor(call.add("reduce_max", call.x, axes=(1,), keepdims=call.flag("keepdims")))


@layer("GlobalAveragePooling1D", honours="keepdims", fixed={"data_format": _CHANNELS_LAST})
def global_average(call: Call) -> Tensor:
    """The mean over time, of the steps that count."""
    x, keepdims = call.x, call.flag("keepdims")
    if call.mask is None:
        return Tensor(call.add("reduce_mean", x, axes=(1,), keepdims=keepdims))
    column = call.add("unsqueeze", call.mask.value, suffix="/mask", axes=(2,))
    counted = call.add("cast", column, suffix="/counted", to="float32")
    total = call.add("reduce_sum", call.add("mul", x, counted, suffix="/kept"), suffix="/sum", axes=(1,), keepdims=keepdims)
    steps = call.add("reduce_sum", counted, suffix="/steps", axes=(1,), keepdims=keepdims)
    return Tensor(call.add("div", total, steps))
