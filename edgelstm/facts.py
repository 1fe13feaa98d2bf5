"""Shape arithmetic: what is known of every value once the shapes of the inputs are given."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm import control_flow, ops
from edgelstm.errors import EdgeLSTMError, ShapeError
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import MAX_RANK, NARROW, Fact, Op

Compute = Callable[[Op, Mapping[str, Any], list[np.ndarray | None]], list[np.ndarray]]

FOLD_LIMIT = 1 << 22  # elements; larger results of constant arithmetic are computed when the program runs


def infer(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> dict[str, Fact]:
    """Facts of every value of a graph, by value name. Raises ShapeError naming the node that does not fit.

    `shapes` gives the shape of every input by name.
    """
    facts = {name: Fact(array.shape, str(array.dtype), array) for name, array in graph.constants.items()}
    for port in graph.inputs:
        facts[port.value] = Fact(tuple(shapes[port.name]), port.dtype, None, frozenset({port.name}))
    for node in graph.nodes:
        facts.update(infer_node(node, facts))
    return facts


def infer_node(node: Node, facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """Facts of the outputs of one node."""
    op = ops.get(node.op)
    if op.controls:
        return control_flow.infer(node, facts, infer_node)
    ins = op.padded([None if value is None else facts[value] for value in node.inputs])
    try:
        _check_narrow(op, ins)
        outs = op.infer(node.attrs, ins)
    except ShapeError as error:
        raise ShapeError(f"node {node.name!r} ({node.op}): {error}", *error.args[1:]) from None
    if any(fact.rank > MAX_RANK for fact in outs):
        raise ShapeError(f"node {node.name!r} ({node.op}): its result has more than {MAX_RANK} axes")
    outs = _folded(op, node, ins, outs)
    return {name: fact for name, fact in zip(node.outputs, outs, strict=False) if name is not None}


def _check_narrow(op: Op, ins: Sequence[Fact | None]) -> None:
    """Raise ShapeError for an integer of few bits where the op does not say that it takes one."""
    for role, fact in zip(op.roles(len(ins)), ins, strict=True):
        anywhere = fact is not None and fact.dtype != "uint16" and "*" in op.narrow
        if fact is not None and fact.dtype in NARROW and role not in op.narrow and not anywhere:
            raise ShapeError(f"its input {role} is {fact.dtype}, which this op does not take")


def _folded(op: Op, node: Node, ins: list[Fact | None], outs: list[Fact]) -> list[Fact]:
    """The outputs with their sources and, where every input is known, their values."""
    sources = frozenset().union(*(fact.sources for fact in ins if fact is not None))
    outs = [Fact(f.shape, f.dtype, f.value, frozenset() if f.value is not None else sources) for f in outs]
    known = all(fact is None or fact.value is not None for fact in ins)
    if not (op.foldable and known) or any(f.value is not None or f.size > FOLD_LIMIT for f in outs):
        return outs
    values = evaluate(op, node, [None if fact is None else fact.value for fact in ins])
    return [Fact(f.shape, f.dtype, v.astype(f.dtype, copy=False)) for f, v in zip(outs, values, strict=True)]


def evaluate(op: Op, node: Node, ins: Sequence[np.ndarray | None],
             compute: Compute | None = None) -> list[np.ndarray]:
    """One op by its reference, or computed in another way: floats go in as float64, other dtypes as they are."""
    wide = op.padded([a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in ins])
    try:
        with np.errstate(all="ignore"):
            return op.reference(node.attrs, wide) if compute is None else compute(op, node.attrs, wide)
    except EdgeLSTMError as error:
        raise type(error)(f"node {node.name!r} ({node.op}): {error}") from None
