"""Replaces nodes whose inputs are all constants by their result."""

from dataclasses import replace

import numpy as np

from edgelstm import ops
from edgelstm.facts import infer_node
from edgelstm.graph import Graph
from edgelstm.ops.op import Fact


def fold_constants(graph: Graph) -> Graph:
    """The graph with constant arithmetic done beforehand."""
    facts = {name: Fact(array.shape, str(array.dtype), array) for name, array in graph.constants.items()}
    folded, kept = dict(graph.constants), []
    for node in graph.nodes:
        is_constant = ops.get(node.op).foldable and all(name is None or name in facts for name in node.inputs)
        outs = infer_node(node, facts) if is_constant else {}
        if outs and all(fact.value is not None for fact in outs.values()):
            facts.update(outs)
            folded.update((name, np.ascontiguousarray(fact.value).reshape(fact.shape)) for name, fact in outs.items())
        else:
            kept.append(node)
    return replace(graph, nodes=tuple(kept), constants=folded)
