"""Removes nodes and constants that no output depends on."""

from dataclasses import replace

from edgelstm.graph import Graph


def remove_dead(graph: Graph) -> Graph:
    """The graph without nodes, node outputs and constants that nothing reads."""
    wanted = {port.value for port in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if wanted.isdisjoint(name for name in node.outputs if name is not None):
            continue
        outputs = tuple(name if name in wanted else None for name in node.outputs)
        kept.append(replace(node, outputs=outputs))
        wanted.update(name for name in node.inputs if name is not None)
    constants = {name: array for name, array in graph.constants.items() if name in wanted}
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants)
