"""Normalisation: with trained or adapted statistics as one product and one sum, and over the features of a step."""

from typing import Any

import numpy as np
from edgelstm_converters.keras.call import Call
from edgelstm_converters.keras.registry import layer

_SMALLEST_DEVIATION = 1e-7  # keras.backend.epsilon(), below which Normalization does not divide


@layer(
    "BatchNormalization",
    honours="axis epsilon center scale momentum synchronized renorm_clipping renorm_momentum",
    fixed={"renorm": (False, None), "mode": (0,), "virtual_batch_size": (None,)},
    keeps_mask=True,
)
def batch_normalization(call: Call) -> str:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with the moving statistics."""
    x = call.x
    axis = _axes(call, x, "axis", -1)
    if len(axis) != 1:
        raise call.refuse(f"axis = {call.config.get('axis')!r}; supported is one axis")
    size = call.dim(x, axis[0])
    gamma = call.take("gamma", size) if call.flag("scale", True) else np.ones(1)
    beta = call.take("beta", size) if call.flag("center", True) else np.zeros(1)
    mean, variance = call.take("moving_mean", size), call.take("moving_variance", size)
    factor = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + call.number("epsilon", 1e-3))
    return _affine(call, x, factor, beta - mean * factor, axis[0])


@layer("LayerNormalization", honours="axis epsilon center scale", fixed={"rms_scaling": (False, None)}, keeps_mask=True)
def layer_normalization(call: Call) -> str:
    x = call.x
    axes = _axes(call, x, "axis", -1)
    if list(axes) != list(range(call.rank(x) - len(axes), call.rank(x))):
        raise call.refuse(f"axis = {call.config.get('axis')!r}; supported are the last axes")
    shape = [call.dim(x, axis) for axis in axes]
    gamma = call.constant(call.take("gamma", *shape), "gamma") if call.flag("scale", True) else None
    beta = call.constant(call.take("beta", *shape), "beta") if call.flag("center", True) else None
    return call.add("layer_norm", x, gamma, beta, axes=axes, epsilon=call.number("epsilon", 1e-3))


@layer("RMSNormalization", honours="axis epsilon", keeps_mask=True)
def rms_normalization(call: Call) -> str:
    """x / sqrt(mean(x^2) + epsilon) * scale over the last axis (Zhang and Sennrich 2019)."""
    x = call.x
    if _axes(call, x, "axis", -1) != (call.rank(x) - 1,):
        raise call.refuse(f"axis = {call.config.get('axis')!r}; supported is the last axis")
    scale = call.constant(call.take("scale", call.features(x)), "scale")
    mean = call.add("reduce_mean", call.add("square", x, suffix="/square"), suffix="/mean", axes=(-1,), keepdims=True)
    shifted = call.add("add", mean, call.constant(np.float32(call.number("epsilon", 1e-6)), "epsilon"), suffix="/shifted")
    unit = call.add("mul", x, call.add("rsqrt", shifted, suffix="/rsqrt"), suffix="/unit")
    return call.add("mul", unit, scale)


@layer("GroupNormalization", honours="groups axis epsilon center scale", keeps_mask=True)
def group_normalization(call: Call) -> str:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, by the statistics of each group of channels (Wu and He 2018)."""
    x, rank = call.x, call.rank(call.x)
    axis = _axes(call, x, "axis", -1)
    if len(axis) != 1 or axis[0] == 0:
        raise call.refuse(f"axis = {call.config.get('axis')!r}; supported is one axis behind the batch")
    last = [at for at in range(rank) if at != axis[0]] + [axis[0]]
    y = x if axis[0] == rank - 1 else call.add("transpose", x, suffix="/channels_last", perm=tuple(last))
    channels = call.features(y)
    groups = channels if call.config.get("groups") == -1 else call.integer("groups", 32)
    if not groups or channels % groups:
        raise call.bad(f"has {groups} groups for {channels} channels")
    split = call.add("reshape", y, call.integers(*[0] * (rank - 1), groups, channels // groups), suffix="/groups")
    y = call.add("reshape", _standardised(call, split), call.integers(*[0] * (rank - 1), channels), suffix="/channels")
    for op, name, used in (("mul", "gamma", call.flag("scale", True)), ("add", "beta", call.flag("center", True))):
        y = call.add(op, y, call.constant(call.take(name, channels), name), suffix=f"/{name}") if used else y
    return y if axis[0] == rank - 1 else call.add("transpose", y, perm=tuple(int(at) for at in np.argsort(last)))


def _standardised(call: Call, x: str) -> str:
    """(x - mean) / sqrt(variance + epsilon) over all axes but the batch and the last but one."""
    axes = tuple(at for at in range(1, call.rank(x)) if at != call.rank(x) - 2)
    apart = call.add("sub", x, call.add("reduce_mean", x, suffix="/mean", axes=axes, keepdims=True), suffix="/centred")
    square = call.add("square", apart, suffix="/square")
    variance = call.add("reduce_mean", square, suffix="/variance", axes=axes, keepdims=True)
    epsilon = call.constant(np.float32(call.number("epsilon", 1e-3)), "epsilon")
    return call.add("mul", apart, call.add("rsqrt", call.add("add", variance, epsilon, suffix="/shifted"), suffix="/rsqrt"))


@layer("UnitNormalization", honours="axis", keeps_mask=True)
def unit_normalization(call: Call) -> str:
    """x / sqrt(max(sum(x^2), 1e-12)) over the axes."""
    x = call.x
    total = call.add(
        "reduce_sum",
        call.add("square", x, suffix="/square"),
        suffix="/sum",
        axes=_axes(call, x, "axis", -1),
        keepdims=True,
    )
    bounded = call.add("maximum", total, call.constant(np.float32(1e-12), "smallest"), suffix="/bounded")
    return call.add("mul", x, call.add("rsqrt", bounded, suffix="/rsqrt"))


@layer("Normalization", honours="axis invert mean variance", keeps_mask=True)
def normalization(call: Call) -> str:
    """(x - mean) / deviation with statistics that were adapted to data or given; `invert` goes the other way."""
    x = call.x
    if call.left():
        mean, variance = (array.reshape(-1).astype(np.float64) for array in call.spec.weights[:2])
        for name in ("mean", "variance", "count")[: call.left()]:
            call.take(name, *call.spec.weights[("mean", "variance", "count").index(name)].shape)
    else:
        mean, variance = _given(call, "mean"), _given(call, "variance")
    axis = _axes(call, x, "axis", -1)
    size = int(np.prod([call.dim(x, a) or 0 for a in axis])) if axis else 1
    if len(axis) > 1 or any(statistic.size not in (1, size) for statistic in (mean, variance)):
        raise call.refuse(f"statistics of {mean.size} and {variance.size} numbers for axis = {call.config.get('axis')!r}")
    deviation = np.maximum(np.sqrt(variance), _SMALLEST_DEVIATION)
    factor, offset = (deviation, mean) if call.flag("invert") else (1 / deviation, -mean / deviation)
    return _affine(call, x, factor, offset, axis[0] if axis else -1)


@layer("Rescaling", honours="scale offset", keeps_mask=True)
def rescaling(call: Call) -> str:
    return _affine(call, call.x, _given(call, "scale"), _given(call, "offset", 0.0), -1)


def _given(call: Call, key: str, default: float | None = None) -> np.ndarray:
    value: Any = call.config.get(key, default)
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, dict) else value.get("value")
    try:
        return np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise call.bad(f"has {key} = {value!r}, not numbers") from None


def _axes(call: Call, x: str, key: str, default: int) -> tuple[int, ...]:
    """Axes of the configuration, counted from the front."""
    value = call.config.get(key, default)
    listed = [] if value is None else value if isinstance(value, list) else [value]
    rank = call.rank(x)
    if not all(isinstance(axis, int) and not isinstance(axis, bool) and -rank <= axis < rank for axis in listed):
        raise call.bad(f"has {key} = {value!r} for an input with {rank} axes")
    return tuple(sorted(axis % rank for axis in listed))


def _affine(call: Call, x: str, factor: np.ndarray, offset: np.ndarray, axis: int) -> str:
    """factor * x + offset, both along one axis or single numbers."""
    shape = [1] * call.rank(x)
    shape[axis] = -1
    scaled = call.add("mul", x, call.constant(factor.reshape(shape).astype(np.float32), "factor"), suffix="/scaled")
    return call.add("add", scaled, call.constant(offset.reshape(shape).astype(np.float32), "offset"))
