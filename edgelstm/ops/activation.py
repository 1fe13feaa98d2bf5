"""Activation functions of neural networks: relu, tanh, sigmoid, gelu and their kin, each with its equation, and prelu.

A NaN stays NaN and an infinity goes to the function's limit: silu(-inf) is 0, not NaN.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.binary import Binary, broadcast_call, combine
from edgelstm.ops.formulas import ACTIVATIONS, SELU_ALPHA, SELU_SCALE, gelu, gelu_tanh
from edgelstm.ops.op import Attr, Case, Fact, Lowering
from edgelstm.ops.pointwise import FLOAT, SIGNED, Unary, broadcast_shape, constant, elements


class Relu(Unary):
    """y = max(x, 0)."""

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        combine(low, "maximum", x, constant(low, 0, "int64"), y)


class Clip(Unary):
    """y = min(max(x, min), max); integers are held to the whole numbers within the bounds."""

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        above = low.scratch(x.shape, "int64")
        lowest, highest = integer_bounds(attrs["min"], attrs["max"])
        combine(low, "maximum", x, constant(low, lowest, "int64"), above)
        combine(low, "minimum", above, constant(low, highest, "int64"), y)


class Gelu(Unary):
    """x * Phi(x), Phi the normal distribution (Hendrycks & Gimpel 2016); `approximate` takes their tanh form."""

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        kernel = "gelu_tanh_f32" if attrs["approximate"] else "gelu_f32"
        low.call(kernel, x=ins[0], y=outs[0], n=elements(ins[0].shape))

    def cases(self) -> Iterable[Case]:
        for case in super().cases():
            yield case
            yield Case(f"{case.name}, tanh form", case.inputs, {"approximate": True})


class Prelu(Binary):
    """y = x where x >= 0, else slope * x; the slope broadcasts to the shape of x (He et al. 2015)."""

    inputs = ("x", "slope")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        outs = super().infer(attrs, ins)
        if broadcast_shape(ins[0].shape, ins[1].shape) != ins[0].shape:
            raise ShapeError(f"a slope of shape {ins[1].shape} does not broadcast to x of shape {ins[0].shape}")
        return outs

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        broadcast_call(low, "prelu_f32", ins[0], ins[1], outs[0])

    def cases(self) -> Iterable[Case]:
        return [case for case in super().cases() if case.inputs[0].ndim and case.name != "special"
                and np.broadcast_shapes(*(x.shape for x in case.inputs)) == case.inputs[0].shape]


def integer_bounds(low: float, high: float) -> tuple[int, int]:
    """The smallest and largest int64 within two floats."""
    info = np.iinfo(np.int64)
    lowest = info.min if low <= info.min else int(np.ceil(min(low, 2.0**62)))
    highest = info.max if high >= info.max else int(np.floor(max(high, -2.0**62)))
    return lowest, highest


def clip(x: np.ndarray, min: float, max: float) -> np.ndarray:
    """min(max(x, min), max)."""
    lowest, highest = (min, max) if x.dtype.kind == "f" else integer_bounds(min, max)
    return np.minimum(np.maximum(x, lowest), highest)


def shared(name: str, *attrs: str) -> Unary:
    """The op of an activation that recurrent cells have too; `attrs` says which of alpha and beta it takes."""
    known = ACTIVATIONS[name]
    defaults = {attr: Attr("float", getattr(known, attr)) for attr in attrs}
    return Unary(name, lambda x, alpha=0.0, beta=0.0: known.formula(x, alpha, beta), defaults)


def selu(x: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    """gamma * (x where x > 0, else alpha * (exp(x) - 1)) (Klambauer et al. 2017)."""
    return gamma * ACTIVATIONS["elu"].formula(x, alpha, 0.0)


def number(default: float) -> Attr:
    """A float attribute."""
    return Attr("float", default)


OPS = (
    Relu("relu", lambda x: np.maximum(x, 0), dtypes=SIGNED),
    Clip("clip", clip, {"min": number(-np.inf), "max": number(np.inf)}, dtypes=SIGNED),
    Gelu("gelu", lambda x, approximate: gelu_tanh(x) if approximate else gelu(x), {"approximate": Attr("bool", False)}),
    Prelu("prelu", lambda x, slope: np.where(x < 0, slope * x, x), dtypes=FLOAT),
    Unary("selu", selu, {"alpha": number(SELU_ALPHA), "gamma": number(SELU_SCALE)}),
    shared("relu6"),
    shared("tanh"),
    shared("sigmoid"),
    shared("hard_sigmoid", "alpha", "beta"),
    shared("softsign"),
    shared("softplus"),
    shared("elu", "alpha"),
    shared("silu"),
    shared("mish"),
    shared("hard_silu"),
    shared("log_sigmoid"),
    shared("leaky_relu", "alpha"),
    shared("thresholded_relu", "alpha"),
    shared("scaled_tanh", "alpha", "beta"),
    shared("affine", "alpha", "beta"),
)
