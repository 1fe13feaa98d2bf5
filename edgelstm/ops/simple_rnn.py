"""SimpleRNN, the Elman network: h' = a(x W + b + h R) (Elman 1990)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.formulas import apply
from edgelstm.ops.op import Case
from edgelstm.ops.recurrent import COMMON_ATTRS, Recurrent, activation_params, clipped
from edgelstm.ops.recurrent_cases import recurrent_cases


class SimpleRNN(Recurrent):
    """x, W (F, H), R (H, H), b (H,), h0 (B, H), mask (B, T) -> y, h."""

    name = "simple_rnn"
    gates = 1
    carried = ("h",)
    inputs = ("x", "W", "R", "b?", "h0?", "mask?", "W_scale?", "R_scale?")
    parameters = ("W", "R", "b", "W_scale", "R_scale")
    outputs = ("y?", "h?")
    attrs = COMMON_ATTRS

    def equations(self, attrs: Mapping[str, Any], named: Mapping[str, Any]) -> list[np.ndarray]:
        W, R = named["W"], named["R"]
        b = 0 if named["b"] is None else named["b"]
        return self.walk(attrs, named, lambda x, states: (
            apply(attrs["activation"], clipped(x @ W + states[0] @ R + b, attrs["clip"])),))

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        named = self.named(ins)
        standard = attrs["activation"] == "tanh" and not attrs["clip"]
        if standard and (step := self.step_params(low, attrs, named, outs)):
            low.call(low.kernel("simple_rnn_step", attrs["precision"]), **step)
            return
        r = low.panels("R", self.matrix(attrs, named, "R"), 1)
        if standard:
            self.sequence(low, attrs, named, outs, "simple_rnn", 2, r=r)
        else:
            self.sequence(low, attrs, named, outs, "simple_rnn_general", 2, r=r, clip=attrs["clip"],
                          **activation_params(low, "f", attrs["activation"]))

    def cases(self) -> Iterable[Case]:
        yield from recurrent_cases(self, variants={"relu": {"activation": "relu", "clip": 0.7}})


OPS = (SimpleRNN(),)
