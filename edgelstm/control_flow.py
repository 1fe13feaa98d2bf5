"""What is known of the outputs of control-flow nodes: which branch runs, how often a loop runs, and the shapes that follow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.op import Body, Fact

Facts = Mapping[str, Fact]
InferNode = Callable[[Any, Facts], dict[str, Fact]]

MOST_TRIPS = 200_000


def infer(node: Any, facts: Facts, infer_node: InferNode) -> dict[str, Fact]:
    """Facts of the outputs of an if_else or loop node.

    Raises UnsupportedError where the branch or the number of iterations depends on the data, ShapeError where something
    does not fit.
    """
    outs = _branch(node, facts, infer_node) if node.op == "if_else" else _loop(node, facts, infer_node)
    return {name: fact for name, fact in zip(node.outputs, outs, strict=False) if name is not None}


def taken(node: Any, facts: Facts) -> Body:
    """The subgraph that an if_else node runs. Raises ShapeError for a branch that is not supported."""
    body = node.attrs["then" if known_bool(_where(node), facts[node.inputs[0]]) else "otherwise"]
    if len(body.outputs) < len(node.outputs):
        raise ShapeError(
            f"{_where(node)}: these shapes choose the branch that fits a single length only, or changes the rank "
            "of values; supported: the lengths that choose the other branch"
        )
    return body


def known_bool(where: str, fact: Fact) -> bool:
    """The value of a condition; `where` names its node. Raises UnsupportedError when it depends on the data."""
    if fact.value is None:
        sources = sorted(fact.sources)
        hint = f"; give the input a value with fix={{{sources[0]!r}: ...}}" if sources else ""
        raise UnsupportedError(
            f"{where}: its condition depends on the data of {', '.join(sources) or 'the model'}{hint}; "
            "supported: a condition that follows from constants and shapes"
        )
    if fact.size != 1:
        raise ShapeError(f"{where}: its condition has {fact.size} elements; one is expected")
    return bool(np.ravel(fact.value)[0])


def trip_count(node: Any, facts: Facts, infer_node: InferNode) -> int:
    """How often a loop runs. Raises UnsupportedError when that depends on the data, or when it is more than MOST_TRIPS."""
    limit = _limit(node, facts)
    goes_on = node.inputs[1] is None or known_bool(_where(node), facts[node.inputs[1]])
    body: Body = node.attrs["body"]
    if not goes_on:
        return 0
    if body.outputs[0] == body.inputs[1]:
        return _checked_limit(node, limit)
    needed, steps = _control_slice(node)
    carried = {name: facts[node.inputs[2 + k]] for k, name in needed.items()}
    captured = _captured(node, facts)
    key = (limit, *_prints(steps, captured | carried))
    if key not in body.trips:
        body.trips[key] = _counted(node, steps, needed, captured, carried, limit, infer_node)
    return body.trips[key]


def _prints(steps: Sequence[Any], known: Facts) -> list[tuple]:
    """What the steps of a condition see, as values that can be compared."""
    read = sorted({name for inner in steps for name in inner.inputs if name in known})
    facts = [known[name] for name in read]
    return [(name, f.shape, f.dtype, None if f.value is None else f.value.tobytes())
            for name, f in zip(read, facts, strict=True)]


def _counted(node: Any, steps: Sequence[Any], needed: Mapping[int, str], captured: Facts, carried: Facts, limit: int | None,
             infer_node: InferNode) -> int:
    """The number of iterations, found by walking the condition alone through all of them."""
    body: Body = node.attrs["body"]
    trips, goes_on = 0, True
    while goes_on and (limit is None or trips < limit):
        _check_trips(node, trips)
        local = {**captured, **carried, **_counters(body, trips)}
        for inner in steps:
            local.update(infer_node(inner, local))
        goes_on = known_bool(_where(node), local[body.outputs[0]])
        carried = {name: local[body.outputs[1 + k]] for k, name in needed.items()}
        trips += 1
    return trips


def first_step(node: Any, facts: Facts, infer_node: InferNode) -> dict[str, Fact]:
    """Facts of every value of a loop's body in its first iteration. Shapes stay; values may differ in the next one."""
    body: Body = node.attrs["body"]
    before = {body.inputs[2 + k]: facts[node.inputs[2 + k]] for k in range(node.attrs["carried"])}
    captured = {name: _never_empty(fact) for name, fact in _captured(node, facts).items()}
    local = {**captured, **before, **_counters(body, 0)}
    for inner in body.nodes:
        local.update(infer_node(inner, local))
    return local


def _branch(node: Any, facts: Facts, infer_node: InferNode) -> list[Fact]:
    body = taken(node, facts)
    local = {inner: facts[outer] for inner, outer in zip(body.inputs, node.inputs[1:], strict=True)}
    for inner in body.nodes:
        local.update(infer_node(inner, local))
    return [local[name] for name in body.outputs]


def _loop(node: Any, facts: Facts, infer_node: InferNode) -> list[Fact]:
    body, carried = node.attrs["body"], node.attrs["carried"]
    trips = trip_count(node, facts, infer_node)
    local = first_step(node, facts, infer_node)
    outs = [local[name] for name in body.outputs[1:]]
    for k, (name, out) in enumerate(zip(body.inputs[2:], outs[:carried], strict=False)):
        if local[name].shape != out.shape or local[name].dtype != out.dtype:
            raise ShapeError(
                f"{_where(node)}: its carried value number {k} is {local[name].dtype} "
                f"{list(local[name].shape)} before an iteration and {out.dtype} {list(out.shape)} after it; "
                "supported: values that keep their shape"
            )
    sources = frozenset().union(*(facts[name].sources for name in node.inputs if name is not None))
    outs[carried:] = [Fact((trips, *out.shape), out.dtype, None, out.sources) for out in outs[carried:]]
    return [Fact(f.shape, f.dtype, None, sources) for f in outs]


def _limit(node: Any, facts: Facts) -> int | None:
    if node.inputs[0] is None:
        return None
    fact = facts[node.inputs[0]]
    if fact.value is None or fact.size != 1:
        raise UnsupportedError(
            f"{_where(node)}: its number of iterations depends on the data of "
            f"{', '.join(sorted(fact.sources)) or 'the model'}; supported: one that follows from shapes"
        )
    return max(int(np.ravel(fact.value)[0]), 0)


def _checked_limit(node: Any, limit: int | None) -> int:
    _check_trips(node, MOST_TRIPS if limit is None else limit - 1)
    return limit


def _check_trips(node: Any, trips: int) -> None:
    if trips >= MOST_TRIPS:
        raise UnsupportedError(
            f"{_where(node)} runs more than {MOST_TRIPS} times, or for ever; supported: up to {MOST_TRIPS} iterations"
        )


def _control_slice(node: Any) -> tuple[dict[int, str], list[Any]]:
    """What decides whether a loop goes on: {number: body input} of the carried values, and the nodes of the body."""
    body: Body = node.attrs["body"]
    places = {body.inputs[2 + k]: k for k in range(node.attrs["carried"])}
    wanted, before = {body.outputs[0]}, -1
    steps: list[Any] = []
    while len(wanted) != before:
        before = len(wanted)
        steps = [inner for inner in body.nodes if wanted & set(inner.outputs)]
        wanted.update(name for inner in steps for name in inner.inputs if name is not None)
        wanted.update(body.outputs[1 + k] for name, k in places.items() if name in wanted)
    return {k: name for name, k in places.items() if name in wanted}, steps


def _captured(node: Any, facts: Facts) -> dict[str, Fact]:
    start = 2 + node.attrs["carried"]
    return {inner: facts[outer] for inner, outer in zip(node.attrs["body"].inputs[start:], node.inputs[start:], strict=True)}


def _never_empty(fact: Fact) -> Fact:
    """A fact with length 1 for empty axes: a loop over no steps has the shapes of a step all the same."""
    if fact.size or fact.value is not None:
        return fact
    return Fact(tuple(max(n, 1) for n in fact.shape), fact.dtype, None, fact.sources)


def _counters(body: Body, trip: int) -> dict[str, Fact]:
    """Facts of the iteration number and the condition; the condition holds inside a loop."""
    return {body.inputs[0]: Fact((), "int64", np.asarray(trip, np.int64)), body.inputs[1]: Fact((), "bool", np.asarray(True))}


def _where(node: Any) -> str:
    return f"node {node.name!r} ({node.op})"
