"""A layer taken out of its model: one node as a graph of its own, for what only it does, and how long that takes here."""

import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from edgelstm import ops
from edgelstm.benchmark import feeds, profile
from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Node, Port
from edgelstm.model import load
from edgelstm.ops.op import Fact
from edgelstm.precision.measure import Trial, infer_at, infer_trial, time_symbols
from edgelstm.stand_ins import SCALES, fixed_lengths, stand_in
from edgelstm.streaming import analyse

SEQUENCE_STEPS, ROUNDS = 100, 3


@dataclass(frozen=True)
class Timing:
    """Microseconds of a layer's native calls: one streaming step (None where the model cannot stream), and a sequence."""

    step_us: float | None
    sequence_us: float

    @property
    def decisive(self) -> float:
        """What counts: the step of a model that streams, else the sequence."""
        return self.sequence_us if self.step_us is None else self.step_us


class Layers:
    """The layers of one model, each as a graph of its own. `graph` is the model that tells their shapes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._trial = infer_trial(graph)
        self._longer = _with_others(graph, self._trial, time_symbols(graph))
        self._other = _with_others(graph, self._trial, set(self._trial.lengths))
        self._streams = analyse(graph).ok

    def alone(self, node: Node, constants: Mapping[str, np.ndarray]) -> Graph:
        """The graph of one node. Its inputs that are no constants are called x0, x1, ..., its outputs y0, y1, ..."""
        fed = dict.fromkeys(name for name in node.inputs if name is not None and name not in constants)
        kept = {name: constants[name] for name in node.inputs if name in constants}
        shown = [name for name in node.outputs if name is not None]
        inputs = [_with_time(self._port(f"x{i}", name), node) for i, name in enumerate(fed)]
        outputs = [self._port(f"y{i}", name) for i, name in enumerate(shown)]
        return Graph(tuple(inputs), tuple(outputs), (node,), kept)

    def time(self, variants: Sequence[Graph]) -> list[Timing]:
        """Of a layer in several precisions, which take turns; the median of a few rounds."""
        sequences = [_bound_run(graph, SEQUENCE_STEPS) for graph in variants]
        steps = [self._bound_step(graph) for graph in variants] if self._streams else []
        found = [_in_turns(bounds) for bounds in (steps, sequences)]
        step_us = found[0] or [None] * len(variants)
        return [Timing(step, sequence) for step, sequence in zip(step_us, found[1], strict=True)]

    def _bound_step(self, graph: Graph) -> profile.Bound:
        """The step of a layer: with its states kept where it streams by itself, else a run of one step."""
        if not analyse(graph).ok:
            return _bound_run(graph, 1)
        return profile.bound_step(graph, feeds.sequences(graph, 1, 1, 1)[0], 1)

    def _port(self, name: str, value: str) -> Port:
        """A port of the shape that a value has in the model; an axis that follows from time in any way is time."""
        trial, symbols = self._trial, {n: symbol for symbol, n in self._trial.lengths.items()}
        fact = trial.facts[value]
        moves, grows = (_moving(fact, other.facts.get(value)) for other in (self._other, self._longer))
        shape = tuple(symbols.get(n, f"{name}.{axis}" if axis in moves | grows else n) for axis, n in enumerate(fact.shape))
        batches = _batch_symbols(self._graph)
        time = next((axis for axis in sorted(grows) if shape[axis] not in batches), None)
        batch = next((axis for axis, d in enumerate(shape) if d in batches), None)
        return Port(name, fact.dtype, shape, value, batch, time)


def run_alone(graph: Graph, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The first output of a layer's own graph for the values that it reads."""
    inputs = {port.name: array for port, array in zip(graph.inputs, arrays, strict=True)}
    return load(graph).run(inputs)[graph.outputs[0].name]


def _batch_symbols(graph: Graph) -> set[str | int]:
    found = {port.shape[port.batch] for port in graph.inputs if port.batch is not None}
    return {symbol for symbol in found if isinstance(symbol, str)}


def _with_time(port: Port, node: Node) -> Port:
    """The port of a recurrent node's sequence with the axis that the node walks along as time."""
    axes = ops.get(node.op).sequence_axes(node.attrs) if port.value == node.inputs[0] else None
    return port if axes is None or not isinstance(port.shape[axes[0]], str) else replace(port, time=axes[0])


def _with_others(graph: Graph, trial: Trial, symbols: Set[str]) -> Trial:
    """The graph with other stand-ins for some dynamic axes; the same trial where it accepts no others."""
    avoid, count = fixed_lengths(graph), len(trial.lengths)
    for scale in SCALES:
        others = {symbol: stand_in(count + i, scale, avoid) for i, symbol in enumerate(trial.lengths) if symbol in symbols}
        try:
            return infer_at(graph, {**trial.lengths, **others})
        except ShapeError:
            continue
    return trial


def _moving(fact: Fact, other: Fact | None) -> set[int]:
    """The axes of a value that have another length in another trial."""
    if other is None or other.rank != fact.rank:
        return set()
    return {axis for axis, (one, two) in enumerate(zip(fact.shape, other.shape, strict=True)) if one != two}


def _bound_run(graph: Graph, steps: int) -> profile.Bound:
    return profile.bound_run(graph, feeds.sequences(graph, 1, steps, 1)[0], 1, steps)


def _in_turns(bounds: Sequence[profile.Bound]) -> list[float]:
    """Microseconds of each, whose bursts take turns."""
    rounds = [[bound.whole() / 1e3 for bound in bounds] for _ in range(ROUNDS)]
    return [statistics.median(taken) for taken in zip(*rounds, strict=True)]
