"""A model as plain values: what `edgelstm info` prints and gives as JSON."""

from collections.abc import Mapping
from typing import Any

from edgelstm import ops
from edgelstm.errors import EdgeLSTMError
from edgelstm.facts import infer
from edgelstm.graph import Graph, Node, Port, node_parameters
from edgelstm.model import Model
from edgelstm.ops.op import Fact
from edgelstm.stand_ins import first_fitting, shapes_at, trial_lengths

SEQUENCE_STEPS = 100  # the number of time steps for which the memory of a whole sequence is shown

Dims = list[int | str]


def describe(model: Model) -> dict[str, Any]:
    """Everything that can be told of a model without running it."""
    graph, streaming = model.graph, model.streaming
    names = _names(graph)
    return {
        "inputs": [_port(port, names) for port in graph.inputs],
        "outputs": [_port(port, names) for port in graph.outputs],
        "nodes": len(graph.nodes),
        "layers": _layers(graph, names),
        "parameters": graph.parameters,
        "bytes": _bytes(model),
        "streaming": {"ok": streaming.ok, "node": streaming.node, "reason": streaming.reason},
        "states": [list(pair) for pair in graph.states],
        "stateful": graph.stateful,
        "notes": list(graph.notes),
        "provenance": dict(graph.provenance),
        "probes": len(graph.probes),
    }


def _names(graph: Graph) -> dict[str, str]:
    """What users call a symbol: batch and time where it is one, else the symbol itself."""
    names: dict[str, str] = {}
    for port in (*graph.inputs, *graph.outputs):
        for axis, symbol in enumerate(port.shape):
            if isinstance(symbol, str):
                role = "batch" if axis == port.batch else "time" if axis == port.time else names.get(symbol, symbol)
                names[symbol] = role
    return names


def _port(port: Port, names: Mapping[str, str]) -> dict[str, Any]:
    shape = [d if isinstance(d, int) else names[d] for d in port.shape]
    return {"name": port.name, "dtype": port.dtype, "shape": shape, "batch": port.batch, "time": port.time}


def _facts_at(graph: Graph, scale: int) -> tuple[dict[str, int], dict[str, Fact]]:
    """Stand-in lengths of the dynamic axes, and what is known of every value with them."""
    lengths = trial_lengths(graph, scale)
    return lengths, infer(graph, shapes_at(graph, lengths))


def _layers(graph: Graph, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A line for every node that has parameters or carries a state."""
    try:
        lengths, facts = first_fitting(lambda scale: _facts_at(graph, scale))
    except EdgeLSTMError:
        lengths, facts = {}, {}
    shown = {length: names[symbol] for symbol, length in lengths.items()}
    lines = []
    for node in graph.nodes:
        sizes = [count for name, count in node_parameters(node, graph.constants).items() if graph.constants[name].ndim]
        state = _state(node, facts, shown)
        if sizes or state:
            out = next((facts[name] for name in node.outputs if name in facts), None)
            shape = None if out is None else _dims(out.shape, shown)
            lines.append({"name": node.name, "op": node.op, "shape": shape, "parameters": sum(sizes), "state": state,
                          "precision": node.attrs.get("precision"), "bytes": _stored_bytes(node, graph)})
    return lines


def _stored_bytes(node: Node, graph: Graph) -> int:
    """Bytes of the constants that a node reads, as the file holds them."""
    return sum(graph.constants[name].nbytes for name in {*node.inputs} if name in graph.constants)


def _state(node: Node, facts: Mapping[str, Fact], shown: Mapping[int, str]) -> list[str]:
    """The states of a node as `h (batch, 64)`."""
    op = ops.get(node.op)
    ins = [None if name is None else facts.get(name) for name in node.inputs]
    if any(fact is None and name is not None for fact, name in zip(ins, node.inputs, strict=True)):
        return []
    slots = op.slots(node.attrs, op.padded(ins))
    return [f"{name} ({', '.join(map(str, _dims(slot.shape, shown)))})" for name, slot in slots.items()]


def _dims(shape: tuple[int, ...], shown: Mapping[int, str]) -> Dims:
    """A shape with names for stand-in lengths; a multiple of one is shown as `4*time`."""
    dims: Dims = []
    for length in shape:
        found = next((n for n in shown if length and length % n == 0), None)
        dims.append(length if found is None else shown[found] if length == found else f"{length // found}*{shown[found]}")
    return dims


def _bytes(model: Model) -> dict[str, Any]:
    """Exact bytes of weights, state and arena, for batch 1; `problems` says why a number is unknown."""
    dynamic = any(port.time is not None and isinstance(port.shape[port.time], str) for port in model.graph.inputs)
    weights = sum(array.nbytes for array in model.graph.constants.values())
    found: dict[str, Any] = {"weights": weights, "packed": None, "state": None, "arenas": [], "problems": []}
    for steps in (1, SEQUENCE_STEPS) if dynamic else (1,):
        try:
            footprint = model.footprint(1, steps)
        except EdgeLSTMError as error:
            found["problems"].append(f"{steps} time step{'s' * (steps > 1)}: {error}")
            continue
        found["packed"], found["state"] = footprint.packed, footprint.state
        found["arenas"].append({"steps": steps, "bytes": footprint.arena})
    return found
