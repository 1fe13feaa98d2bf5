"""The fastest precision of every layer, as measured on this machine, whose error over some data stays under a limit.

Every layer is timed alone in every precision, and the error that it alone causes at the model's outputs is found over the data.
The fastest candidates under the limit are put together; while the model as a whole misses the limit, the layer that gives back
most error for the least time takes its next slower candidate. Candidates that were given up are then tried once more. A
candidate that is not clearly faster than float32 is never taken.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelstm.drift import absolute_errors, default_limit
from edgelstm.errors import PrecisionError
from edgelstm.graph import Graph, Node
from edgelstm.precision.alone import SEQUENCE_STEPS, Layers, Timing
from edgelstm.precision.apply import FINER, apply, written_precision
from edgelstm.precision.calibrate import Calibration
from edgelstm.precision.choose import layers, weights_of
from edgelstm.precision.measure import default_data, observe

EXACT = "float32"
ANY_WEIGHTS = ("bfloat16",)  # candidates for every layer
FINITE_WEIGHTS = ("int8", FINER, "int4")  # for layers whose weights are all finite
CALIBRATED = "int8-static"  # one more of those where the user gave data
CLEARLY_FASTER = 0.97  # of the time in float32; nearer ones are taken for the noise of the clock

Clock = Callable[[Layers, Sequence[Graph]], Sequence[Timing]]


@dataclass(frozen=True)
class Tried:
    """A layer in one precision: its time alone, and the largest error that it alone causes at the model's outputs."""

    layer: str
    op: str
    precision: str
    timing: Timing
    error: float


@dataclass(frozen=True)
class Choice:
    """What was tried and what was taken. `error` is that of the whole model as chosen, `limit` what it may be."""

    precisions: Mapping[str, str]
    tried: tuple[Tried, ...]
    limit: float
    error: float

    @property
    def note(self) -> str:
        """The outcome in a sentence."""
        reduced = sum(name != EXACT for name in self.precisions.values())
        if not reduced:
            return f"every layer stays float32: nothing clearly faster keeps its error under {self.limit:.3g}"
        share = f"{reduced} of {len(self.precisions)} layers are reduced"
        return f"{share}, largest error {self.error:.3g} of {self.limit:.3g} allowed"

    def as_dict(self) -> dict[str, Any]:
        """The choice as plain values."""
        rows = [{"layer": row.layer, "op": row.op, "precision": row.precision, "step_us": row.timing.step_us,
                 "sequence_us": row.timing.sequence_us, "error": row.error, "chosen": self._is_chosen(row)}
                for row in self.tried]
        return {"precisions": dict(self.precisions), "max_error": self.limit, "error": self.error,
                "sequence_steps": SEQUENCE_STEPS, "tried": rows}

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Heads and rows of a table for people."""
        heads = ("layer", "op", "precision", "step us", f"{SEQUENCE_STEPS} steps us", "error alone", "")
        return heads, [(row.layer, row.op, row.precision, "" if row.timing.step_us is None else f"{row.timing.step_us:.3f}",
                        f"{row.timing.sequence_us:.2f}", f"{row.error:.2e}", "chosen" * self._is_chosen(row))
                       for row in self.tried]

    def _is_chosen(self, row: Tried) -> bool:
        return self.precisions[row.layer] == row.precision


def choose(graph: Graph, calibration: Calibration | None = None, max_error: float | None = None,
           clock: Clock = Layers.time) -> tuple[dict[str, str], Choice]:
    """A precision for every layer of a float32 graph, and what was tried.

    Errors are those over the calibration data; without any, over seeded inputs, and int8-static is no candidate. `max_error`
    is the largest absolute error allowed at any output; by default a hundredth of the largest output. `clock` times the
    variants of a layer. Raises PrecisionError for a `max_error` that is no limit.
    """
    _check(max_error)
    search = _Search(graph, calibration, max_error)
    rows = search.try_all(clock)
    by_layer = [[row for row in rows if row.layer == node.name] for node in search.nodes]
    chosen, error = fastest(by_layer, search.error, search.limit)
    precisions = {node.name: chosen.get(node.name, EXACT) for node in search.nodes}
    return precisions, Choice(precisions, tuple(rows), search.limit, error)


def fastest(layers: Sequence[Sequence[Tried]], error_of: Callable[[Mapping[str, str]], float],
            limit: float) -> tuple[dict[str, str], float]:
    """The precision of every layer, given what was tried of each, and the error of the whole model with them."""
    ladders = [_ladder(rows, limit) for rows in layers]
    places = [0] * len(ladders)

    def chosen() -> dict[str, str]:
        return {ladder[place].layer: ladder[place].precision for ladder, place in zip(ladders, places, strict=True)}

    error = error_of(chosen())
    while error > limit:
        layer, place = _cheapest_retreat(ladders, places)
        places[layer] = place
        error = error_of(chosen())
    for layer, place in _advances(ladders, places):
        before = places[layer]
        if place < before:
            places[layer] = place
            tried = error_of(chosen())
            places[layer] = place if tried <= limit else before
            error = tried if tried <= limit else error
    return chosen(), error


def combined(graph: Graph, variants: Mapping[str, Graph], chosen: Mapping[str, str]) -> Graph:
    """The graph with some layers taken from its variants; `chosen` gives the precision by node."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        precision = chosen.get(node.name, EXACT)
        nodes.append(node if precision == EXACT else _taken(node, variants[precision], precision, constants))
    return replace(graph, nodes=tuple(nodes), constants=constants, probes=())


class _Search:
    """The candidates of one model, and their errors over one set of data."""

    def __init__(self, graph: Graph, calibration: Calibration | None, max_error: float | None) -> None:
        self.nodes = layers(graph)
        self._graph = graph
        self._data = default_data(graph) if calibration is None else calibration.data
        finite = [node for node in self.nodes if _is_finite(node, graph)]
        every = [node.name for node in self.nodes]
        candidates = (*FINITE_WEIGHTS, *(() if calibration is None else (CALIBRATED,)))
        names = {name: every for name in ANY_WEIGHTS} | {
            name: [node.name for node in finite if written_precision(node, name) == name] for name in candidates}
        self._variants = {name: apply(graph, dict.fromkeys(nodes, name), calibration) for name, nodes in names.items()}
        self._expected = self._outputs(graph)
        self.limit = default_limit(self._expected.values()) if max_error is None else max_error

    def try_all(self, clock: Clock) -> list[Tried]:
        """Every layer in every precision, float32 first."""
        models, rows = Layers(self._graph), []
        for node in self.nodes:
            precisions = [EXACT, *(name for name, variant in self._variants.items() if _is_reduced(node, variant))]
            graphs = [self._graph, *(self._variants[name] for name in precisions[1:])]
            alone = [models.alone(_same(node, graph), graph.constants) for graph in graphs]
            for precision, timing in zip(precisions, clock(models, alone), strict=True):
                error = 0.0 if precision == EXACT else self.error({node.name: precision})
                rows.append(Tried(node.name, node.op, precision, timing, error))
        return rows

    def error(self, chosen: Mapping[str, str]) -> float:
        """The largest absolute error at the outputs of the model with some layers reduced."""
        found = self._outputs(combined(self._graph, self._variants, chosen))
        errors = [absolute_errors(exact, found[name]) for name, exact in self._expected.items()]
        return max((float(np.max(array, initial=0.0)) for array in errors), default=0.0)

    def _outputs(self, graph: Graph) -> dict[str, np.ndarray]:
        """What a user sees: the outputs without the states that are carried."""
        carried = {result for _, result in graph.states}
        return {name: signal.array for name, signal in observe(graph, (), self._data).outputs.items() if name not in carried}


def _check(max_error: float | None) -> None:
    is_number = isinstance(max_error, int | float | np.number) and not isinstance(max_error, bool)
    if max_error is not None and not (is_number and 0 <= max_error < math.inf):
        raise PrecisionError(f"max_error is {max_error!r}; give the largest absolute error to allow, a finite number from 0 on")


def _ladder(rows: Sequence[Tried], limit: float) -> list[Tried]:
    """The candidates of a layer that come into question, fastest first, float32 last; each slower one is more exact."""
    exact = next(row for row in rows if row.precision == EXACT)
    fitting = [row for row in rows if row.error <= limit and row.timing.decisive < CLEARLY_FASTER * exact.timing.decisive]
    ladder: list[Tried] = []
    for row in sorted(fitting, key=lambda row: (row.timing.decisive, row.error)):
        if not ladder or row.error < ladder[-1].error:
            ladder.append(row)
    return [*ladder, exact]


def _cheapest_retreat(ladders: Sequence[Sequence[Tried]], places: Sequence[int]) -> tuple[int, int]:
    """The layer, and its slower candidate, that give back most error for the time that they take more."""
    def gain(move: tuple[int, int]) -> float:
        now, then = ladders[move[0]][places[move[0]]], ladders[move[0]][move[1]]
        return (now.error - then.error) / max(then.timing.decisive - now.timing.decisive, 1e-9)

    moves = [(layer, place) for layer, ladder in enumerate(ladders) for place in range(places[layer] + 1, len(ladder))]
    return max(moves, key=gain)


def _advances(ladders: Sequence[Sequence[Tried]], places: Sequence[int]) -> list[tuple[int, int]]:
    """The layers and faster candidates that were given up, those that save most time first."""
    def saved(move: tuple[int, int]) -> float:
        layer, place = move
        return ladders[layer][places[layer]].timing.decisive - ladders[layer][place].timing.decisive

    moves = [(layer, place) for layer in range(len(ladders)) for place in range(places[layer])]
    return sorted(moves, key=saved, reverse=True)


def _is_finite(node: Node, graph: Graph) -> bool:
    return all(np.all(np.isfinite(graph.constants[value])) for value in weights_of(node).values())


def _same(node: Node, graph: Graph) -> Node:
    """The node of this name in another graph."""
    return next(other for other in graph.nodes if other.name == node.name)


def _is_reduced(node: Node, variant: Graph) -> bool:
    return _same(node, variant).attrs["precision"] != EXACT


def _taken(node: Node, variant: Graph, precision: str, constants: dict[str, np.ndarray]) -> Node:
    """A node as it is in a variant of its graph; its constants join the others under names of their own."""
    other = _same(node, variant)
    inputs = tuple(name if name not in variant.constants else f"{name} ({precision})" for name in other.inputs)
    constants.update((f"{name} ({precision})", variant.constants[name]) for name in other.inputs if name in variant.constants)
    return replace(other, inputs=inputs)
