"""Which axis of every input and output is batch and which is time: read off the recurrent nodes by trying lengths out.

Every dynamic axis is given a prime as its length; where that prime turns up at a recurrent node's time or batch axis, the input
axis is time or batch. An axis that an exporter baked its example in is set free where the graph works with other lengths too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from edgelstm import ops
from edgelstm.errors import EdgeLSTMError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph, Port
from edgelstm.ops.op import Fact
from edgelstm.stand_ins import first_fitting, shapes_at, trial_lengths

Axis = tuple[int, int]  # (input number, axis)


def mark(graph: Graph) -> Graph:
    """The graph with the batch and time axes of its inputs and outputs named, baked-in ones set free."""
    baked_time = False
    for role in ("time", "batch"):
        trial = _try(graph)
        found = trial.at_recurrent_nodes(role)
        if found and not found & set(trial.lengths.values()):
            freed = _set_free(graph, role)
            baked_time |= role == "time" and freed is not graph
            graph = freed
    once_a_step = baked_time and bool(graph.states)
    return _named(graph, once_a_step)


@dataclass(frozen=True)
class _Trial:
    """A model with a length for every symbol: its nodes without branches, and what is known of every value."""

    graph: Graph
    lengths: Mapping[str, int]
    facts: Mapping[str, Fact]

    def shown(self) -> list[Fact]:
        """Facts of the outputs."""
        return [self.facts[port.value] for port in self.graph.outputs]

    def at_recurrent_nodes(self, role: str) -> set[int]:
        """Lengths of the time or batch axis at every recurrent node."""
        found = set()
        for node in self.graph.nodes:
            sequence = ops.get(node.op).sequence_axes(node.attrs)
            if sequence is not None:
                time, batch = sequence
                found.add(self.facts[node.inputs[0]].shape[time if role == "time" else batch])
        return found


def _try(graph: Graph) -> _Trial:
    """The model with stand-in lengths that it accepts."""
    return first_fitting(lambda scale: _at(graph, trial_lengths(graph, scale)))


def _at(graph: Graph, lengths: Mapping[str, int]) -> _Trial:
    shapes = shapes_at(graph, lengths)
    straight = expand(graph, shapes, loops=False)
    return _Trial(straight, lengths, infer(straight, shapes))


def _set_free(graph: Graph, role: str) -> Graph:
    """The graph with a fixed axis (and those of other inputs that must follow it) made dynamic, or the graph itself."""
    for axes in _candidates(graph):
        freed = _with_symbol(graph, axes, role)
        try:
            trial = _try(freed)
            if trial.lengths[role] in trial.at_recurrent_nodes(role):
                return freed
        except EdgeLSTMError:
            continue
    return graph


def _candidates(graph: Graph) -> Iterator[tuple[Axis, ...]]:
    """Sets of fixed axes that may share one length: one axis alone, then with one of equal length from every other input."""
    fixed = [(i, a) for i, port in enumerate(graph.inputs) for a, d in enumerate(port.shape) if isinstance(d, int)]
    yield from ((axis,) for axis in fixed)
    for i, a in fixed:
        length = graph.inputs[i].shape[a]
        followers = [[(k, b) for k, b in fixed if k == other and graph.inputs[k].shape[b] == length]
                     for other in range(len(graph.inputs)) if other != i]
        if followers and all(followers):
            yield from (((i, a), *chosen) for chosen in product(*followers))


def _with_symbol(graph: Graph, axes: tuple[Axis, ...], symbol: str) -> Graph:
    inputs = [replace(port, shape=tuple(symbol if (i, a) in axes else d for a, d in enumerate(port.shape)))
              for i, port in enumerate(graph.inputs)]
    return replace(graph, inputs=tuple(inputs))


def _named(graph: Graph, once_a_step: bool) -> Graph:
    trial = _try(graph)
    symbols = {length: symbol for symbol, length in trial.lengths.items()}
    times = {symbols.get(n) for n in trial.at_recurrent_nodes("time")} - {None}
    batches = {symbols.get(n) for n in trial.at_recurrent_nodes("batch")} - {None}
    hinted = {port.shape[port.time] for port in graph.inputs if port.time is not None}
    times = set() if once_a_step else times or {symbol for symbol in hinted if isinstance(symbol, str)}
    batches |= {port.shape[port.batch] for port in graph.inputs if port.batch is not None} - times
    if "batch" in times - batches and "time" in batches - times:
        return _named(_renamed(graph, {"batch": "time", "time": "batch"}), once_a_step)
    inputs = tuple(_with_roles(port, port.shape, times, batches) for port in graph.inputs)
    outputs = tuple(_with_roles(port, _symbolic(port, fact, symbols), times, batches)
                    for port, fact in zip(graph.outputs, trial.shown(), strict=True))
    return replace(graph, inputs=inputs, outputs=outputs)


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    inputs = [replace(port, shape=tuple(names.get(d, d) for d in port.shape)) for port in graph.inputs]
    return replace(graph, inputs=tuple(inputs))


def _symbolic(port: Port, fact: Fact, symbols: Mapping[int, str]) -> tuple[int | str, ...]:
    """The shape of an output with symbols for what depends on a dynamic axis."""
    shape = []
    for axis, length in enumerate(fact.shape):
        derived = next((s for n, s in symbols.items() if length and length % n == 0), None)
        shape.append(symbols.get(length, length if derived is None else f"{port.name}.{axis}"))
    return tuple(shape)


def _with_roles(port: Port, shape: tuple[int | str, ...], times: set[str], batches: set[str]) -> Port:
    """The port with its axes named; what the recurrent nodes say of an axis outweighs what the importer supposed."""
    batch = next((a for a, d in enumerate(shape) if d in batches), None)
    time = next((a for a, d in enumerate(shape) if d in times and a != batch), None)
    batch = port.batch if batch is None and port.batch != time else batch
    return replace(port, shape=shape, batch=batch, time=time)
