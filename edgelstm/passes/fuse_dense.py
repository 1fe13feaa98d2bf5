"""Turns a product with a constant matrix, and the bias added to it, into one dense node."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgelstm.graph import Graph, Node


def fuse_dense(graph: Graph) -> Graph:
    """The same graph with `matmul` by a constant matrix as `dense`, and with a constant vector added to it as its bias."""
    nodes = [_as_dense(node, graph.constants) for node in graph.nodes]
    readers = Counter(value for node in nodes for value in node.inputs if value is not None)
    readers.update(port.value for port in graph.outputs)
    made_by = {node.outputs[0]: i for i, node in enumerate(nodes) if node.op == "dense" and len(node.inputs) == 2
               or node.op == "dense" and node.inputs[2] is None}
    constants = dict(graph.constants)
    dropped = set()
    for i, node in enumerate(nodes):
        product, bias = _bias_addition(node, made_by, readers, nodes, constants)
        if bias is None:
            continue
        dense = nodes[made_by[product]]
        constants[f"{bias}.bias"] = constants[bias].reshape(-1)
        nodes[i] = Node(dense.name, "dense", (*dense.inputs[:2], f"{bias}.bias"), node.outputs)
        dropped.add(made_by[product])
    return replace(graph, nodes=tuple(node for i, node in enumerate(nodes) if i not in dropped), constants=constants)


def _as_dense(node: Node, constants: Mapping[str, np.ndarray]) -> Node:
    W = constants.get(node.inputs[1]) if node.op == "matmul" else None
    if W is None or W.ndim != 2 or W.dtype != np.float32:
        return node
    return Node(node.name, "dense", node.inputs, node.outputs)


def _bias_addition(node: Node, made_by: Mapping[str, int], readers: Counter[str], nodes: list[Node],
                   constants: Mapping[str, np.ndarray]) -> tuple[str, str | None]:
    """(dense output, constant) of a node that adds a vector (N,) to a dense output that nothing else reads; else None."""
    if node.op != "add":
        return "", None
    for product, bias in (node.inputs, node.inputs[::-1]):
        if product in made_by and readers[product] == 1 and bias in constants:
            units = constants[nodes[made_by[product]].inputs[1]].shape[1]
            if constants[bias].shape == (units,):
                return product, bias
    return "", None
