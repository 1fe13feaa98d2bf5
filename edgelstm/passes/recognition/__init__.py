"""Recognises recurrent cells written out in basic ops, in loops or unrolled over time, and makes them recurrent nodes again."""

import numpy as np

from edgelstm import reference
from edgelstm.errors import EdgeLSTMError, ShapeError
from edgelstm.facts import infer
from edgelstm.graph import Graph, Port
from edgelstm.passes.dead import remove_dead
from edgelstm.passes.recognition.recurrences import without_chains, without_loops
from edgelstm.stand_ins import SCALES, first_fitting, shapes_at, trial_lengths

__all__ = ["recognise"]

_CLOSE = 1e-5  # against the largest output; weights are compared as float32
_RECURRENT = ("lstm", "gru", "simple_rnn")
_TRIED = 4  # rounds: a chain may read what an earlier one computed


def recognise(graph: Graph) -> Graph:
    """The graph with recurrent nodes for the cells found; a note for each says so.

    What replaces a part has been shown to be the same formula, and is compared once more on random inputs.
    """
    for _ in range(_TRIED):
        try:
            found = remove_dead(_rewritten(graph))
        except EdgeLSTMError:
            return graph
        before = _recurrent_nodes(graph)
        if _recurrent_nodes(found) <= before or not _agree(graph, found):
            return graph
        graph = found
    return graph


def _rewritten(graph: Graph) -> Graph:
    return first_fitting(lambda scale: _rewritten_at(graph, scale))


def _rewritten_at(graph: Graph, scale: int) -> Graph:
    shapes = _shapes(graph, scale)
    looped = without_loops(graph, infer(graph, shapes))
    return without_chains(looped, infer(looped, shapes))


def _recurrent_nodes(graph: Graph) -> int:
    return sum(node.op in _RECURRENT for node in graph.nodes)


def _shapes(graph: Graph, scale: int) -> dict[str, tuple[int, ...]]:
    return shapes_at(graph, trial_lengths(graph, scale))


def _agree(graph: Graph, found: Graph) -> bool:
    """Whether two graphs give the same outputs for random inputs of the shortest lengths that they accept."""
    for scale in reversed(SCALES):
        shapes = _shapes(graph, scale)
        rng = np.random.default_rng(scale)
        inputs = {port.name: _random(port, shapes[port.name], rng) for port in graph.inputs}
        try:
            pairs = zip(reference.run(graph, inputs).values(), reference.run(found, inputs).values(), strict=True)
        except ShapeError:
            continue
        return all(_close(expected, got) for expected, got in pairs)
    return False


def _close(expected: np.ndarray, got: np.ndarray) -> bool:
    scale = max(1.0, np.abs(expected).max(initial=0))
    return expected.shape == got.shape and np.allclose(got, expected, rtol=0, atol=_CLOSE * scale, equal_nan=True)


def _random(port: Port, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if port.dtype == "float32":
        return rng.standard_normal(shape).astype(np.float32) * (rng.random(shape[:2] + (1,) * (len(shape) - 2)) < 0.8)
    return rng.integers(0, 2, shape).astype(port.dtype)
