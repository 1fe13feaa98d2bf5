"""Two sources of one model compared: the same inputs through both, one computed by the float64 reference."""

from dataclasses import replace

from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Port, Probe
from edgelstm.probe import with_probes
from edgelstm.verify import Report


def compare(graph: Graph, reference: Graph, source: str) -> Report:
    """Rows of how far a graph, run natively, is from the float64 reference of another one called `source`.

    Inputs and outputs are matched by name where all names agree, else in their order. Raises ShapeError where their
    numbers or shapes do not fit.
    """
    from edgelstm.model import load

    probed = with_probes(replace(reference, probes=()))
    if not probed.probes:
        raise ShapeError(f"{source}: {probed.notes[-1]}")
    inputs = _matched("inputs", reference.inputs, graph.inputs, source)
    outputs = _matched("outputs", reference.outputs, graph.outputs, source)
    probes = tuple(_renamed(probe, inputs, outputs, source) for probe in probed.probes)
    return load(replace(graph, probes=probes)).verify()


def with_names_of(graph: Graph, reference: Graph, source: str) -> Graph:
    """The reference, called `source`, with its inputs and outputs under the names of a graph's. Raises ShapeError."""
    inputs = _matched("inputs", reference.inputs, graph.inputs, source)
    outputs = _matched("outputs", reference.outputs, graph.outputs, source)
    return replace(
        reference, probes=(), states=tuple((inputs[name], outputs[result]) for name, result in reference.states),
        inputs=tuple(replace(port, name=inputs[port.name]) for port in reference.inputs),
        outputs=tuple(replace(port, name=outputs[port.name]) for port in reference.outputs))


def _matched(side: str, theirs: tuple[Port, ...], ours: tuple[Port, ...], source: str) -> dict[str, str]:
    """Our name for each of theirs."""
    names, own = [port.name for port in theirs], [port.name for port in ours]
    if len(names) != len(own):
        raise ShapeError(f"{source} has the {side} {names} and the model {own}; supported are models with as many {side}")
    return {name: name for name in names} if set(names) == set(own) else dict(zip(names, own, strict=True))


def _renamed(probe: Probe, inputs: dict[str, str], outputs: dict[str, str], source: str) -> Probe:
    return Probe(
        {inputs[name]: array for name, array in probe.inputs.items()},
        {outputs[name]: array for name, array in probe.outputs.items()},
        source, probe.atol, probe.rtol)
