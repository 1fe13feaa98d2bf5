"""What the integer-only cells share: dtypes, weights and scales, and their way to the kernels.

Activations are int8, q * scale with |q| <= 127: x in steps of x_scale, h where it is multiplied and given as y in steps of
h_scale. W (F, G H) and R (H, G H) are int8 with one float32 scale per column; biases are float32. These floats become integers
when the weights are packed: the factors x_scale * W_scale and h_scale * R_scale to Q12, biases in Q12 (integer_formulas).
Activations of the gates are sigmoid and tanh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.op import REQUIRED, Attr, Fact, Op, StateSlot
from edgelstm.ops.recurrent import LAYOUT, Recurrent
from edgelstm.ops.stored import known

ATTRS = {
    "layout": LAYOUT,
    "reverse": Attr("bool", False),
    "masked_output": Attr("str", "hold", ("hold", "zero")),
    "x_scale": Attr("float", REQUIRED),
    "h_scale": Attr("float", REQUIRED),
}
UNIT = 2.0**formulas.SUM_FRACTION


class IntegerRecurrent(Recurrent):
    """Base of the integer-only cells.

    `kinds` are the dtypes of the carried states; `fraction` names the attribute with the bits after the point of a 16-bit
    state, and `fractions` its smallest and largest value.
    """

    kinds: tuple[str, ...]
    narrow = ("*",)
    parameters = ("W", "R", "W_scale", "R_scale", "b", "rb")
    fraction = ""
    fractions = (0, 0)
    rounded = Op.rounded  # the reference itself

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        named = self.named(ins)
        x, W, R = named["x"], named["W"], named["R"]
        if x.rank != 3 or W.rank != 2 or R.rank != 2:
            raise ShapeError(f"x {x.shape}, W {W.shape} and R {R.shape} must have 3, 2 and 2 axes")
        (steps, batch), units = self.steps_batch(attrs, x), self.units(named)
        columns = (self.gates * units,)
        self._check_facts(named, {
            "x": (x.shape, "int8"), "W": ((x.shape[2], *columns), "int8"), "R": ((units, *columns), "int8"),
            **{name: (columns, "float32") for name in ("W_scale", "R_scale", "b", "rb")}, "mask": ((batch, steps), "bool"),
            **{f"{state}0": ((batch, units), kind) for state, kind in zip(self.carried, self.kinds, strict=True)}})
        self._check_attrs(attrs)
        for n_in in (x.shape[2], units):
            formulas.check_inputs(n_in)
        y = (batch, steps, units) if attrs["layout"] == "btf" else (steps, batch, units)
        return [Fact(y, "int8"), *(Fact((batch, units), kind) for kind in self.kinds)]

    def slots(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> dict[str, StateSlot]:
        kinds = dict(zip(self.carried, self.kinds, strict=True))
        return {state: replace(slot, dtype=kinds[state]) for state, slot in super().slots(attrs, ins).items()}

    def terms(self, attrs: Mapping[str, Any], named: Mapping[str, np.ndarray | None]) -> np.ndarray:
        """(4, G H) int64: the words of W, those of R, the bias in Q12, and what is added within the recurrent part."""
        words = [formulas.rescale_words(attrs[step] * named[f"{role}_scale"].astype(np.float64) * UNIT,
                                        formulas.sum_bounds(named[role]))
                 for role, step in (("W", "x_scale"), ("R", "h_scale"))]
        return np.stack([*words, *self.biases(attrs, named)]).astype(np.int64)

    def biases(self, attrs: Mapping[str, Any], named: Mapping[str, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
        """(G H,) each: the bias in Q12, and what is added to the recurrent part of a gate before anything multiplies that."""
        width = named["W"].shape[1]
        zeros = np.zeros(width, np.int64)
        return zeros if named["b"] is None else formulas.fixed(named["b"], formulas.SUM_FRACTION), zeros

    def quantized(self, attrs: Mapping[str, Any], value: np.ndarray, unit: float) -> np.ndarray:
        """A value in steps of `unit` as int8 in steps of h_scale."""
        return formulas.saturated(formulas.rescaled(value, self.h_word(attrs, unit)), 127)

    def h_word(self, attrs: Mapping[str, Any], unit: float) -> int:
        """The word that takes a 16-bit value in steps of `unit` to steps of h_scale."""
        return int(formulas.rescale_words(unit / attrs["h_scale"], formulas.ONE))

    def integers(self, outs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the walk over time gave, in the dtypes of the outputs."""
        return [out.astype(kind) for out, kind in zip(outs, ("int8", *self.kinds), strict=True)]

    def common(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any], outs: Sequence[Any],
               unit: float) -> dict[str, Any]:
        """The parameters that the kernels of all cells share; `unit` is the step of what becomes h."""
        x, (steps, batch), units = named["x"], self.steps_batch(attrs, named["x"]), self.units(named)
        arrays = {name: None if named[name] is None else known(self.name, name, named[name])
                  for name in self.parameters if name in named}
        rows = (1, steps) if attrs["layout"] == "btf" else (batch, 1)
        n_in = x.shape[2]
        return {"x": x, "y": outs[0], "batch": batch, "steps": steps, "units": units, "n_in": n_in,
                "w": low.constant("W", lambda: self._by_unit(arrays["W"])),
                "r": low.constant("R", lambda: self._by_unit(arrays["R"])),
                "columns": low.constant("columns", lambda: self._columns(attrs, arrays)),
                "table": low.constant("tanh", lambda: formulas.TANH_TABLE), "h_word": self.h_word(attrs, unit),
                "x_t": rows[0] * n_in, "x_b": rows[1] * n_in, "y_t": rows[0] * units, "y_b": rows[1] * units,
                "reverse": int(attrs["reverse"]), **self.masking(low, attrs, named),
                **self.carried_states(low, named, outs, batch)[0]}

    def _by_unit(self, matrix: np.ndarray) -> np.ndarray:
        """A matrix (n, G H) as [unit][gate][n]."""
        n = matrix.shape[0]
        return np.ascontiguousarray(matrix.reshape(n, self.gates, -1).transpose(2, 1, 0))

    def _columns(self, attrs: Mapping[str, Any], arrays: Mapping[str, np.ndarray | None]) -> np.ndarray:
        """What a sum of products needs, as int32 [unit][gate][4]."""
        return np.ascontiguousarray(self.terms(attrs, arrays).reshape(4, self.gates, -1).transpose(2, 1, 0), np.int32)

    def _check_attrs(self, attrs: Mapping[str, Any]) -> None:
        for name in ("x_scale", "h_scale"):
            formulas.check_scale(name, attrs[name])
        least, most = self.fractions
        if self.fraction and not least <= attrs[self.fraction] <= most:
            raise ShapeError(f"{self.fraction} is {attrs[self.fraction]}; {least} to {most} are supported")
