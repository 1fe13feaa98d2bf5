"""The Graph: a model as a small, typed, frozen and validated list of nodes. It is all that importers know of the runtime."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.errors import FormatError
from edgelstm.ops.op import DTYPES, PORT_DTYPES, Body, Op, check_attrs
from edgelstm.ports import Port, TensorSpec
from edgelstm.record import fresh, record

__all__ = ["Graph", "Node", "Port", "Probe", "TensorSpec"]

DEEPEST = 16  # subgraphs inside subgraphs


MOST_ELEMENTS = 1 << 40  # of one input or output


@record()
class Node:
    """One op applied to named values. An absent optional input or unused output is None."""

    name: str
    op: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]
    attrs: Mapping[str, Any] = fresh(dict)


@record(eq=False)
class Probe:
    """Inputs, and the outputs that an independent source gave for them, so that a file can prove itself on any device."""

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    source: str
    atol: float = 2e-5
    rtol: float = 1e-4


@record(eq=False)
class Graph:
    """A whole model. Nodes stand in an order in which they can run.

    `states` are (input, output) pairs of explicit states that a stream carries by itself. `stateful` says that the source
    model was trained to carry its recurrent states from call to call. `provenance` tells where the model came from.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    states: tuple[tuple[str, str], ...] = ()
    stateful: bool = False
    provenance: Mapping[str, Any] = fresh(dict)
    notes: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        frozen = {name: _frozen(array) for name, array in self.constants.items()}
        object.__setattr__(self, "constants", MappingProxyType(frozen))
        object.__setattr__(self, "nodes", tuple(_checked(node) for node in self.nodes))
        _validate(self)

    def __reduce__(self):
        from edgelstm.format import from_bytes, to_bytes

        return from_bytes, (to_bytes(self),)

    @property
    def parameters(self) -> int:
        """Number of trained numbers: float constants, and weights stored in another precision."""
        sizes = {name: array.size for name, array in self.constants.items() if array.dtype == np.float32}
        for node in self.nodes:
            sizes |= node_parameters(node, self.constants)
        return sum(sizes.values())

    def input(self, name: str) -> Port:
        return next(port for port in self.inputs if port.name == name)

    def output(self, name: str) -> Port:
        return next(port for port in self.outputs if port.name == name)


def node_parameters(node: Node, constants: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many trained numbers each constant of a node stands for: floats one each, scales none, weights what they hold."""
    op = ops.get(node.op)
    named = dict(zip(op.roles(len(node.inputs)), node.inputs, strict=True))
    found = {name: constants[name].size for name in node.inputs if name in constants and constants[name].dtype == np.float32}
    weights = [constants.get(named.get(role)) for role in _narrow_weights(op)]
    if node.attrs.get("precision") == "float32" or any(array is None or array.ndim < 2 for array in weights):
        return found
    shapes = op.weight_shapes(node.attrs, op.padded([constants.get(name) for name in node.inputs]))
    behind = [named.get(f"{role}_{part}") for role in shapes for part in ("scale", "factor")]
    scales = {name: 0 for name in behind if name is not None}
    return found | scales | {named[role]: math.prod(shape) for role, shape in shapes.items() if named[role] in constants}


def _narrow_weights(op: Op) -> list[str]:
    """The roles of the inputs whose precision a node chooses: those that have a scale."""
    return [role.removesuffix("_scale") for role in op.roles(len(op.inputs)) if role.endswith("_scale")]


def _frozen(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _checked(node: Node, depth: int = 0) -> Node:
    op = ops.get(node.op)
    try:
        attrs = check_attrs(op, node.attrs)
    except FormatError as error:
        raise FormatError(f"node {node.name!r}: {error}") from None
    _check_arity(node, "inputs", op.inputs)
    _check_arity(node, "outputs", op.outputs)
    for name, value in attrs.items():
        if isinstance(value, Body):
            attrs[name] = _checked_body(node, name, value, depth + 1)
    return Node(node.name, node.op, tuple(node.inputs), tuple(node.outputs), MappingProxyType(attrs))


def _checked_body(node: Node, name: str, body: Body, depth: int) -> Body:
    where = f"the {name} of node {node.name!r} ({node.op})"
    if depth > DEEPEST:
        raise FormatError(f"{where} is nested {depth} deep; at most {DEEPEST} are supported")
    _check_unique(f"input of {where}", list(body.inputs))
    nodes = tuple(_checked(inner, depth) for inner in body.nodes)
    known = _with_written(set(body.inputs), nodes)
    for value in body.outputs:
        if value not in known:
            raise FormatError(f"{where} gives {value!r}, which nothing in it computes")
    return Body(tuple(body.inputs), tuple(body.outputs), nodes)


def _check_arity(node: Node, side: str, declared: tuple[str, ...]) -> None:
    given = getattr(node, side)
    variadic = bool(declared) and declared[-1].endswith("*")
    if len(given) > len(declared) and not variadic:
        raise FormatError(f"node {node.name!r} ({node.op}) has {len(given)} {side}, at most {len(declared)} are known")
    for i, name in enumerate(declared):
        absent = i >= len(given) or given[i] is None
        if absent and name[-1] not in "?*" and side == "inputs":
            raise FormatError(f"node {node.name!r} ({node.op}) lacks its input {name!r}")


def _validate(graph: Graph) -> None:
    known = _defined(graph)
    for port in graph.outputs:
        if port.value not in known:
            raise FormatError(f"output {port.name!r} shows {port.value!r}, which nothing computes")
    for port in (*graph.inputs, *graph.outputs):
        if port.dtype not in PORT_DTYPES:
            raise FormatError(f"{port.name!r} has the dtype {port.dtype!r}; supported are {list(PORT_DTYPES)}")
        if port.batch is not None and port.batch == port.time:
            raise FormatError(f"{port.name!r} has one axis for batch and time")
        for axis in (port.batch, port.time):
            if axis is not None and not 0 <= axis < len(port.shape):
                raise FormatError(f"{port.name!r} has no axis {axis}")
    for port in (*graph.inputs, *graph.outputs):
        if math.prod(d for d in port.shape if isinstance(d, int)) > MOST_ELEMENTS:
            raise FormatError(f"{port.name!r} has the shape {list(port.shape)}, which no machine can hold")
    _check_unique("input", [port.name for port in graph.inputs])
    _check_unique("value", [*graph.constants, *(port.value for port in graph.inputs)])
    _check_unique("output", [port.name for port in graph.outputs])
    _check_unique("node", [node.name for node in graph.nodes])
    for source, result in graph.states:
        if source not in {p.name for p in graph.inputs} or result not in {p.name for p in graph.outputs}:
            raise FormatError(f"the state pair ({source!r}, {result!r}) names no input and output of the model")
    _check_unique("state input", [source for source, _ in graph.states])
    _check_unique("state output", [result for _, result in graph.states])


def _defined(graph: Graph) -> set[str]:
    known = set(graph.constants) | {port.value for port in graph.inputs}
    for name, array in graph.constants.items():
        if str(array.dtype) not in DTYPES:
            raise FormatError(f"constant {name!r} has the dtype {array.dtype}; supported are {list(DTYPES)}")
    return _with_written(known, graph.nodes)


def _with_written(known: set[str], nodes: tuple[Node, ...]) -> set[str]:
    """The known values and those that nodes write. Raises FormatError for one that is read too early or written twice."""
    for node in nodes:
        for value in node.inputs:
            if value is not None and value not in known:
                raise FormatError(f"node {node.name!r} ({node.op}) reads {value!r}, which nothing before it computes")
        for value in _present(node.outputs):
            if value in known:
                raise FormatError(f"node {node.name!r} ({node.op}) writes {value!r} a second time")
            known.add(value)
    return known


def _present(values: tuple[str | None, ...]) -> Iterator[str]:
    return (value for value in values if value is not None)


def _check_unique(kind: str, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise FormatError(f"two {kind}s are called {name!r}")
