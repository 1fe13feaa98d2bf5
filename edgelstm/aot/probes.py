"""The probes that a build can run: it has one length for every axis but batch and time, and sometimes one batch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgelstm.graph import Graph, Port, Probe
from edgelstm.probe import with_probes
from edgelstm.rows import independent

Shapes = Mapping[str, Sequence[int]]


def with_fitting_probes(graph: Graph, shapes: Shapes) -> Graph:
    """The graph with the probes that fit a build for inputs of these shapes in one step, or with new ones where none does."""
    fixed = {port.name: _fixed(port, shapes[port.name], split=independent(graph)) for port in graph.inputs}
    kept = tuple(probe for probe in graph.probes if _fits(probe, fixed))
    if graph.probes and not kept:
        inputs = tuple(replace(port, shape=fixed[port.name]) for port in graph.inputs)
        kept = with_probes(replace(graph, inputs=inputs, probes=())).probes
    return replace(graph, probes=kept)


def _fixed(port: Port, shape: Sequence[int], *, split: bool) -> tuple[int | str, ...]:
    """The shape of a port in a build: open in time, and in its rows where these can be computed apart from each other."""
    loose = {port.time, port.batch} if split else {port.time}
    return tuple(d if axis in loose else n for axis, (d, n) in enumerate(zip(port.shape, shape, strict=True)))


def _fits(probe: Probe, fixed: Mapping[str, Sequence[int | str]]) -> bool:
    return all(isinstance(d, str) or d == n for name, array in probe.inputs.items()
               for d, n in zip(fixed[name], array.shape, strict=True))
