"""Probes: seeded inputs and what the float64 reference makes of them, stored in the file so that it can prove itself.

Kernels of int8 and int4 round activations, and so does the reference here. Where an activation lies between two integers,
float32 and float64 may round it to different ones: the tolerance of such a probe is found by computing it again with a little
noise. A file of reduced precision has one more probe with what the model gave in float32, whose tolerance is the error found
when the file was made: it tells how far the file is from its source.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from edgelstm import reference
from edgelstm.errors import ShapeError
from edgelstm.facts import infer
from edgelstm.graph import Graph, Port, Probe

SOURCE = "the float64 reference of EdgeLSTM"
EXACT_SOURCE = "the float64 reference of EdgeLSTM, before precision was reduced"
ROUNDING = ("int8", "int8-static", "int8x16", "int4")  # precisions that round activations
NOISE, TRIALS = 1e-5, 8  # relative noise of activations, and how often it is drawn
ROOM = 4  # times the effect of the noise
EXACT_ROOM = 1.5  # times the error that reducing the precision made

_SEED = 20240229
_SMALL_INTEGERS = 4
_MOST_ELEMENTS = 2**26  # of a value of a probe, half a gigabyte in float64
_EXAMPLES = ((2, (7, 16, 64, 256, 1024)), (1, (12, 24, 96, 384, 1536)))  # batch, lengths of other axes, the first that fits
_INDEXED = {"embedding": (0, 1), "gather": (1, 0)}  # op: (its index input, its table)
_PASS_THROUGH = {"cast", "identity", "reshape", "squeeze", "unsqueeze", "transpose", "slice", "flip", "expand", "concat"}


def with_probes(graph: Graph, exact: Graph | None = None) -> Graph:
    """The graph with two probes of different batch and length; with a note instead where no length fits its layers.

    `exact` is the float32 graph that a graph of reduced precision was made from.
    """
    found = [_probe(graph, number, batch, lengths) for number, (batch, lengths) in enumerate(_EXAMPLES)]
    probes = tuple(probe for probe in found if isinstance(probe, Probe))
    if not probes:
        return replace(graph, notes=(*graph.notes, f"no probe, so `edgelstm verify` cannot check this file: {found[0]}"))
    compared = () if exact is None else (_compared(exact, probes[-1]),)
    return replace(graph, probes=(*probes, *compared))


def _probe(graph: Graph, number: int, batch: int, lengths: Iterable[int]) -> Probe | ShapeError:
    """A probe with the first length that fits, or why the last one did not."""
    failure = ShapeError("no length was tried")
    for length in lengths:
        inputs = seeded_inputs(graph, np.random.default_rng(_SEED + number), batch, length)
        try:
            _check_size(graph, inputs)
            outputs = reference.run_rounded(graph, inputs)
        except ShapeError as error:
            failure = error
            continue
        room = ROOM * _effect_of_noise(graph, inputs, outputs)
        return Probe(inputs, _as_stored(graph, outputs), SOURCE, atol=Probe.atol + room)
    return failure


def _check_size(graph: Graph, inputs: Mapping[str, np.ndarray]) -> None:
    """Raise ShapeError where inputs of a few numbers become values that take gigabytes."""
    largest = max((fact.size for fact in infer(graph, {name: x.shape for name, x in inputs.items()}).values()), default=0)
    if largest > _MOST_ELEMENTS:
        raise ShapeError(f"one of its values has {largest:,} elements; up to {_MOST_ELEMENTS:,} are tried")


def _compared(exact: Graph, probe: Probe) -> Probe:
    """The same inputs with the outputs in float32, and the distance of the probe's outputs as tolerance."""
    outputs = reference.run(exact, probe.inputs)
    room = EXACT_ROOM * _largest_difference(probe.outputs, outputs)
    return Probe(probe.inputs, _as_stored(exact, outputs), EXACT_SOURCE, atol=probe.atol + room)


def _as_stored(graph: Graph, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):
        return {port.name: np.asarray(outputs[port.name], port.dtype) for port in graph.outputs}


def _effect_of_noise(graph: Graph, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> float:
    """How far the outputs move when activations change by less than a rounding step; 0 where none are rounded."""
    if not any(node.attrs.get("precision") in ROUNDING for node in graph.nodes):
        return 0.0
    rng = np.random.default_rng(_SEED)

    def noise(x: np.ndarray) -> np.ndarray:
        return x * (1 + NOISE * rng.standard_normal(x.shape))

    return max(_largest_difference(outputs, reference.run_rounded(graph, inputs, noise)) for _ in range(TRIALS))


def _largest_difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The largest absolute difference of two sets of outputs, where both are finite."""
    with np.errstate(invalid="ignore"):
        differences = [np.abs(array.astype(np.float64) - other[name]) for name, array in one.items()]
    return max((float(np.max(array, initial=0.0, where=np.isfinite(array))) for array in differences), default=0.0)


def seeded_inputs(graph: Graph, rng: np.random.Generator, batch: int, length: int) -> dict[str, np.ndarray]:
    """Random inputs by name that the model's tables accept; `length` is that of every dynamic axis but the batch."""
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
