"""A graph in integers alone, for cores without a floating-point unit.

Every float value becomes int8 in steps of a scale that calibration data give, the states of LSTM and GRU int16 in steps of a
power of two. Floats are left at the border: `quantize` follows inputs, `dequantize` comes before outputs, unless the ports
themselves are to be integers. Indices of embeddings stay as they come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.errors import PrecisionError, UnsupportedError
from edgelstm.facts import evaluate
from edgelstm.graph import Graph, Node, Port
from edgelstm.passes.dead import remove_dead
from edgelstm.precision.calibrate import RANGES
from edgelstm.precision.integer_ranges import CELLS, MOVING, Scales, find_scales, named_inputs
from edgelstm.precision.integer_rules import Rules
from edgelstm.precision.measure import infer_trial
from edgelstm.precision.quantize import quantize

LARGEST = {"int8": 127, "int16": 32767}
FINER = 64  # a 16-bit output counts so much finer than an 8-bit one, and still reaches four times as far


@dataclass(frozen=True)
class Form:
    """How a value is given: a dtype, and what an integer of 1 stands for."""

    dtype: str
    scale: float = 1.0

    def of(self, array: np.ndarray) -> np.ndarray:
        """The nearest integers of this form; NaN becomes 0."""
        limit = LARGEST[self.dtype]
        return np.clip(np.nan_to_num(np.rint(array / self.scale)), -limit, limit).astype(self.dtype)


FLOAT, INDEX, Q15 = Form("float32"), Form("int32"), Form("int16", 2.0**-15)


def integer(graph: Graph, calibration: Any, *, integer_ports: bool = False, activation_range: str = "max") -> Graph:
    """The float32 graph in integers alone; `calibration` is data as `predict` takes them, or the path of a .npy or .npz file.

    `activation_range` (max, percentile or mse) says how the scales of activations are found. With `integer_ports` the model
    takes and gives the integers themselves; notes in the graph tell their steps. Raises UnsupportedError, which lists
    everything that has no integer form, and PrecisionError for data that do not fit.
    """
    if activation_range not in RANGES:
        raise PrecisionError(f"the activation range {activation_range!r} is not known; supported are {list(RANGES)}")
    if calibration is None:
        raise PrecisionError("integer-only models have fixed scales of activations, so they need calibration data")
    rules = Rules(graph, infer_trial(graph).facts, integer_ports)
    found = rules.problems()
    if found:
        raise UnsupportedError(f"{len(found)} of {len(graph.nodes)} nodes have no integer-only form", found)
    return _Writer(graph, rules, find_scales(graph, calibration, activation_range), integer_ports).written()


class _Writer:
    """Writes the integer graph node by node. `_forms` says how every value is given that is no plain float."""

    def __init__(self, graph: Graph, rules: Rules, scales: Scales, integer_ports: bool) -> None:
        self._source, self._rules, self._scales, self._integer_ports = graph, rules, scales, integer_ports
        self._constants: dict[str, np.ndarray] = dict(graph.constants)
        self._nodes: list[Node] = []
        self._notes = list(graph.notes)
        self._taken = {name for node in graph.nodes for name in (node.name, *node.inputs, *node.outputs)} | set(graph.constants)
        self._forms: dict[str, Form] = {}
        self._converted: dict[tuple[str, Form], str] = {}
        self._fused = rules.fused()
        self._done = {node.name for node in self._fused.values()}

    def written(self) -> Graph:
        """The whole graph. The probes of the float model are left out."""
        inputs = tuple(self._input(port) if self._integer_ports else port for port in self._source.inputs)
        for node in self._source.nodes:
            if node.name not in self._done:
                self._write(node)
        outputs = tuple(self._output(port) for port in self._source.outputs)
        return remove_dead(replace(self._source, inputs=inputs, outputs=outputs, nodes=tuple(self._nodes), probes=(),
                                   constants=self._constants, notes=tuple(self._notes)))

    def _input(self, port: Port) -> Port:
        """An input as integers; its form is that of what reads it."""
        if port.dtype != "float32":
            return port
        fraction = self._scales.fraction(port.value)
        form = Form("int8", self._scales.step(port.value)) if fraction is None else Form("int16", 2.0**-fraction)
        form = self._forms[port.value] = INDEX if self._rules.is_index(port.value) else form
        return self._noted("input", port, form)

    def _output(self, port: Port) -> Port:
        form = self._form(port.value)
        if form in (FLOAT, INDEX):
            return port
        if self._integer_ports:
            source = next((source for source, result in self._source.states if result == port.name), None)
            form = form if source is None else self._form(self._source.input(source).value)
            return self._noted("output", replace(port, value=self._as(port.value, form)), form)
        return replace(port, value=self._as(port.value, FLOAT))

    def _noted(self, role: str, port: Port, form: Form) -> Port:
        steps = "" if form == INDEX else f" in steps of {form.scale!r}"
        self._notes.append(f"{role} {port.name!r} is {form.dtype}{steps}")
        return replace(port, dtype=form.dtype)

    def _write(self, node: Node) -> None:
        if node.op in CELLS:
            self._cell(node)
        elif node.op == "dense":
            self._dense(node)
        elif node.op == "embedding":
            self._embedding(node)
        elif node.op == "softmax":
            self._softmax(node)
        elif node.op in MOVING and self._numbers(node):
            self._move(node)
        elif any(self._rules.is_number(name) for name in node.outputs):
            self._lookup(node)
        else:
            self._nodes.append(node)
            self._forms.update((name, self._form(node.inputs[0])) for name in node.outputs if node.op in MOVING)

    def _numbers(self, node: Node) -> list[str]:
        """The inputs of a moving node that are moved, when any of its outputs is computed with."""
        moved = node.inputs if node.op == "concat" else node.inputs[:1]
        return list(moved) if any(self._rules.is_number(name) for name in node.outputs) else []

    def _move(self, node: Node) -> None:
        moved = self._numbers(node)
        form = self._common({self._form(name) for name in moved}, node.outputs[0])
        inputs = [self._as(name, form) if name in moved else name for name in node.inputs]
        if node.op == "pad" and form != FLOAT:
            inputs = inputs[:2]
        self._add(node, node.op, inputs, dict(node.attrs), [form] * len(node.outputs))

    def _common(self, forms: set[Form], value: str) -> Form:
        """The form of values that are moved together to `value`: 16 bits where one of them has so many."""
        if len(forms) == 1:
            return next(iter(forms))
        wide = [form.scale for form in forms if form.dtype == "int16"]
        if not wide:
            return Form("int8", self._scales.step(value))
        reach = max(form.scale * LARGEST[form.dtype] for form in forms if form != FLOAT)
        return Form("int16", max([*wide, reach / LARGEST["int16"]]))

    def _cell(self, node: Node) -> None:
        named, scale = named_inputs(node), self._scales.outputs[node.name]
        narrow = Form("int8", scale)
        wide = Form("int16", 2.0**-self._scales.fractions.get(node.name, 0))
        states = {"lstm": {"h0": narrow, "c0": wide}, "gru": {"h0": wide}, "simple_rnn": {"h0": narrow}}[node.op]
        x = self._narrow(named["x"])
        arrays = {name: value for role in ("W", "R") for name, value in self._weights(role, named[role]).items()}
        starts = {state: None if named[state] is None else self._as(named[state], form) for state, form in states.items()}
        attrs = {name: node.attrs[name] for name in ("layout", "reverse", "masked_output")}
        attrs |= {"x_scale": self._form(x).scale, "h_scale": scale}
        attrs |= {"c_fraction": self._scales.fractions[node.name]} if node.op == "lstm" else {}
        if node.op == "gru":
            attrs |= {"h_fraction": self._scales.fractions[node.name], "reset_after": node.attrs["reset_after"]}
        given = named | arrays | starts | {"x": x}
        op = f"{node.op}_integer"
        self._add(node, op, [given[role.rstrip("?")] for role in ops.get(op).inputs], attrs, [narrow, *states.values()])

    def _dense(self, node: Node) -> None:
        named, last = named_inputs(node), self._fused.get(node.name, node)
        x, activation = self._narrow(named["x"]), "linear" if last is node else last.op
        form = Form("int8", self._scales.step(last.outputs[0]))
        if self._rules.is_last(last.outputs[0]):
            form = Form("int16", form.scale / FINER if activation in ("linear", "relu") else Q15.scale)
        arrays = self._weights("W", named["W"])
        attrs = {"x_scale": self._form(x).scale, "y_scale": form.scale, "activation": activation, "dtype": form.dtype}
        self._add(node, "dense_integer", [x, *arrays.values(), named["b"]], attrs, [form], last.outputs)

    def _embedding(self, node: Node) -> None:
        form = Form("int8", self._scales.step(node.outputs[0]))
        table = self._as(node.inputs[1], form)
        self._add(node, "embedding", [node.inputs[0], table], {"wrap": node.attrs["wrap"]}, [form])

    def _softmax(self, node: Node) -> None:
        x = node.inputs[0] if self._form(node.inputs[0]).dtype == "int16" else self._narrow(node.inputs[0])
        self._add(node, "softmax_integer", [x], {"x_scale": self._form(x).scale}, [Q15])

    def _lookup(self, node: Node) -> None:
        """A function of one number: its results for all 256 of them."""
        variable = self._rules.variable(node)
        x, form = self._narrow(node.inputs[variable]), Form("int8", self._scales.step(node.outputs[0]))
        every = (np.arange(-128, 128) * self._form(x).scale).astype(np.float32)
        given = [every if i == variable else self._source.constants[name].reshape(()) for i, name in enumerate(node.inputs)]
        table = self._constant(f"{node.name}/table", form.of(evaluate(ops.get(node.op), node, given)[0]))
        self._add(node, "lookup_integer", [x, table], {}, [form])

    def _weights(self, role: str, value: str) -> dict[str, str]:
        """A matrix as int8 and its scales, by the names of the inputs that take them."""
        names = {role: f"{value}/int8", f"{role}_scale": f"{value}/int8/scale"}
        if names[role] not in self._constants:
            stored = quantize(self._source.constants[value], "int8")
            self._constants |= {names[role]: stored.values, names[f"{role}_scale"]: stored.scale}
        return names

    def _add(self, node: Node, op: str, inputs: Sequence[str | None], attrs: Mapping[str, Any], forms: Sequence[Form],
             outputs: Sequence[str | None] | None = None) -> None:
        outputs = node.outputs if outputs is None else outputs
        self._nodes.append(Node(node.name, op, tuple(inputs), tuple(outputs), attrs))
        self._forms.update((name, form) for name, form in zip(outputs, forms, strict=False) if name is not None)

    def _form(self, value: str) -> Form:
        return self._forms.get(value, FLOAT)

    def _narrow(self, value: str) -> str:
        """A value as int8: as it is, or in steps that calibration gave."""
        form = self._form(value)
        return value if form.dtype == "int8" else self._as(value, Form("int8", self._scales.step(value)))

    def _as(self, value: str, form: Form) -> str:
        """A value in another form, converted once."""
        given = self._form(value)
        if given == form:
            return value
        if (value, form) not in self._converted:
            self._converted[value, form] = self._convert(value, given, form)
        return self._converted[value, form]

    def _convert(self, value: str, given: Form, form: Form) -> str:
        if value in self._source.constants:
            return self._constant(f"{value}/{form.dtype}", form.of(self._source.constants[value]))
        op = "quantize" if given == FLOAT else "dequantize" if form == FLOAT else "requantize"
        attrs = {"quantize": {"scale": form.scale, "dtype": form.dtype}, "dequantize": {"scale": given.scale},
                 "requantize": {"x_scale": given.scale, "y_scale": form.scale, "dtype": form.dtype}}[op]
        name = self._fresh(f"{value}/{form.dtype}")
        self._nodes.append(Node(name, op, (value,), (name,), attrs))
        self._forms[name] = form
        return name

    def _constant(self, name: str, array: np.ndarray) -> str:
        name = self._fresh(name)
        self._constants[name] = array
        return name

    def _fresh(self, name: str) -> str:
        unique, number = name, 0
        while unique in self._taken:
            number += 1
            unique = f"{name}.{number}"
        self._taken.add(unique)
        return unique
