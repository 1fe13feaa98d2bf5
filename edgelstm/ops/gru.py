"""GRU: Cho et al. 2014 (reset before the recurrent product) and the CuDNN form (`reset_after`).

    z = s(x W_z + b_z + h R_z + rb_z)        r = s(x W_r + b_r + h R_r + rb_r)
    reset_after:  n = a(x W_n + b_n + r (h R_n + rb_n))        else:  n = a(x W_n + b_n + (r h) R_n + rb_n)
    h' = z h + (1 - z) n

s is `recurrent_activation`, a `activation`. Gates lie side by side in the order z r n.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.formulas import apply
from edgelstm.ops.op import Attr, Case
from edgelstm.ops.recurrent import COMMON_ATTRS, Recurrent, activation_params, clipped
from edgelstm.ops.recurrent_cases import recurrent_cases
from edgelstm.ops.stored import columns


class GRU(Recurrent):
    """x, W (F, 3H), R (H, 3H), b (3H,) input bias, rb (3H,) recurrent bias, h0 (B, H), mask (B, T) -> y, h."""

    name = "gru"
    gates = 3
    carried = ("h",)
    inputs = ("x", "W", "R", "b?", "rb?", "h0?", "mask?", "W_scale?", "R_scale?")
    parameters = ("W", "R", "b", "rb", "W_scale", "R_scale")
    outputs = ("y?", "h?")
    attrs = COMMON_ATTRS | {"recurrent_activation": Attr("activation", "sigmoid"), "reset_after": Attr("bool", True)}

    def parameter_shapes(self, units: int) -> dict[str, tuple[int, ...]]:
        return {"b": (3 * units,), "rb": (3 * units,)}

    def equations(self, attrs: Mapping[str, Any], named: Mapping[str, Any]) -> list[np.ndarray]:
        W, R, units = named["W"], named["R"], named["R"].shape[0]
        b, rb = (np.zeros(3 * units) if named[name] is None else named[name] for name in ("b", "rb"))
        R_zr, R_n = R[:, : 2 * units], R[:, 2 * units :]
        rb_zr, rb_n = rb[: 2 * units], rb[2 * units :]

        def step(x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            (h,) = states
            projected = x @ W + b
            zr = apply(attrs["recurrent_activation"],
                       clipped(projected[:, : 2 * units] + h @ R_zr + rb_zr, attrs["clip"]))
            z, r = zr[:, :units], zr[:, units:]
            recurrent = r * (h @ R_n + rb_n) if attrs["reset_after"] else (r * h) @ R_n + rb_n
            n = apply(attrs["activation"], clipped(projected[:, 2 * units :] + recurrent, attrs["clip"]))
            return (z * h + (1 - z) * n,)

        return self.walk(attrs, named, step)

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        named = self.named(ins)
        precision = attrs["precision"]
        standard = (attrs["recurrent_activation"], attrs["activation"]) == ("sigmoid", "tanh") and not attrs["clip"]
        rb = None if named["rb"] is None else low.panels("rb", self.weight(named, "rb")[None], 3)
        if standard and attrs["reset_after"] and (step := self.step_params(low, attrs, named, outs)):
            low.call(low.kernel("gru_step", precision), **step, rb=rb)
            return
        kernel = "gru" if attrs["reset_after"] else "gru_before"
        weights = self._recurrent_panels(low, attrs, named) | {"rb": rb}
        if standard:
            self.sequence(low, attrs, named, outs, kernel, 4, **weights)
        else:
            self.sequence(low, attrs, named, outs, f"{kernel}_general", 4, **weights, clip=attrs["clip"],
                          **activation_params(low, "f", attrs["recurrent_activation"]),
                          **activation_params(low, "g", attrs["activation"]))

    def _recurrent_panels(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any]) -> dict[str, Any]:
        R, units = self.matrix(attrs, named, "R"), self.units(named)
        if attrs["reset_after"]:
            return {"r": low.panels("R", R, 3)}
        zr, n = columns(R, 0, 2 * units), columns(R, 2 * units, 3 * units)
        return {"r_zr": low.panels("R_zr", zr, 2), "r_n": low.panels("R_n", n, 1)}

    def cases(self) -> Iterable[Case]:
        yield from recurrent_cases(self, variants={
            "reset_before": {"reset_after": False},
            "hard_sigmoid": {"recurrent_activation": ("hard_sigmoid", 1 / 6, 0.5), "reset_after": False},
            "relu": {"activation": "relu", "clip": 0.7},
        })


OPS = (GRU(),)
