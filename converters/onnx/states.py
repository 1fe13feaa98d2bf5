"""Finds which output of a model is the next value of which state input, so that a stream can carry it.

Evidence comes from the data flow (an input reaches the initial state of a recurrent node through ops that only move
elements, an output comes from its last state in the same way), and from names such as h0/hn or state/stateN.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Port

_MOVING = {"squeeze", "unsqueeze", "slice", "split", "gather", "transpose", "reshape", "concat", "cast", "identity"}
_STATE_WORD = re.compile(r"state|hidden|cell|memory|cache|carry|(^|[_.])[hc]?([hc]n|[hc]x|[hc]\d*)($|[_.])")
_INPUT_MARK = re.compile(r"^(initial|init|prev|previous|old|in|input)[_.]|[_.](in|input|0)$|0$|[_.]?(prev|init|old)$")
_OUTPUT_MARK = re.compile(
    r"^(next|new|out|output|final|last|y)[_.]|[_.](out|output|n|next|new|1)$|n$|N$|[_.]?(next|new|out)$"
)


def pair_states(graph: Graph, given: Mapping[str, str]) -> Graph:
    """The graph with its (input, output) state pairs: those given, or those that follow without doubt.

    Raises ShapeError when a given pair names no input and output of equal dtype and shape.
    """
    if given:
        return replace(graph, states=tuple(_checked(graph, pair) for pair in given.items()))
    options = _options(graph)
    named = [
        (source, result) for source, results in options.items() for result in results if _same_name(source, result)
    ]
    pairs, doubts = [], []
    for source, results in options.items():
        chosen = [result for result in results if (source, result) in named] if len(results) > 1 else results
        contested = [result for result in chosen if _claims(options, named, result) > 1]
        if len(chosen) == 1 and not contested:
            pairs.append((source, chosen[0]))
        else:
            doubts.append(source)
    notes = [
        f"the input {source!r} looks like a state; say which output is its next value with state={{{source!r}: ...}}"
        for source in doubts
    ]
    return replace(graph, states=tuple(pairs), notes=(*graph.notes, *notes))


def _options(graph: Graph) -> dict[str, list[str]]:
    """For each input that looks like a state, the outputs that may be its next value."""
    before, after = _initial_sources(graph), _final_outputs(graph)
    options: dict[str, list[str]] = {}
    for port in graph.inputs:
        starts = {slot for slot, sources in before.items() if port.name in sources}
        fitting = [out for out in graph.outputs if _alike(port, out)]
        linked = [out.name for out in fitting if starts & after[out.name]]
        by_name = [
            out.name for out in fitting if _STATE_WORD.search(port.name.lower()) and _same_name(port.name, out.name)
        ]
        if starts or by_name:
            options[port.name] = linked or by_name
    return options


def _claims(options: Mapping[str, list[str]], named: Iterable[tuple[str, str]], result: str) -> int:
    """How many inputs may have that output as next value; a matching name settles it."""
    by_name = [source for source, output in named if output == result]
    return len(by_name) or sum(result in results for results in options.values())


def _initial_sources(graph: Graph) -> dict[tuple[str, str], set[str]]:
    """(recurrent node, state) -> inputs that reach its initial state."""
    sources = {port.value: {port.name} for port in graph.inputs}
    found: dict[tuple[str, str], set[str]] = {}
    for node in graph.nodes:
        for state, value in _initial_states(node):
            found[node.name, state] = sources.get(value, set())
        if node.op in _MOVING:
            reached = set().union(*(sources.get(value, set()) for value in node.inputs))
            sources.update({value: reached for value in node.outputs if value is not None})
    return found


def _final_outputs(graph: Graph) -> dict[str, set[tuple[str, str]]]:
    """Output -> the (recurrent node, state) that reach it."""
    reached: dict[str, set[tuple[str, str]]] = {}
    for node in graph.nodes:
        if node.op in _MOVING:
            slots = set().union(*(reached.get(value, set()) for value in node.inputs if value is not None))
            reached.update({value: slots for value in node.outputs if value is not None})
        for state, value in zip(("h", "c"), node.outputs[1:] if _recurrent(node) else (), strict=False):
            if value is not None:
                reached[value] = {(node.name, state)}
    return {port.name: reached.get(port.value, set()) for port in graph.outputs}


def _initial_states(node: object) -> list[tuple[str, str]]:
    if not _recurrent(node):
        return []
    declared = [name.rstrip("?") for name in ops.get(node.op).inputs]
    given = dict(zip(declared, node.inputs, strict=False))
    return [(state, given[f"{state}0"]) for state in ("h", "c") if given.get(f"{state}0") is not None]


def _recurrent(node: object) -> bool:
    return "h0?" in ops.get(node.op).inputs


def _alike(source: Port, result: Port) -> bool:
    return source.dtype == result.dtype and source.shape == result.shape


def _same_name(source: str, result: str) -> bool:
    """Whether two names differ only in marks of input and output, as h0 and hn, or state and stateN."""
    return bool(_stems(source, _INPUT_MARK) & _stems(result, _OUTPUT_MARK))


def _stems(name: str, mark: re.Pattern[str]) -> set[str]:
    name = name.lower()
    return {name, mark.sub("", name)} - {""}


def _checked(graph: Graph, pair: tuple[str, str]) -> tuple[str, str]:
    source, result = pair
    inputs, outputs = {port.name: port for port in graph.inputs}, {port.name: port for port in graph.outputs}
    if source not in inputs:
        raise ShapeError(f"state names the input {source!r}; the model's inputs are {sorted(inputs)}")
    if result not in outputs:
        raise ShapeError(f"state names the output {result!r}; the model's outputs are {sorted(outputs)}")
    if inputs[source].dtype != outputs[result].dtype or not _may_match(inputs[source], outputs[result]):
        raise ShapeError(
            f"state pairs {source!r} {inputs[source].shape} with {result!r} {outputs[result].shape}; both need "
            "the same dtype and shape"
        )
    return pair


def _may_match(source: Port, result: Port) -> bool:
    """Whether shapes are equal, as far as they are fixed."""
    if len(source.shape) != len(result.shape):
        return False
    pairs = zip(source.shape, result.shape, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
