"""Turns a look-up of rows of a constant table into an embedding, whose table can have a reduced precision."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgelstm.graph import Graph, Node


def embed_rows(graph: Graph) -> Graph:
    """The graph with `gather` along the first axis of a constant float matrix as `embedding`."""
    return replace(graph, nodes=tuple(_as_embedding(node, graph.constants) for node in graph.nodes))


def _as_embedding(node: Node, constants: Mapping[str, np.ndarray]) -> Node:
    table = constants.get(node.inputs[0]) if node.op == "gather" else None
    if table is None or table.ndim != 2 or table.dtype != np.float32 or node.attrs["axis"] not in (0, -2):
        return node
    return Node(node.name, "embedding", node.inputs[::-1], node.outputs, {"wrap": True})
