"""Refuses, before anything runs, models whose weights or target shapes are computed from an input."""

from edgelstm import ops
from edgelstm.errors import UnsupportedError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph
from edgelstm.ops.op import Fact
from edgelstm.stand_ins import first_fitting, shapes_at, trial_lengths


def check_parameters(graph: Graph) -> None:
    """Raise UnsupportedError that lists every node whose parameters do not follow from constants and shapes."""
    problems = first_fitting(lambda scale: _problems(graph, scale))
    if problems:
        raise UnsupportedError("the model computes from its inputs what must be known beforehand:", problems)


def _problems(graph: Graph, scale: int) -> list[str]:
    shapes = shapes_at(graph, trial_lengths(graph, scale))
    straight = expand(graph, shapes, loops=False)
    facts, found = infer(straight, shapes), []
    for node in straight.nodes:
        op = ops.get(node.op)
        for role, name in zip(op.roles(len(node.inputs)), node.inputs, strict=True):
            if name is not None and role in op.parameters and _is_computed(facts[name]):
                sources = ", ".join(sorted(facts[name].sources))
                found.append(f"node {node.name!r} ({node.op}): its {role} depends on the data of {sources}; "
                             "supported: constants, and values that follow from shapes")
    return found


def _is_computed(fact: Fact) -> bool:
    return fact.value is None and bool(fact.sources)
