"""Whether the rows of a batch can be computed apart from each other, read off the ops with a prime as the batch."""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import Fact, NeedsFuture, Op, carries_time, time_axes
from edgelstm.stand_ins import first_fitting, fixed_lengths, shapes_at, stand_in


def independent(graph: Graph) -> bool:
    """True where every output has a batch axis and each of its rows follows from the same row of the inputs."""
    batches = {port.shape[port.batch] for port in graph.inputs if port.batch is not None}
    if len(batches) != 1 or isinstance(next(iter(batches)), int) or any(port.batch is None for port in graph.outputs):
        return False
    symbols = sorted({d for port in graph.inputs for d in port.shape if isinstance(d, str)} - batches)
    try:
        return first_fitting(lambda scale: _at_scale(graph, next(iter(batches)), symbols, scale))
    except ShapeError:
        return False


def _at_scale(graph: Graph, batch: str, symbols: Sequence[str], scale: int) -> bool:
    """The answer for stand-in lengths of one scale; a second batch tells which known values depend on it."""
    avoid = fixed_lengths(graph)
    lengths = {symbol: stand_in(i, scale, avoid) for i, symbol in enumerate(symbols)}
    rows, other_rows = (stand_in(len(symbols) + k, scale, avoid) for k in range(2))
    nodes, facts = _walk(graph, lengths | {batch: rows})
    _, other = _walk(graph, lengths | {batch: other_rows})
    counting = {name for name, fact in facts.items() if _differs(fact, other.get(name))}
    return all(_apart(node, facts, counting, rows) for node in nodes)


def _walk(graph: Graph, lengths: Mapping[str, int]) -> tuple[Sequence[Node], dict[str, Fact]]:
    shapes = shapes_at(graph, lengths)
    graph = expand(graph, shapes)
    return graph.nodes, infer(graph, shapes)


def _differs(fact: Fact, other: Fact | None) -> bool:
    if fact.value is None or other is None or other.value is None:
        return False
    return not np.array_equal(fact.value, other.value, equal_nan=fact.dtype == "float32")


def _apart(node: Node, facts: Mapping[str, Fact], counting: Set[str], rows: int) -> bool:
    """Whether a node keeps the rows apart and computes with no number that depends on how many there are."""
    op = ops.get(node.op)
    ins = op.padded([None if name is None else facts[name] for name in node.inputs])
    outs = [facts[name] for name in node.outputs if name is not None]
    if all(fact.value is not None for fact in outs) and not any(time_axes(fact, rows) for fact in outs):
        return True
    roles = zip(op.roles(len(node.inputs)), node.inputs, strict=True)
    if any(name in counting and role not in op.parameters for role, name in roles):
        return False
    sequence = op.sequence_axes(node.attrs)
    return _batched(op, ins, sequence[1], rows) if sequence is not None else _positionwise(op, node, ins, outs, rows)


def _batched(op: Op, ins: Sequence[Fact | None], batch: int, rows: int) -> bool:
    """A recurrent node: the batch is where it says in x, first in states and masks, and nowhere in the parameters."""
    for role, fact in zip(op.roles(len(ins)), ins, strict=True):
        allowed = [batch] if role == "x" else [] if role in op.parameters else [0]
        if fact is not None and time_axes(fact, rows) != allowed and time_axes(fact, rows):
            return False
    return True


def _positionwise(op: Op, node: Node, ins: Sequence[Fact | None], outs: Sequence[Fact], rows: int) -> bool:
    """Any other node: what holds for the steps of a stream holds for rows, but it may not look at another one."""
    try:
        op.stream(node.attrs, ins, outs, rows)
    except NeedsFuture:
        return False
    return not any(carries_time(ins[i], axis, rows) for i, axis in op.mixes(node.attrs, ins))
