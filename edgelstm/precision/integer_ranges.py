"""The scales of an integer-only model: what its values are on calibration data, and which of them must share a scale.

Values that are only moved share the scale of what they are moved from, and all inputs of a concat that of its output, unless a
16-bit state is among them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.errors import PrecisionError, ShapeError
from edgelstm.graph import Graph, Node
from edgelstm.precision.calibrate import fitted_scale, read_data
from edgelstm.precision.measure import infer_trial, is_stepped, observe, with_sequences

MOVING = ("concat", "expand", "flip", "gather", "identity", "pad", "reshape", "slice", "split", "squeeze", "tile", "transpose",
          "unsqueeze")  # ops whose float outputs hold nothing but numbers of their float inputs, and zeros
CELLS = ("lstm", "gru", "simple_rnn")
HEADROOM = 1.2  # of the largest value of the calibration data: a clipped outlier costs more than coarser steps
C_HEADROOM = 1.5  # of the largest cell state of the calibration data
_C_FRACTIONS, _H_FRACTIONS = (6, 14), (6, 15)


@dataclass(frozen=True)
class Scales:
    """What the integers of a model count.

    `steps` has the int8 scale of every float value and group of values that share one, `outputs` that of every node's first
    output, also where the model does not use it. `fractions` has the bits after the point of the 16-bit state of a node, `wide`
    those of every value that is moved to or from such states.
    """

    groups: Mapping[str, str]
    steps: Mapping[str, float]
    outputs: Mapping[str, float]
    fractions: Mapping[str, int]
    wide: Mapping[str, int]

    def step(self, value: str) -> float:
        """The int8 scale of a value."""
        return self.steps[self.groups.get(value, value)]

    def fraction(self, value: str) -> int | None:
        """The bits after the point of a value that is moved to or from a 16-bit state."""
        return self.wide.get(value)


def find_scales(graph: Graph, given: Any, activation_range: str) -> Scales:
    """Run the float32 graph on calibration data. Raises PrecisionError for data that do not fit or are not finite."""
    data = read_data(graph, given)
    graph = with_sequences(graph)
    facts = {name: fact for name, fact in infer_trial(graph).facts.items() if fact.dtype == "float32"}
    floats = [name for name, fact in facts.items() if fact.value is None]
    masks = {named_inputs(node)["mask"] for node in graph.nodes if node.op == "lstm"} - {None}
    try:
        signals = {name: signal.array for name, signal in observe(graph, [*floats, *masks], data).values.items()}
    except ShapeError as error:
        raise PrecisionError(f"calibration data do not fit the model: {error}") from None
    arrays = signals | {name: fact.value for name, fact in facts.items() if fact.value is not None}
    stepped = is_stepped(graph, data)
    fractions = {node.name: _fraction(node, arrays, stepped) for node in graph.nodes if node.op in ("lstm", "gru")}
    wide = _wide(graph, arrays, fractions)
    groups = _grouped(_sharing(node, arrays, wide) for node in graph.nodes)
    room = _headroom(graph, wide) if activation_range == "max" else {}
    steps: dict[str, float] = {}
    for name in facts:
        group, kind = groups.get(name, name), activation_range if name in floats else "max"
        step = fitted_scale(np.abs(arrays[name]), kind)
        steps[group] = max(min(step * HEADROOM, max(step, room[name] / 127)) if name in room else step, steps.get(group, 0.0))
    firsts = {node.name: node.outputs[0] for node in graph.nodes if node.outputs[0] in floats}
    outputs = {name: steps[groups.get(value, value)] for name, value in firsts.items()}
    return Scales(groups, steps, outputs, fractions, wide)


def _grouped(sharing: Iterable[list[str]]) -> dict[str, str]:
    """For every value that must share its scale, the name of its group."""
    members: dict[str, list[str]] = {}
    for names in sharing:
        joined = list(dict.fromkeys(member for name in names for member in members.get(name, [name])))
        members.update(dict.fromkeys(joined, joined))
    return {name: group[0] for name, group in members.items()}


def _headroom(graph: Graph, wide: Mapping[str, int]) -> dict[str, float]:
    """Values that may well become larger than on calibration data, and the bound beyond which they never go."""
    found = {port.value: np.inf for port in graph.inputs}
    for node in graph.nodes:
        bound = 1.0 if node.op in CELLS else np.inf
        if node.op != "embedding":
            found.update((name, bound) for name in node.outputs if name in wide or node.op not in MOVING)
    return found


def _wide(graph: Graph, arrays: Mapping[str, np.ndarray], fractions: Mapping[str, int]) -> dict[str, int]:
    """The bits after the point of every value that is moved to or from a 16-bit state, so that all it was moved with fit."""
    groups = _grouped(_moved(node, arrays) for node in graph.nodes)
    least: dict[str, int] = {}
    for node in graph.nodes:
        if node.name in fractions:
            for group in {groups.get(name, name) for name in _wide_states(node) if name is not None}:
                least[group] = min(fractions[node.name], least.get(group, 15))
    members = {name: groups.get(name, name) for name in arrays if groups.get(name, name) in least}
    for name, group in members.items():
        least[group] = min(least[group], _bits(float(np.max(np.abs(arrays[name]), initial=0.0)), _H_FRACTIONS))
    return {name: least[group] for name, group in members.items()}


def _wide_states(node: Node) -> tuple[str | None, str | None]:
    """Where the 16-bit state of a node comes from, and where it goes: c of an LSTM, h of a GRU."""
    start, last = ("c0", 2) if node.op == "lstm" else ("h0", 1)
    return named_inputs(node)[start], ops.get(node.op).padded_outs(node.outputs)[last]


def _moved(node: Node, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The floats that a moving node takes and gives."""
    if node.op not in MOVING:
        return []
    given = node.inputs if node.op == "concat" else node.inputs[:1]
    return [name for name in (*given, *node.outputs) if name in arrays]


def _sharing(node: Node, arrays: Mapping[str, np.ndarray], wide: Mapping[str, int]) -> list[str]:
    """The values at a node that should have one int8 scale."""
    outputs = [name for name in node.outputs if name in arrays]
    if node.op in MOVING:
        moved = _moved(node, arrays)
        return [] if any(name in wide for name in moved) else moved
    named = named_inputs(node)
    if node.op in ("lstm", "simple_rnn"):
        return [name for name in (named["h0"], *node.outputs[:2]) if name in arrays]
    return [named["table"], *outputs] if node.op == "embedding" else []


def named_inputs(node: Node) -> dict[str, str | None]:
    op = ops.get(node.op)
    return dict(zip(op.roles(len(op.inputs)), op.padded(node.inputs), strict=True))


def _fraction(node: Node, arrays: Mapping[str, np.ndarray], stepped: bool) -> int:
    """The bits after the point of the 16-bit state of an LSTM or GRU."""
    if node.op == "lstm":
        return _bits(C_HEADROOM * _largest_c(node, arrays, stepped), _C_FRACTIONS)
    reached = (node.outputs[0], named_inputs(node)["h0"])
    sizes = [np.max(np.abs(arrays[name]), initial=0.0) for name in reached if name in arrays]
    return _bits(max(sizes, default=0.0), _H_FRACTIONS)


def _bits(largest: float, limits: tuple[int, int]) -> int:
    """The most bits after the point with which a number still fits 16 bits; exactly 1 counts as just below."""
    whole = int(np.ceil(np.log2(largest))) if largest > 0 else 0
    return int(np.clip(15 - whole, *limits))


def _largest_c(node: Node, arrays: Mapping[str, np.ndarray], stepped: bool) -> float:
    """The largest cell state of an LSTM: of a model that was called once a step as its calls gave it, else walked anew."""
    named = named_inputs(node)
    if stepped:
        return max((float(np.max(np.abs(arrays[name]), initial=0.0)) for name in _wide_states(node) if name in arrays),
                   default=1.0)
    return max(_cell_states(node, {name: arrays.get(value) for name, value in named.items()}), default=0.0)


def _cell_states(node: Node, given: Mapping[str, np.ndarray | None]) -> Iterator[float]:
    """The size of the largest cell state at every time step, by the float64 reference."""
    op, axis = ops.get(node.op), ops.get(node.op).sequence_axes(node.attrs)[0]
    wide = {name: None if array is None else array.astype(np.float64) for name, array in given.items()}
    x, mask = wide["x"], wide["mask"]
    times = range(x.shape[axis])
    for t in reversed(times) if node.attrs["reverse"] else times:
        step = wide | {"x": np.take(x, [t], axis), "mask": None if mask is None else mask[:, t:t + 1]}
        _, wide["h0"], wide["c0"] = op.reference(node.attrs, list(step.values()))
        yield float(np.max(np.abs(wide["c0"]), initial=0.0))
