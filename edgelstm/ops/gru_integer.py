"""gru_integer: the GRU with sigmoid and tanh in integers alone; both forms of edgelstm.ops.gru, gates z r n."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.integer_cases import integer_cases
from edgelstm.ops.integer_formulas import ONE
from edgelstm.ops.integer_recurrent import ATTRS, IntegerRecurrent
from edgelstm.ops.op import Attr, Case


class GRUInteger(IntegerRecurrent):
    """x int8, W, R int8 with their scales, b, rb float32 -> y int8 in steps of h_scale, h int16 in Q(h_fraction).

    h is carried in 16 bits, or small changes would be lost; products read it in steps of h_scale. With gate sums in Q12
    (integer_formulas) and everything of a gate in Q15:
        reset_after:  n = tanh(rescale(x W_n) + b_n + ((r (rescale(h R_n) + rb_n) + 2**14) >> 15))
        else:         n = tanh(rescale(x W_n) + b_n + rescale(rescale((r h + 2**14) >> 15) R_n) + rb_n)
        h' = n + ((z (h - n) + 2**14) >> 15), n rounded to Q(h_fraction) first and limited to -32767 .. 32767
    """

    name = "gru_integer"
    gates = 3
    carried = ("h",)
    kinds = ("int16",)
    inputs = ("x", "W", "R", "W_scale", "R_scale", "b?", "rb?", "h0?", "mask?")
    outputs = ("y?", "h?")
    fraction, fractions = "h_fraction", (6, 15)
    attrs = ATTRS | {"h_fraction": Attr("int", 15), "reset_after": Attr("bool", True)}

    def biases(self, attrs: Mapping[str, Any], named: Mapping[str, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        width = named["W"].shape[1]
        b, rb = (np.zeros(width) if named[name] is None else named[name].astype(np.float64) for name in ("b", "rb"))
        inner = np.where(np.arange(width) >= width // 3 * 2, rb, 0.0) if attrs["reset_after"] else np.zeros(width)
        return formulas.fixed(b + rb - inner, formulas.SUM_FRACTION), formulas.fixed(inner, formulas.SUM_FRACTION)

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        named = self.named(ins)
        words = self.terms(attrs, named)
        W, R, units = named["W"].astype(np.int64), named["R"].astype(np.int64), self.units(named)
        new = slice(2 * units, None)

        def product(h: np.ndarray, part: slice) -> np.ndarray:
            return formulas.rescaled(h @ R[:, part], words[1, part]) + words[3, part]

        def step(x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            h = states[0].astype(np.int64)
            narrow = self._narrow(attrs, h)
            sums = formulas.rescaled(x.astype(np.int64) @ W, words[0]) + words[2]
            z, r = np.split(formulas.sigmoid(sums[:, :2 * units] + product(narrow, slice(2 * units))), 2, axis=1)
            reset = (formulas.rounded_shift(r * product(narrow, new), 15) if attrs["reset_after"] else
                     product(self._narrow(attrs, formulas.rounded_shift(r * h, 15)), new))
            n = formulas.rounded_shift(formulas.tanh(sums[:, new] + reset), 15 - attrs["h_fraction"])
            n = formulas.saturated(n, ONE - 1)
            return (n + formulas.rounded_shift(z * (h - n), 15),)

        y, h = self.walk(attrs, named, step)
        return self.integers([self._narrow(attrs, y.astype(np.int64)), h])

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        named = self.named(ins)
        params = self.common(low, attrs, named, outs, 2.0**-attrs["h_fraction"])
        units = params["units"]
        low.call("integer_gru" if attrs["reset_after"] else "integer_gru_before", **params, h=low.scratch((3, units), "int8"),
                 carried=low.scratch((units,), "int16"), fraction=attrs["h_fraction"])

    def _narrow(self, attrs: Mapping[str, Any], h: np.ndarray) -> np.ndarray:
        return self.quantized(attrs, h, 2.0**-attrs["h_fraction"])

    def cases(self) -> Iterable[Case]:
        yield from integer_cases(self, {"reset before": {"reset_after": False}, "coarse h": {"h_fraction": 6},
                                        "coarse h, reset before": {"h_fraction": 6, "reset_after": False}})


OPS = (GRUInteger(),)
