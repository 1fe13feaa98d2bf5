"""simple_rnn_integer: the Elman network with tanh in integers alone; the cell of edgelstm.ops.simple_rnn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.integer_cases import integer_cases
from edgelstm.ops.integer_recurrent import ATTRS, IntegerRecurrent
from edgelstm.ops.op import Case


class SimpleRNNInteger(IntegerRecurrent):
    """x int8, W, R int8 with their scales, b float32 -> y, h int8 in steps of h_scale.

    h' = rescale(tanh(s)), limited to -127 .. 127, with the sum s in Q12 (integer_formulas).
    """

    name = "simple_rnn_integer"
    gates = 1
    carried = ("h",)
    kinds = ("int8",)
    inputs = ("x", "W", "R", "W_scale", "R_scale", "b?", "h0?", "mask?")
    outputs = ("y?", "h?")
    attrs = ATTRS

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        named = self.named(ins)
        x_words, h_words, bias, _ = self.terms(attrs, named)
        W, R = named["W"].astype(np.int64), named["R"].astype(np.int64)

        def step(x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            h = states[0].astype(np.int64)
            sums = formulas.rescaled(x.astype(np.int64) @ W, x_words) + formulas.rescaled(h @ R, h_words) + bias
            return (self.quantized(attrs, formulas.tanh(sums), 1 / formulas.ONE),)

        return self.integers(self.walk(attrs, named, step))

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        params = self.common(low, attrs, self.named(ins), outs, 1 / formulas.ONE)
        low.call("integer_simple_rnn", **params, h=low.scratch((2, params["units"]), "int8"))

    def cases(self) -> Iterable[Case]:
        yield from integer_cases(self, {})


OPS = (SimpleRNNInteger(),)
