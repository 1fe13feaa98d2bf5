"""lstm_integer: the LSTM with sigmoid and tanh in integers alone; the cell of edgelstm.ops.lstm, gates i f g o."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.integer_cases import integer_cases
from edgelstm.ops.integer_formulas import ONE
from edgelstm.ops.integer_recurrent import ATTRS, IntegerRecurrent
from edgelstm.ops.op import Attr, Case


class LSTMInteger(IntegerRecurrent):
    """x int8, W, R int8 with their scales, b float32 -> y, h int8 in steps of h_scale, c int16 in Q(c_fraction).

    With gate sums s in Q12 (integer_formulas) and everything of a gate in Q15:
        c' = (f c + ((i g + 2**(14 - c_fraction)) >> (15 - c_fraction)) + 2**14) >> 15, limited to -32767 .. 32767
        h' = rescale((o tanh(c') + 2**14) >> 15), limited to -127 .. 127
    """

    name = "lstm_integer"
    gates = 4
    carried = ("h", "c")
    kinds = ("int8", "int16")
    inputs = ("x", "W", "R", "W_scale", "R_scale", "b?", "h0?", "c0?", "mask?")
    outputs = ("y?", "h?", "c?")
    fraction, fractions = "c_fraction", (6, 14)
    attrs = ATTRS | {"c_fraction": Attr("int", 12)}

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        named = self.named(ins)
        x_words, h_words, bias, _ = self.terms(attrs, named)
        W, R = named["W"].astype(np.int64), named["R"].astype(np.int64)
        fraction = attrs["c_fraction"]

        def step(x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            h, c = (state.astype(np.int64) for state in states)
            sums = formulas.rescaled(x.astype(np.int64) @ W, x_words) + formulas.rescaled(h @ R, h_words) + bias
            i, f, g, o = np.split(sums, 4, axis=1)
            i, f, g, o = formulas.sigmoid(i), formulas.sigmoid(f), formulas.tanh(g), formulas.sigmoid(o)
            fresh = formulas.rounded_shift(i * g, 15 - fraction)
            c = formulas.saturated(formulas.rounded_shift(f * c + fresh, 15), ONE - 1)
            return self.quantized(attrs, formulas.rounded_shift(o * formulas.tanh(c, fraction), 15), 1 / ONE), c

        return self.integers(self.walk(attrs, named, step))

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        named = self.named(ins)
        params = self.common(low, attrs, named, outs, 1 / ONE)
        units = params["units"]
        low.call("integer_lstm", **params, h=low.scratch((2, units), "int8"), c=low.scratch((units,), "int16"),
                 fraction=attrs["c_fraction"])

    def cases(self) -> Iterable[Case]:
        yield from integer_cases(self, {"coarse c": {"c_fraction": 6}, "fine c": {"c_fraction": 14}})


OPS = (LSTMInteger(),)
