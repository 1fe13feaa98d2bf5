"""layer_norm: numbers centred and scaled by the mean and variance of their own group (Ba et al. 2016)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.binary import combine
from edgelstm.ops.op import Attr, Case, Fact, Lowering, Op
from edgelstm.ops.pointwise import FLOAT, broadcast_shape, check_dtype, constant, elements
from edgelstm.ops.reduce import normal_axes


class LayerNorm(Op):
    """y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over the trailing `axes` of x.

    gamma and beta have the shape of the normalised axes, or one that broadcasts to it.
    """

    name = "layer_norm"
    inputs = ("x", "gamma?", "beta?")
    attrs = {"axes": Attr("ints", (-1,)), "epsilon": Attr("float", 1e-5)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x = ins[0]
        group = x.shape[_first_axis(attrs["axes"], x.rank):]
        for role, fact in zip(("x", "gamma", "beta"), ins, strict=True):
            if fact is None:
                continue
            check_dtype(role, fact.dtype, FLOAT)
            if role != "x" and broadcast_shape(fact.shape, group) != group:
                raise ShapeError(f"{role} of shape {fact.shape} does not fit the normalised axes {group}")
        return [Fact(x.shape, "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, gamma, beta = ins
        axes = normal_axes(attrs["axes"], x.ndim)
        y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + attrs["epsilon"])
        y = y if gamma is None else y * gamma
        return [y if beta is None else y + beta]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, axis) for axis in normal_axes(attrs["axes"], ins[0].rank)]

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x = ins[0]
        first = _first_axis(attrs["axes"], len(x.shape))
        group = x.shape[first:]
        gamma, beta = (_spread(low, weight, group) for weight in ins[1:])
        low.call("layer_norm_f32", x=x, gamma=gamma, beta=beta, y=outs[0], rows=elements(x.shape[:first]),
                 n=elements(group), share=1 / max(1, elements(group)), epsilon=attrs["epsilon"])

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(29)
        last = (-1,)
        for shape, axes in (((1, 1), last), ((3, 5), last), ((17, 33), last), ((2, 3, 65), (1, 2)), ((2, 1000), last)):
            x = (3 + 2 * rng.normal(size=shape)).astype("float32")
            gamma, beta = rng.normal(size=(2, shape[-1])).astype("float32")
            yield Case(f"{shape} over {axes}", [x, gamma, beta], {"axes": axes, "epsilon": 1e-3}, atol=5e-6, rtol=5e-6)
            yield Case(f"{shape} over {axes}, no weights", [x, None, None], {"axes": axes}, atol=5e-6, rtol=5e-6)


def _first_axis(axes: Sequence[int], rank: int) -> int:
    found = normal_axes(axes, rank)
    if found != tuple(range(rank - len(found), rank)) or not found:
        raise ShapeError(f"the axes {found} of a value with {rank} axes are not its last ones; transpose it first")
    return found[0]


def _spread(low: Lowering, weight: Any, group: tuple[int, ...]) -> Any:
    """A weight as one number for each element of the group."""
    if weight is None or elements(weight.shape) == elements(group):
        return weight
    wide = low.scratch(group)
    combine(low, "mul", weight, constant(low, 1.0, "float32"), wide)
    return wide


OPS = (LayerNorm(),)
