"""What follows from the links of an ONNX graph: an order in which its nodes can run, and how long its sequences are."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from edgelstm_converters.onnx.model import Model

from edgelstm.errors import FormatError


def sorted_nodes(nodes: Sequence[Any], known: Any) -> list[Any]:
    """The nodes, each after those that it reads from; `known` holds the names that exist before.

    Raises FormatError for a cycle, or for a value that nothing computes.
    """
    made_by = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waits = [{made_by[name] for name in set(_reads(node)) if name in made_by} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for i, sources in enumerate(waits):
        for source in sources:
            readers[source].append(i)
    ready = deque(i for i, sources in enumerate(waits) if not sources)
    missing = [len(sources) for sources in waits]
    order = []
    while ready:
        i = ready.popleft()
        order.append(i)
        for reader in readers[i]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(order) < len(nodes):
        stuck = next(node for i, node in enumerate(nodes) if missing[i])
        raise FormatError(f"node {stuck.name or stuck.op_type!r} is part of a cycle")
    _check_sources(nodes, made_by, known)
    return [nodes[i] for i in (range(len(nodes)) if _in_order(waits) else order)]


def sequence_lengths(model: Model) -> dict[str, int]:
    """How many elements of each sequence value are taken, one by one, at constant positions."""
    graph = model.proto.graph
    positions = {tensor.name: tensor for tensor in graph.initializer}
    positions |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    lengths: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "SequenceAt" and len(node.input) == 2 and node.input[1] in positions:
            position = model.array(positions[node.input[1]])
            if position.size == 1 and position.dtype.kind in "iu":
                lengths[node.input[0]] = max(lengths.get(node.input[0], 0), int(position.item()) + 1)
    return lengths


def _in_order(waits: Sequence[set[int]]) -> bool:
    return all(source < i for i, sources in enumerate(waits) for source in sources)


def _check_sources(nodes: Sequence[Any], made_by: dict[str, int], known: Any) -> None:
    for node in nodes:
        for name in node.input:
            if name and name not in made_by and name not in known:
                raise FormatError(
                    f"node {node.name or node.op_type!r} ({node.op_type}) reads {name!r}, which nothing computes"
                )


def _reads(node: Any) -> Iterator[str]:
    """Names that a node reads, also inside its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (port.name for port in graph.output)
