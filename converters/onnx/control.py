"""Control flow: an If with one condition for every length of the axes gives way to its branch; Loop and Scan become loops."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node
from edgelstm_converters.onnx.symbols import Mismatch

from edgelstm.builder import BodyBuilder
from edgelstm.control_flow import known_bool
from edgelstm.errors import FormatError
from edgelstm.ops.op import Fact


@node("If")
def branch(call: Call) -> list[Any]:
    then, otherwise = call.attr("then_branch"), call.attr("else_branch")
    condition = call.raw(0)
    if isinstance(condition, np.ndarray):
        if condition.size != 1:
            raise FormatError(f"its condition has {condition.size} elements; one is expected")
        return call.inline(then if np.ravel(condition)[0] else otherwise, [], call.builder)
    fact = call.fact(0)
    holds = known_bool(f"node {call.name!r} (If)", fact)
    if call.builder.is_settled(condition):
        return call.inline(then if holds else otherwise, [], call.builder)
    return _either(call, condition, holds)


def _either(call: Call, condition: str, holds: bool) -> list[Any]:
    """An if_else node for a condition that depends on the length of an axis, `holds` for the stand-in lengths.

    A branch that does not fit these lengths, such as a squeeze for length 1, stays empty and is refused when it is chosen.
    """
    found = [_branch(call, name, runs) for name, runs in (("then_branch", holds), ("else_branch", not holds))]
    captured = tuple(dict.fromkeys(value for body, outs in found for value in body.taken(outs)))
    then, otherwise = (body.finished(outs, captured) for body, outs in found)
    return list(call.add_many("if_else", condition, *captured, used=call.used, then=then, otherwise=otherwise))


def _branch(call: Call, name: str, runs: bool) -> tuple[BodyBuilder, list[str]]:
    body = call.builder.body()
    try:
        return body, _tensors(body, call.inline(call.attr(name), [], body))
    except Mismatch:
        if runs:
            raise
        return call.builder.body(), []


@node("Loop")
def loop(call: Call) -> list[Any]:
    graph = call.attr("body")
    names = [port.name for port in graph.input]
    results = [port.name for port in graph.output]
    n = call.n_inputs - 2
    if n < 0 or len(names) != 2 + n or len(results) < 1 + n:
        raise FormatError(f"its body has {len(names)} inputs and {len(results)} outputs for {n} carried values")
    body = call.builder.body()
    initial = [call.input(2 + k) for k in range(n)]
    changing = [k for k in range(n) if results[1 + k] != names[2 + k]]
    counters = [
        body.given("iteration", Fact((), "int64", np.asarray(0))),
        body.given("condition", Fact((), "bool", np.asarray(True))),
    ]
    values = [body.given(names[2 + k], body.fact(initial[k])) if k in changing else initial[k] for k in range(n)]
    outs = _tensors(body, call.inline(graph, [*counters, *values], body))
    kept = [outs[0], *(outs[1 + k] for k in changing), *outs[1 + n :]]
    used = [*(call.used[k] for k in changing), *call.used[n:]]
    found = _loop_node(call, body, (call.maybe(0), call.maybe(1)), [initial[k] for k in changing], kept, used)
    carried = dict(zip(changing, found, strict=False))
    return [carried.get(k, initial[k]) for k in range(n)] + found[len(changing) :]


@node("Scan", since=9)
def scan(call: Call) -> list[Any]:
    """A Scan as a loop that reads one slice of each scanned input an iteration."""
    graph, m = call.attr("body"), call.attr("num_scan_inputs")
    n, total = call.n_inputs - m, len(graph.output)
    if not 0 < m <= call.n_inputs or len(graph.input) != call.n_inputs or total < n:
        raise FormatError(f"its body has {len(graph.input)} inputs and {total} outputs for {n} states and {m} sequences")
    scanned = _scanned(call, n, m)
    body = call.builder.body()
    number = body.given("iteration", Fact((), "int64", np.asarray(0)))
    condition = body.given("condition", Fact((), "bool", np.asarray(True)))
    initial = [call.input(k) for k in range(n)]
    values = [body.given(graph.input[k].name, body.fact(value)) for k, value in enumerate(initial)]
    values += [
        body.add("gather", value, number, axis=axis, name=f"{call.name}/read{k}") for k, (value, axis) in enumerate(scanned)
    ]
    outs = _tensors(body, call.inline(graph, values, body))
    first, axis = scanned[0]
    trips = call.add("reshape", call.add("shape", first, start=axis, end=axis + 1), call.const(np.zeros(0, np.int64)))
    found = _loop_node(call, body, (trips, None), initial, [condition, *outs], call.used)
    axes = call.attr("scan_output_axes", None) or [0] * (total - n)
    backwards = call.attr("scan_output_directions", None) or [0] * (total - n)
    stacked = [
        value if value is None else _placed(call, value, axis, back)
        for value, axis, back in zip(found[n:], axes, backwards, strict=True)
    ]
    return found[:n] + stacked


def _loop_node(
    call: Call,
    body: BodyBuilder,
    control: tuple[str | None, str | None],
    initial: Sequence[str],
    outs: Sequence[str],
    used: Sequence[bool],
) -> list[str | None]:
    """The loop node for a body whose inputs are (iteration, condition, carried values); gives its outputs."""
    captured = tuple(body.taken(outs))
    finished = body.finished(outs, captured)
    found = call.add_many("loop", *control, *initial, *captured, used=list(used), body=finished, carried=len(initial))
    return list(found)


def _scanned(call: Call, n: int, m: int) -> list[tuple[str, int]]:
    """(value, axis) of every sequence that a Scan reads, those read backwards flipped."""
    axes = call.attr("scan_input_axes", None) or [0] * m
    backwards = call.attr("scan_input_directions", None) or [0] * m
    found = []
    for k, (axis, back) in enumerate(zip(axes, backwards, strict=True)):
        value = call.input(n + k)
        axis %= call.builder.rank(value)
        found.append((call.add("flip", value, axes=(axis,)) if back else value, axis))
    return found


def _placed(call: Call, value: str, axis: int, backwards: bool) -> str:
    """A stacked output with its steps along `axis`, in reverse order where asked for."""
    if backwards:
        value = call.add("flip", value, axes=(0,))
    rank = call.builder.rank(value)
    order = list(range(1, rank))
    order.insert(axis % rank, 0)
    return call.add("transpose", value, perm=tuple(order)) if axis % rank else value


def _tensors(body: BodyBuilder, values: Sequence[Any]) -> list[str]:
    """The outputs of a subgraph as values. Raises FormatError for sequences."""
    for value in values:
        if isinstance(value, list):
            raise FormatError("its subgraph gives a sequence; supported: tensors")
    return [body.constant(value) if isinstance(value, np.ndarray) else value for value in values]
