"""What a model and its layers give for some data: the outputs of chosen nodes beside the model's own, and their axes of time.

Data are arrays by input name, as `run` takes them. A model with explicit states and no time axis takes one more axis in front,
the time steps: it is called for each of them in turn and its states are carried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from edgelstm import ops
from edgelstm.errors import EdgeLSTMError, ShapeError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph, Node, Port
from edgelstm.model import load
from edgelstm.ops.op import Fact
from edgelstm.probe import seeded_inputs
from edgelstm.stand_ins import first_fitting, shapes_at, trial_lengths

Arrays = Mapping[str, np.ndarray]

DEFAULT_STEPS = (1000, 512, 256, 128, 64, 16, 4, 1)  # of the data where none are given: the most that the model takes
FRAME_LENGTHS = (1, 16, 64, 256, 1024)  # of frames whose length the model leaves open
_SEED = 20250131


@dataclass(frozen=True, eq=False)
class Signal:
    """A value as it came out. `time` is its axis of time steps, None where it has none."""

    array: np.ndarray
    time: int | None


@dataclass(frozen=True)
class Seen:
    """What came out of a model: its outputs by name, and other values by theirs."""

    outputs: Mapping[str, Signal]
    values: Mapping[str, Signal]


@dataclass(frozen=True)
class Trial:
    """A graph without branches, stand-in lengths of its dynamic axes, and what is known of every value at these lengths."""

    graph: Graph
    lengths: Mapping[str, int]
    facts: Mapping[str, Fact]


def shown_value(node: Node) -> str | None:
    """The first output of a node that anything uses."""
    return next((name for name in node.outputs if name is not None), None)


def with_sequences(graph: Graph) -> Graph:
    """The graph whose recurrent nodes all give their output of every step, also where the model uses the last state alone."""
    return replace(graph, nodes=tuple(_with_sequence(node) for node in graph.nodes))


def _with_sequence(node: Node) -> Node:
    silent = ops.get(node.op).sequence_axes(node.attrs) is not None and node.outputs and node.outputs[0] is None
    return replace(node, outputs=(f"{node.name} (every step)", *node.outputs[1:])) if silent else node


def default_data(graph: Graph) -> dict[str, np.ndarray]:
    """Seeded inputs where a user gives none: one sequence, of 1000 steps or as many as the model takes. Raises ShapeError."""
    failure: EdgeLSTMError | None = None
    for steps, length in product(DEFAULT_STEPS, FRAME_LENGTHS if _is_called_once_a_step(graph) else (1,)):
        data = _seeded(graph, steps, length)
        try:
            observe(graph, (), data)
        except EdgeLSTMError as error:
            failure = failure or error
            continue
        return data
    raise ShapeError(f"no seeded inputs fit this model, give data of your own: {failure}")


def observe(graph: Graph, values: Sequence[str], data: Arrays) -> Seen:
    """The model's outputs, and these values of the graph, for some data. Raises ShapeError."""
    shown = with_outputs(graph, values)
    model, stepped = load(shown), is_stepped(graph, data)
    arrays = _carried(model, data) if stepped else model.run(dict(data))
    axes = {port.name: 0 for port in shown.outputs} if stepped else _time_axes(shown)
    signals = {port.name: Signal(arrays[port.name], axes[port.name]) for port in shown.outputs}
    added = shown.outputs[len(graph.outputs):]
    return Seen({port.name: signals[port.name] for port in graph.outputs},
                {port.value: signals[port.name] for port in added})


def with_outputs(graph: Graph, values: Sequence[str]) -> Graph:
    """The graph that also gives these values, as outputs behind its own."""
    taken = {port.name for port in graph.outputs}
    facts = infer_trial(graph).facts if values else {}
    ports = []
    for value in values:
        name = value
        while name in taken:
            name += "'"
        taken.add(name)
        ports.append(Port(name, facts[value].dtype, tuple(f"{name}.{axis}" for axis in range(facts[value].rank)), value))
    return replace(graph, outputs=(*graph.outputs, *ports), probes=())


def infer_trial(graph: Graph) -> Trial:
    """The graph at stand-in lengths that it accepts. Raises ShapeError."""
    return first_fitting(lambda scale: infer_at(graph, trial_lengths(graph, scale)))


def infer_at(graph: Graph, lengths: Mapping[str, int]) -> Trial:
    """The graph at some lengths of its dynamic axes. Raises ShapeError where it does not accept them."""
    shapes = shapes_at(graph, lengths)
    straight = expand(graph, shapes, loops=False)
    return Trial(straight, lengths, infer(straight, shapes))


def time_symbols(graph: Graph) -> set[str]:
    """The symbols of dynamic axes that are time."""
    found = {port.shape[port.time] for port in graph.inputs if port.time is not None}
    return {symbol for symbol in found if isinstance(symbol, str)}


def is_stepped(graph: Graph, data: Arrays) -> bool:
    """Whether data have an axis of time steps in front of what the model takes at once."""
    if not _is_called_once_a_step(graph):
        return False
    return any(np.ndim(data[port.name]) == len(port.shape) + 1 for port in frame_ports(graph) if port.name in data)


def frame_ports(graph: Graph) -> list[Port]:
    """The inputs that are no states."""
    states = dict(graph.states)
    return [port for port in graph.inputs if port.name not in states]


def _carried(model, data: Arrays) -> dict[str, np.ndarray]:
    """Every output, stacked over the steps of the data; states start as given there or at zero."""
    graph = model.graph
    frames = {port.name: np.asarray(data[port.name]) for port in frame_ports(graph)}
    states = {name: np.asarray(data[name]) for name, _ in graph.states if name in data}
    counts = {name: len(array) for name, array in frames.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        raise ShapeError(f"the inputs have {counts} time steps in front; all must have as many, at least one")
    rows = []
    for step in range(min(counts.values())):
        row = model.run({name: array[step] for name, array in frames.items()} | states)
        states = {source: row[result] for source, result in graph.states}
        rows.append(row)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _time_axes(graph: Graph) -> dict[str, int | None]:
    """The axis of time of every output by name, as it turns up with stand-in lengths."""
    trial = infer_trial(graph)
    times = {trial.lengths[symbol] for symbol in time_symbols(graph)}
    found: dict[str, int | None] = {}
    for port, shown in zip(graph.outputs, trial.graph.outputs, strict=True):
        shape = trial.facts[shown.value].shape
        found[port.name] = next((axis for axis, length in enumerate(shape) if length in times), port.time)
    return found


def _seeded(graph: Graph, steps: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(_SEED)
    if not _is_called_once_a_step(graph):
        return seeded_inputs(graph, rng, 1, steps)
    drawn = [seeded_inputs(graph, rng, 1, length) for _ in range(steps)]
    return {port.name: np.stack([arrays[port.name] for arrays in drawn]) for port in frame_ports(graph)}


def _is_called_once_a_step(graph: Graph) -> bool:
    return bool(graph.states) and not any(port.time is not None for port in graph.inputs)
