"""Layers that move numbers around: Reshape, Flatten, Permute, RepeatVector, and padding or cropping in time."""

import numpy as np
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.registry import layer


@layer("Reshape", honours="target_shape")
def reshape(call: Call) -> Tensor:
    target = call.config.get("target_shape")
    if not isinstance(target, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in target):
        raise call.bad(f"has target_shape = {target!r}, not a list of whole numbers")
    return Tensor(call.add("reshape", call.x, call.integers(0, *target)))


@layer("Flatten", fixed={"data_format": ("channels_last", None)})
def flatten(call: Call) -> Tensor:
    x = call.x
    if call.rank(x) == 1:
        return Tensor(call.add("unsqueeze", x, axes=(1,)))
    return Tensor(call.add("reshape", x, call.integers(0, -1)))


@layer("Permute", honours="dims")
def permute(call: Call) -> Tensor:
    dims = call.config.get("dims")
    plain = isinstance(dims, list) and all(isinstance(axis, int) for axis in dims)
    if not plain or sorted(dims) != list(range(1, call.rank(call.x))):
        raise call.bad(f"has dims = {dims!r}, not an order of the axes behind the batch")
    return Tensor(call.add("transpose", call.x, perm=(0, *dims)))


@layer("RepeatVector", honours="n")
def repeat_vector(call: Call) -> Tensor:
    """(batch, features) -> (batch, n, features)."""
    row = call.add("unsqueeze", call.x, suffix="/row", axes=(1,))
    return Tensor(call.add("tile", row, call.integers(1, call.integer("n"), 1)))


@layer("UpSampling1D", honours="size")
def up_sampling(call: Call) -> Tensor:
    """Every time step `size` times in a row."""
    x, size = call.x, call.integer("size", 2)
    features = call.features(x)
    column = call.add("unsqueeze", x, suffix="/column", axes=(2,))
    repeated = call.add("tile", column, call.integers(1, 1, size, 1), suffix="/repeated")
    return Tensor(call.add("reshape", repeated, call.integers(0, -1, features)))


@layer("ZeroPadding1D", honours="padding", fixed={"data_format": ("channels_last", None)})
def zero_padding(call: Call) -> Tensor:
    before, after = _pair(call, "padding")
    pads = call.integers(0, before, 0, 0, after, 0)
    return Tensor(call.add("pad", call.x, pads, call.constant(np.float32(0), "zero")))


@layer("Cropping1D", honours="cropping")
def cropping(call: Call) -> Tensor:
    before, after = _pair(call, "cropping")
    end = -after if after else np.iinfo(np.int32).max
    return Tensor(call.add("slice", call.x, call.integers(before), call.integers(end), call.integers(1)))


def _pair(call: Call, key: str) -> tuple[int, int]:
    value = call.config.get(key, [1, 1])
    pair = value if isinstance(value, list) and len(value) == 2 else [value, value]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in pair):
        raise call.bad(f"has {key} = {value!r}, not one or two whole numbers")
    return pair[0], pair[1]
