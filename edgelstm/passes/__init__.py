"""Passes: functions Graph -> Graph that keep what a model computes and make it smaller. Each has a file of its own."""

from edgelstm.graph import Graph
from edgelstm.passes.dead import remove_dead
from edgelstm.passes.embed_rows import embed_rows
from edgelstm.passes.fold import fold_constants
from edgelstm.passes.fuse_dense import fuse_dense
from edgelstm.passes.recognition import recognise

PASSES = (fold_constants, fuse_dense, embed_rows, remove_dead, recognise)


def simplify(graph: Graph) -> Graph:
    """Every pass in its order."""
    for run in PASSES:
        graph = run(graph)
    return graph
