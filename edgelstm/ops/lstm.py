"""LSTM: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000, peepholes of Gers and Schmidhuber 2000.

    i = s(x W_i + h R_i + b_i + p_i c)      f = s(x W_f + h R_f + b_f + p_f c)      g = a(x W_g + h R_g + b_g)
    c' = f c + i g                          o = s(x W_o + h R_o + b_o + p_o c')     h' = e(c') o

s is `recurrent_activation`, a `activation`, e `cell_activation`. Gates lie side by side in the order i f g o.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.formulas import apply
from edgelstm.ops.op import Attr, Case
from edgelstm.ops.recurrent import COMMON_ATTRS, Recurrent, activation_params, clipped
from edgelstm.ops.recurrent_cases import recurrent_cases

STANDARD = ("sigmoid", "tanh", "tanh")


class LSTM(Recurrent):
    """x, W (F, 4H), R (H, 4H), b (4H,), h0, c0 (B, H), mask (B, T), peephole (3H,) in the order i f o -> y, h, c."""

    name = "lstm"
    gates = 4
    carried = ("h", "c")
    inputs = ("x", "W", "R", "b?", "h0?", "c0?", "mask?", "peephole?", "W_scale?", "R_scale?")
    parameters = ("W", "R", "b", "peephole", "W_scale", "R_scale")
    outputs = ("y?", "h?", "c?")
    attrs = COMMON_ATTRS | {
        "recurrent_activation": Attr("activation", "sigmoid"),
        "cell_activation": Attr("activation", "tanh"),
        "input_forget": Attr("bool", False),
    }

    def parameter_shapes(self, units: int) -> dict[str, tuple[int, ...]]:
        return {"b": (4 * units,), "peephole": (3 * units,)}

    def equations(self, attrs: Mapping[str, Any], named: Mapping[str, Any]) -> list[np.ndarray]:
        W, R, units = named["W"], named["R"], named["R"].shape[0]
        b = np.zeros(4 * units) if named["b"] is None else named["b"]
        p_i, p_f, p_o = np.zeros((3, units)) if named["peephole"] is None else named["peephole"].reshape(3, units)

        def step(x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            h, c = states
            i, f, g, o = np.split(x @ W + h @ R + b, 4, axis=1)
            i = apply(attrs["recurrent_activation"], clipped(i + p_i * c, attrs["clip"]))
            f = 1 - i if attrs["input_forget"] else apply(
                attrs["recurrent_activation"], clipped(f + p_f * c, attrs["clip"]))
            c = f * c + i * apply(attrs["activation"], clipped(g, attrs["clip"]))
            o = apply(attrs["recurrent_activation"], clipped(o + p_o * c, attrs["clip"]))
            return o * apply(attrs["cell_activation"], c), c

        return self.walk(attrs, named, step)

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        named = self.named(ins)
        standard, precision = self._standard(attrs, named), attrs["precision"]
        if standard and (step := self.step_params(low, attrs, named, outs)):
            low.call(low.kernel("lstm_step", precision), **step)
            return
        r = low.panels("R", self.matrix(attrs, named, "R"), 4)
        if standard:
            team = self.by_team(low, attrs, named)
            self.sequence(low, attrs, named, outs, "lstm_team" if team else "lstm", 3, team=team, r=r)
            return
        peephole = None if named["peephole"] is None else low.constant(
            "peephole", lambda: self.weight(named, "peephole"))
        self.sequence(low, attrs, named, outs, "lstm_general", 3, r=r, peep=peephole, clip=attrs["clip"],
                      input_forget=int(attrs["input_forget"]),
                      **activation_params(low, "f", attrs["recurrent_activation"]),
                      **activation_params(low, "g", attrs["activation"]),
                      **activation_params(low, "h", attrs["cell_activation"]))

    def _standard(self, attrs: Mapping[str, Any], named: dict[str, Any]) -> bool:
        functions = (attrs["recurrent_activation"], attrs["activation"], attrs["cell_activation"])
        return functions == STANDARD and not attrs["clip"] and not attrs["input_forget"] and named["peephole"] is None

    def cases(self) -> Iterable[Case]:
        yield from recurrent_cases(self, variants={
            "hard_sigmoid": {"recurrent_activation": ("hard_sigmoid", 0.2, 0.5)},
            "input_forget": {"input_forget": True},
            "relu": {"activation": "softsign", "cell_activation": "relu", "clip": 0.7},
        })


OPS = (LSTM(),)
