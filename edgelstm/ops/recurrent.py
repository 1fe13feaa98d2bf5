"""What LSTM, GRU and SimpleRNN share: layouts, masks, directions, the loop over time and the streaming rule.

x is (B, T, F) with layout "btf" and (T, B, F) with "tbf"; y likewise with H units; h and c are (B, H); mask is (B, T), true
where a step counts. A masked step leaves the state as it is and gives the previous output ("hold", zeros before the first) or
zeros ("zero"). With `reverse` time is walked backwards and y keeps the original positions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.formulas import resolve
from edgelstm.ops.op import Attr, Fact, NeedsFuture, Noise, Op, StateSlot, carries_time, time_axes
from edgelstm.ops.rows import dense_rows, prepared
from edgelstm.ops.stored import (
    ACTIVATION_SCALE,
    GROUPED,
    PRECISION,
    Stored,
    check_grouped,
    check_scales,
    check_stored,
    full_shape,
    known,
    rounding,
    stored,
    wide,
)
from edgelstm.ops.time_parts import time_parts

TEAM_UNITS = 96  # fewer take less time than two threads need to meet once a step
LAYOUT = Attr("str", "btf", ("btf", "tbf"))
COMMON_ATTRS: dict[str, Attr] = {
    "layout": LAYOUT,
    "reverse": Attr("bool", False),
    "activation": Attr("activation", "tanh"),
    "clip": Attr("float", 0.0),
    "masked_output": Attr("str", "hold", ("hold", "zero")),
    "precision": PRECISION,
    "grouped": GROUPED,
    "x_scale": ACTIVATION_SCALE,
    "h_scale": ACTIVATION_SCALE,
}

Step = Callable[[np.ndarray, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]


class Recurrent(Op):
    """Base of the three cells. `gates` is the number of gates, `carried` the names of the states, h first."""

    gates: int
    carried: tuple[str, ...]
    narrow = ("W", "R", "W_scale", "R_scale")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        named = self.named(ins)
        x, W, R = named["x"], named["W"], named["R"]
        for activation in ("activation", "recurrent_activation", "cell_activation"):
            if activation in attrs:
                resolve(attrs[activation])
        if x.rank != 3 or W.rank != 2 or R.rank != 2:
            raise ShapeError(f"x {x.shape}, W {W.shape} and R {R.shape} must have 3, 2 and 2 axes")
        steps, batch = self.steps_batch(attrs, x)
        units = self.units(named)
        shapes = {"W": (x.shape[2], self.gates * units), "R": (units, self.gates * units)}
        for name, shape in shapes.items():
            check_stored(name, attrs["precision"], named[name], named[f"{name}_scale"], shape)
        check_grouped(attrs, x.shape[2])
        check_scales(attrs, "x_scale", "h_scale")
        floats = {"x": x.shape, **self.parameter_shapes(units), **{f"{s}0": (batch, units) for s in self.carried}}
        expected = {name: (shape, "float32") for name, shape in floats.items()}
        self._check_facts(named, {**expected, "mask": ((batch, steps), "bool")})
        y = (batch, steps, units) if attrs["layout"] == "btf" else (steps, batch, units)
        return [Fact(y, "float32"), *(Fact((batch, units), "float32") for _ in self.carried)]

    def parameter_shapes(self, units: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the optional parameters by input name."""
        return {"b": (self.gates * units,)}

    def named(self, ins: Sequence[Any]) -> dict[str, Any]:
        """The inputs by name, None where absent."""
        return {name.rstrip("?"): value for name, value in zip(self.inputs, ins, strict=True)}

    def units(self, named: Mapping[str, Any]) -> int:
        """Units of the cell; stored rows may hold more than one input, columns never."""
        return named["R"].shape[1] // self.gates

    def weight_shapes(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        named = self.named(ins)
        return {"W": full_shape(attrs, named["W"]), "R": (self.units(named), named["R"].shape[1])}

    def matrix(self, attrs: Mapping[str, Any], named: Mapping[str, Any], name: str) -> np.ndarray | Stored:
        """W or R by name, as `Lowering.panels` takes it. Raises UnsupportedError when it is computed from the model's input."""
        scale, shape = named[f"{name}_scale"], self.weight_shapes(attrs, list(named.values()))[name]
        return stored(attrs["precision"], known(self.name, name, named[name]),
                      None if scale is None else known(self.name, f"{name}_scale", scale), shape)

    def equations(self, attrs: Mapping[str, Any], named: Mapping[str, Any]) -> list[np.ndarray]:
        """The outputs in float64, W and R being what `x @ W` and `h @ R` take."""
        raise TypeError(f"op {self.name} declares no equations")

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return self.equations(attrs, self.named(ins) | self._widened(attrs, ins))

    def rounded(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None], noise: Noise | None) -> list[np.ndarray]:
        scales, precision = {"W": attrs["x_scale"], "R": attrs["h_scale"]}, attrs["precision"]
        matrices = self._widened(attrs, ins).items()
        return self.equations(attrs, self.named(ins) | {name: rounding(precision, matrix, scales[name], noise)
                                                        for name, matrix in matrices})

    def _widened(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> dict[str, np.ndarray]:
        """W and R by name, the float64 matrices that they stand for."""
        named = self.named(ins)
        return {name: wide(attrs["precision"], named[name], named[f"{name}_scale"], shape)
                for name, shape in self.weight_shapes(attrs, ins).items()}

    def steps_batch(self, attrs: Mapping[str, Any], x: Any) -> tuple[int, int]:
        """(time steps, batch) of x."""
        time, batch = self.sequence_axes(attrs)
        return x.shape[time], x.shape[batch]

    def sequence_axes(self, attrs: Mapping[str, Any]) -> tuple[int, int]:
        return (1, 0) if attrs["layout"] == "btf" else (0, 1)

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        named = self.named(ins)
        axis, _ = self.sequence_axes(attrs)
        if not carries_time(named["x"], axis, time):
            raise NeedsFuture("it runs over an axis that is not the time of the stream, once for every step")
        if time_axes(named["x"], time) != [axis]:
            raise NeedsFuture("its batch or its features grow with the number of time steps")
        if attrs["reverse"]:
            raise NeedsFuture("it runs backwards in time, from the last step to the first")
        for state in self.carried:
            initial = named[f"{state}0"]
            if initial is not None and initial.value is None and initial.sources:
                raise NeedsFuture(f"its initial state {state} is computed from {', '.join(sorted(initial.sources))}")
        return self.slots(attrs, ins)

    def slots(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> dict[str, StateSlot]:
        named = self.named(ins)
        _, batch = self.steps_batch(attrs, named["x"])
        shape = (batch, self.units(named))
        found = {}
        for state in self.carried:
            initial = named[f"{state}0"]
            if initial is None or initial.value is not None:
                found[state] = StateSlot(shape, "float32", None if initial is None else initial.value)
        return found

    def walk(self, attrs: Mapping[str, Any], named: dict[str, np.ndarray | None], step: Step) -> list[np.ndarray]:
        """The loop over time in float64: `step(x_t, states)` gives the new states, h first, which is also the output."""
        x = named["x"] if attrs["layout"] == "tbf" else named["x"].swapaxes(0, 1)
        steps, batch, units = x.shape[0], x.shape[1], named["R"].shape[0]
        zeros = np.zeros((batch, units))
        states = tuple(zeros if named[f"{s}0"] is None else named[f"{s}0"] for s in self.carried)
        y, previous = np.zeros((steps, batch, units)), zeros
        for t in reversed(range(steps)) if attrs["reverse"] else range(steps):
            new = step(x[t], states)
            valid = True if named["mask"] is None else named["mask"][:, t, None].astype(bool)
            states = tuple(np.where(valid, n, s) for n, s in zip(new, states, strict=True))
            previous = y[t] = np.where(valid, new[0], previous if attrs["masked_output"] == "hold" else zeros)
        return [y if attrs["layout"] == "tbf" else y.swapaxes(0, 1), *states]

    def by_team(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any]) -> bool:
        """Whether the threads that run the plan should share the units of this node."""
        steps, _ = self.steps_batch(attrs, named["x"])
        return low.members > 1 and self.units(named) >= TEAM_UNITS and steps > 1

    def sequence(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any], outs: Sequence[Any], kernel: str, states: int,
                 *, team: bool = False, **weights: Any) -> None:
        """Append the calls of a sequence: for each part of the time the inputs times W, bias added, then `kernel`.

        The kernel needs room for `states` rows of units, and `weights` beside what all kernels of sequences take.
        """
        steps, batch = self.steps_batch(attrs, named["x"])
        units, together = self.units(named), low.team() if team else {}
        width = -(-units // low.lanes) * low.lanes * self.gates
        rows = (1, steps) if attrs["layout"] == "btf" else (batch, 1)
        parts = time_parts(steps, batch, width) if self._divisible(low, attrs, named, team) else [(0, steps)]
        p = low.scratch((max(end - begin for begin, end in parts) * batch, width))
        project = self._projection(low, attrs, named, p, together)
        params = {"p": p, "batch": batch, "units": units, "reverse": int(attrs["reverse"]), "p_t": rows[0] * width,
                  "p_b": rows[1] * width, "y_t": rows[0] * units, "y_b": rows[1] * units, "h_scale": attrs["h_scale"],
                  "work": self._work(low, attrs, batch, units, states), **self.masking(low, attrs, named), **weights,
                  **together}
        ways = self.carried_states(low, named, outs, batch, len(parts))
        for (begin, end), carried in zip(parts[::-1] if attrs["reverse"] else parts, ways, strict=True):
            project(begin * batch, (end - begin) * batch)
            y = outs[0] if len(parts) == 1 or outs[0] is None else low.part(
                outs[0], begin * params["y_t"], (end - begin) * params["y_t"])
            low.call(low.kernel(kernel, attrs["precision"]), **params, **carried, y=y, steps=end - begin)

    def _divisible(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any], team: bool) -> bool:
        """Whether the rows of a part of the time lie side by side, and nothing looks back beyond the last state."""
        _, batch = self.steps_batch(attrs, named["x"])
        return low.in_parts and not team and named["mask"] is None and (batch == 1 or attrs["layout"] == "tbf")

    def _projection(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any], p: Any,
                    together: Mapping[str, Any]) -> Callable[[int, int], None]:
        """`project(first, rows)` appends the product of so many rows of the input with W, bias added, into p."""
        x, W, width = named["x"], self.matrix(attrs, named, "W"), p.shape[1]
        steps, batch = self.steps_batch(attrs, x)
        bias = None if named["b"] is None else low.panels("b", self.weight(named, "b")[None], self.gates)
        ready, stride = prepared(low, attrs, dense_rows(x, steps * batch, W.shape[0]))
        weights = low.panels("W", W, self.gates)

        def project(first: int, rows: int) -> None:
            source = ready if rows == steps * batch else low.part(ready, first * stride, rows * stride)
            low.call(low.kernel(f"gemm{self.gates}{'_team' * bool(together)}", attrs["precision"]), **together, x=source,
                     w=weights, bias=bias, y=p, rows=rows, n_in=W.shape[0], n_out=width, x_stride=stride, y_stride=width)

        return project

    def step_params(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any],
                    outs: Sequence[Any]) -> dict[str, Any] | None:
        """The parameters of the kernel for one step of one row of a stream; None where the program is something else."""
        x, W, R = named["x"], *(self.matrix(attrs, named, name) for name in ("W", "R"))
        slots = [low.state(state) for state in self.carried]
        if self.steps_batch(attrs, x) != (1, 1) or named["mask"] is not None or None in slots:
            return None
        for slot, out in zip(slots, outs[1:], strict=True):
            if out is not None:
                low.alias(out, slot)
        units = self.units(named)
        bias = None if named["b"] is None else low.panels("b", self.weight(named, "b")[None], self.gates)
        return {"x": x, "w": low.panels("W", W, self.gates), "bias": bias, "r": low.panels("R", R, self.gates),
                "y": low.scratch((1, 1, units)) if outs[0] is None else outs[0], "n_in": W.shape[0], "units": units,
                "work": self._step_work(low, attrs, named), "x_scale": attrs["x_scale"], "h_scale": attrs["h_scale"],
                **dict(zip(self.carried, slots, strict=True))}

    def _step_work(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any]) -> Any:
        """Scratch of the kernel of a step: the prepared rows of x and h, if any, and a word."""
        words = sum(low.row_words(attrs["precision"], n) for n in (named["x"].shape[2], self.units(named)))
        return low.scratch((words + 1,))

    def carried_states(self, low: Any, named: dict[str, Any], outs: Sequence[Any], batch: int,
                       parts: int = 1) -> list[dict[str, Any]]:
        """Where the kernel reads and writes the states in each part: a stream's slots, or the node's own inputs and outputs."""
        ways: list[dict[str, Any]] = [{} for _ in range(parts)]
        for state, out in zip(self.carried, outs[1:], strict=True):
            slot = low.state(state)
            first, last = (named[f"{state}0"], out) if slot is None else (slot, slot)
            if slot is not None and out is not None:
                low.alias(out, slot)
            between = slot if slot is not None or parts == 1 else low.scratch((batch, self.units(named)))
            for number, way in enumerate(ways):
                way[f"{state}0"] = between if number else first
                way[f"{state}n"] = last if number == parts - 1 else between
        return ways

    def masking(self, low: Any, attrs: Mapping[str, Any], named: dict[str, Any]) -> dict[str, Any]:
        """The mask and what a masked step gives: 0 zeros, 1 the previous output, 2 the same with h before the first step."""
        hold = 0 if attrs["masked_output"] == "zero" else 1 if low.state("h") is None else 2
        return {"mask": named["mask"], "hold": hold}

    def _work(self, low: Any, attrs: Mapping[str, Any], batch: int, units: int, states: int) -> Any:
        """Scratch of the kernel for every batch row: `states` padded rows of units, and h prepared by each thread."""
        padded = -(-units // low.lanes) * low.lanes
        return low.scratch((batch * (states * padded + low.members * low.row_words(attrs["precision"], units)),))

    def weight(self, named: dict[str, Any], name: str) -> np.ndarray:
        """The array of a parameter. Raises UnsupportedError when it is computed from the model's input."""
        if named[name].value is None:
            raise UnsupportedError(f"the {self.name} parameter {name} is computed from an input; only constants are supported")
        return named[name].value

    def _check_facts(self, named: dict[str, Fact | None], expected: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        for name, (shape, dtype) in expected.items():
            fact = named.get(name)
            if fact is not None and (fact.shape, fact.dtype) != (shape, dtype):
                raise ShapeError(f"{name} is {fact.dtype}{list(fact.shape)}, expected {dtype}{list(shape)}")


def activation_params(low: Any, prefix: str, activation: str | tuple[str, float, float]) -> dict[str, Any]:
    """Kernel parameters of one activation: its code and its two constants."""
    name, alpha, beta = resolve(activation)
    return {f"{prefix}_code": low.activation_code(name), f"{prefix}_alpha": alpha, f"{prefix}_beta": beta}


def clipped(z: np.ndarray, clip: float) -> np.ndarray:
    """Gate sums limited to [-clip, clip]; 0 stands for no limit."""
    return np.clip(z, -clip, clip) if clip else z
