"""Probes: seeded inputs and what the float64 reference makes of them, stored in the file so that it can prove itself."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgelstm import reference
from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Port, Probe

SOURCE = "the float64 reference of EdgeLSTM"

_SEED = 20240229
_SMALL_INTEGERS = 4
_EXAMPLES = ((2, (7, 16, 64, 256, 1024)), (1, (12, 24, 96, 384, 1536)))  # batch, lengths of other axes, the first that fits
_INDEXED = {"embedding": (0, 1), "gather": (1, 0)}  # op: (its index input, its table)
_PASS_THROUGH = {"cast", "identity", "reshape", "squeeze", "unsqueeze", "transpose", "slice", "flip", "expand", "concat"}


def with_probes(graph: Graph) -> Graph:
    """The graph with two probes of different batch and length; with a note instead where no length fits its layers."""
    found = [_probe(graph, number, batch, lengths) for number, (batch, lengths) in enumerate(_EXAMPLES)]
    probes = tuple(probe for probe in found if isinstance(probe, Probe))
    if not probes:
        return replace(graph, notes=(*graph.notes, f"no probe, so `edgelstm verify` cannot check this file: {found[0]}"))
    return replace(graph, probes=probes)


def _probe(graph: Graph, number: int, batch: int, lengths: Iterable[int]) -> Probe | ShapeError:
    """A probe with the first length that fits, or why the last one did not."""
    failure = ShapeError("no length was tried")
    for length in lengths:
        inputs = _inputs(graph, np.random.default_rng(_SEED + number), batch, length)
        try:
            outputs = reference.run(graph, inputs)
        except ShapeError as error:
            failure = error
            continue
        with np.errstate(over="ignore"):
            stored = {port.name: np.asarray(outputs[port.name], port.dtype) for port in graph.outputs}
        return Probe(inputs, stored, SOURCE)
    return failure


def _inputs(graph: Graph, rng: np.random.Generator, batch: int, length: int) -> dict[str, np.ndarray]:
    lengths: dict[str, int] = {}
    for port in graph.inputs:
        for axis, symbol in enumerate(port.shape):
            if isinstance(symbol, str) and (axis == port.batch or symbol not in lengths):
                lengths[symbol] = batch if axis == port.batch else length
    return {port.name: _random(graph, port, lengths, rng) for port in graph.inputs}


def _random(graph: Graph, port: Port, lengths: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    """Normal numbers; whole numbers from 0 on, inside the tables that the input indexes, where it indexes any or is integer."""
    shape = [lengths.get(d, d) for d in port.shape]
    rows = _rows_indexed(graph, port.value)
    if port.dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if rows is not None or port.dtype != "float32":
        return rng.integers(0, _SMALL_INTEGERS if rows is None else max(rows, 1), shape).astype(port.dtype)
    return rng.standard_normal(shape).astype(np.float32)


def _rows_indexed(graph: Graph, value: str) -> int | None:
    """Rows of the smallest constant table that a value looks things up in, None when it looks nothing up."""
    reached, rows = {value}, None
    for node in graph.nodes:
        index, table = _INDEXED.get(node.op, (0, 0))
        if node.op in _PASS_THROUGH and reached & set(node.inputs):
            reached |= {out for out in node.outputs if out is not None}
        elif node.op in _INDEXED and node.inputs[index] in reached and node.inputs[table] in graph.constants:
            size = graph.constants[node.inputs[table]].shape[node.attrs.get("axis", 0)]
            rows = size if rows is None else min(rows, size)
    return rows
