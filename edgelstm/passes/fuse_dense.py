"""Turns a product with a constant matrix, and the bias added to it, into one dense node."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgelstm.graph import Graph, Node


def fuse_dense(graph: Graph) -> Graph:
    """The graph with `matmul` by a constant matrix as `dense`, and with a constant vector added to it as its bias."""
    nodes = [_as_dense(node, graph.constants) for node in graph.nodes]
    readers = Counter(value for node in nodes for value in node.inputs)
    readers.update(port.value for port in graph.outputs)
    unbiased = {node.outputs[0]: node for node in nodes if _has_no_bias(node) and readers[node.outputs[0]] == 1}
    fused: dict[str, Node] = {}
    for i, node in enumerate(nodes):
        product, bias = _bias_addition(node, unbiased, graph.constants)
        if product is not None:
            dense = unbiased[product]
            nodes[i] = fused[product] = Node(dense.name, "dense", (*dense.inputs[:2], bias), node.outputs)
    return replace(graph, nodes=tuple(node for node in nodes if node.outputs[0] not in fused))


def _as_dense(node: Node, constants: Mapping[str, np.ndarray]) -> Node:
    W = constants.get(node.inputs[1]) if node.op == "matmul" else None
    if W is None or W.ndim != 2 or W.dtype != np.float32:
        return node
    return Node(node.name, "dense", node.inputs, node.outputs)


def _has_no_bias(node: Node) -> bool:
    return node.op == "dense" and (len(node.inputs) == 2 or node.inputs[2] is None)


def _bias_addition(
    node: Node, unbiased: Mapping[str, Node], constants: Mapping[str, np.ndarray]
) -> tuple[str | None, str | None]:
    """(dense output, constant) of a node that adds a vector (N,) to a dense layer without bias, else (None, None)."""
    if node.op == "add":
        for product, bias in (node.inputs, node.inputs[::-1]):
            if product in unbiased and bias in constants:
                units = constants[unbiased[product].inputs[1]].shape[1:]
                if constants[bias].shape == units:
                    return product, bias
    return None, None
