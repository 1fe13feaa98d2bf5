"""A Graph as JSON text and tensors, and back. Every value that comes from a file is checked before it is believed."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.errors import FormatError
from edgelstm.format.container import decode, encode
from edgelstm.format.strict_json import (
    boolean,
    dump,
    fields,
    listed,
    mapping,
    natural,
    optional,
    parse,
    positive_number,
    text,
)
from edgelstm.graph import DEEPEST, Graph, Node, Port, Probe
from edgelstm.ops.formulas import resolve
from edgelstm.ops.op import Body

_CONSTANT = "constant/"
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def to_bytes(graph: Graph) -> bytes:
    """The .elstm file of a graph. Raises FormatError for metadata that JSON cannot hold."""
    tensors = {_CONSTANT + name: array for name, array in graph.constants.items()}
    for number, probe in enumerate(graph.probes):
        _check_probe(number, probe, graph)
        tensors |= {_probe_tensor(number, "input", name): np.asarray(array) for name, array in probe.inputs.items()}
        tensors |= {_probe_tensor(number, "output", name): np.asarray(array) for name, array in probe.outputs.items()}
    described = {
        "inputs": [_port_json(port) for port in graph.inputs],
        "outputs": [_port_json(port) for port in graph.outputs],
        "nodes": [_node_json(node) for node in graph.nodes],
        "states": [list(pair) for pair in graph.states],
        "stateful": graph.stateful,
        "notes": list(graph.notes),
        "provenance": dict(graph.provenance),
        "probes": [{"inputs": list(probe.inputs), "outputs": list(probe.outputs), "source": probe.source,
                    "atol": probe.atol, "rtol": probe.rtol} for probe in graph.probes],
    }
    return encode(dump(described).decode("utf-8"), tensors)


def from_bytes(data: Any, where: str = "<bytes>") -> Graph:
    """The graph of an .elstm file given as bytes or as a read-only memory map. Raises FormatError, which names `where`."""
    try:
        described, tensors = decode(bytes(data) if isinstance(data, bytearray | memoryview) else data)
        return _graph(_GRAPH(parse(described, "the graph"), "graph"), tensors)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def _graph(found: dict[str, Any], tensors: dict[str, np.ndarray]) -> Graph:
    probes = tuple(_probe(number, probe, tensors) for number, probe in enumerate(found["probes"]))
    for name in tensors:
        if not name.startswith(_CONSTANT):
            raise FormatError(f"tensor {name!r} belongs to nothing in the graph")
    constants = {name[len(_CONSTANT):]: _constant(name, array) for name, array in tensors.items()}
    ports = {side: tuple(Port(**port) for port in found[side]) for side in ("inputs", "outputs")}
    graph = Graph(**ports, nodes=tuple(_node(node) for node in found["nodes"]), constants=constants,
                  states=found["states"], stateful=found["stateful"], provenance=found["provenance"],
                  notes=found["notes"], probes=probes)
    for number, probe in enumerate(probes):
        _check_probe(number, probe, graph)
    return graph


def _constant(name: str, array: np.ndarray) -> np.ndarray:
    """A constant, checked: kernels multiply int8 weights with their sign turned, which -128 cannot be."""
    if array.dtype == np.int8 and np.min(array, initial=0) == -128:
        raise FormatError(f"tensor {name!r} holds -128; int8 weights lie in -127 .. 127")
    return array


def _port_json(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape), "value": port.value,
            "batch": port.batch, "time": port.time}


def _node_json(node: Node) -> dict[str, Any]:
    declared = ops.get(node.op).attrs
    attrs = {name: _attr_json(value) for name, value in node.attrs.items()
             if not declared[name].since or value != declared[name].default}
    return {"name": node.name, "op": node.op, "version": ops.get(node.op).version, "inputs": list(node.inputs),
            "outputs": list(node.outputs), "attrs": attrs}


def _attr_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_attr_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, Body):
        nodes = [_node_json(node) for node in value.nodes]
        return {"graph": {"inputs": list(value.inputs), "outputs": list(value.outputs), "nodes": nodes}}
    return value


def _attr(value: Any, where: str, depth: int) -> Any:
    if isinstance(value, list):
        return tuple(_scalar(item, where) for item in value)
    if isinstance(value, dict) and "graph" in value:
        if depth >= DEEPEST:
            raise FormatError(f"{where} is nested deeper than {DEEPEST} subgraphs")
        found = _BODY(fields(graph=mapping)(value, where)["graph"], where)
        return Body(found["inputs"], found["outputs"], tuple(_node(node, depth + 1) for node in found["nodes"]))
    return _scalar(value, where)


def _scalar(value: Any, where: str) -> Any:
    if isinstance(value, list):
        raise FormatError(f"{where} is an array of arrays")
    if isinstance(value, dict):
        name = text(fields(float=text)(value, where)["float"], where)
        if name not in _NOT_FINITE:
            raise FormatError(f"{where} is the float {name!r}; one of {list(_NOT_FINITE)} may be written so")
        return _NOT_FINITE[name]
    return value


def _node(found: dict[str, Any], depth: int = 0) -> Node:
    where = f"node {found['name']!r}"
    op = ops.get(found["op"])
    if found["version"] != op.version:
        raise FormatError(f"{where} is version {found['version']} of the op {op.name!r}; this EdgeLSTM knows {op.version}")
    attrs = {name: _attr(value, f"attribute {name!r} of {where}", depth) for name, value in found["attrs"].items()}
    for name, value in attrs.items():
        if name in op.attrs and op.attrs[name].kind == "activation" and isinstance(value, str | tuple):
            _check_activation(value, where)
    return Node(found["name"], found["op"], found["inputs"], found["outputs"], attrs)


def _check_activation(value: Any, where: str) -> None:
    named = isinstance(value, str) or (len(value) == 3 and isinstance(value[0], str))
    if not named:
        raise FormatError(f"{where} has the activation {value!r}; it may be a name or [name, alpha, beta]")
    try:
        resolve(value)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None


def _probe_tensor(number: int, side: str, name: str) -> str:
    return f"probe/{number}/{side}/{name}"


def _probe(number: int, found: dict[str, Any], tensors: dict[str, np.ndarray]) -> Probe:
    """A probe, whose arrays are taken out of `tensors`."""
    arrays: dict[str, dict[str, np.ndarray]] = {"input": {}, "output": {}}
    for side, taken in arrays.items():
        for name in found[f"{side}s"]:
            stored = _probe_tensor(number, side, name)
            if stored not in tensors:
                raise FormatError(f"the tensor {stored!r} of probe {number} is missing")
            taken[name] = tensors.pop(stored)
    return Probe(arrays["input"], arrays["output"], found["source"], found["atol"], found["rtol"])


def _check_probe(number: int, probe: Probe, graph: Graph) -> None:
    sides: tuple[tuple[str, Mapping[str, np.ndarray], tuple[Port, ...]], ...] = (
        ("input", probe.inputs, graph.inputs), ("output", probe.outputs, graph.outputs))
    for side, arrays, ports in sides:
        ranks = {port.name: (port.dtype, len(port.shape)) for port in ports}
        for name, array in arrays.items():
            if ranks.get(name) != (str(array.dtype), array.ndim):
                raise FormatError(f"probe {number} gives {array.dtype}{list(array.shape)} for the {side} {name!r}, "
                                  f"which the model does not have so")


def _dim(value: Any, where: str) -> int | str:
    return value if isinstance(value, str) and value else natural(value, where)


def _pair(value: Any, where: str) -> tuple[str, str]:
    names = listed(text)(value, where)
    if len(names) != 2:
        raise FormatError(f"{where} has {len(names)} names, not an input and an output")
    return names


_PORT = fields(name=text, dtype=text, shape=listed(_dim), value=text, batch=optional(natural), time=optional(natural))
_NODE = fields(name=text, op=text, version=natural, inputs=listed(optional(text)), outputs=listed(optional(text)),
               attrs=mapping)
_BODY = fields(inputs=listed(text), outputs=listed(text), nodes=listed(_NODE))
_PROBE = fields(inputs=listed(text), outputs=listed(text), source=text, atol=positive_number, rtol=positive_number)
_GRAPH = fields(inputs=listed(_PORT), outputs=listed(_PORT), nodes=listed(_NODE), states=listed(_pair), stateful=boolean,
                notes=listed(text), provenance=mapping, probes=listed(_PROBE))
