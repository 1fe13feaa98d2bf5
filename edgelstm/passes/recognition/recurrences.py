"""Puts recurrent nodes in the place of unrolled chains and of loops that compute the same."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgelstm import control_flow, ops
from edgelstm.errors import EdgeLSTMError
from edgelstm.expand import Writer
from edgelstm.facts import infer_node
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import Fact
from edgelstm.passes.recognition.chains import Chain, ChainFinder
from edgelstm.passes.recognition.forms import Algebra, Form
from edgelstm.passes.recognition.reading import Reading
from edgelstm.passes.recognition.writing import Writing

_NO_LIMIT = 2**31 - 1  # a constant number of iterations below it may cut long sequences short
_SAMPLED = 3  # iterations of a loop that are compared with the equations


def without_chains(graph: Graph, facts: Mapping[str, Fact]) -> Graph:
    """The graph with every unrolled recurrence as a recurrent node."""
    reading = Reading(Algebra(), facts)
    reading.read(graph.nodes)
    chains = ChainFinder(reading).find()
    known = {*graph.constants, *(port.value for port in graph.inputs), *(o for n in graph.nodes for o in n.outputs if o)}
    writing = Writing(reading, known, _common_prefix(graph))
    written = [chain for chain in chains if writing.write(chain)]
    if not written:
        return graph
    meaning = _meaning(graph.nodes, reading, writing, written)
    notes = [_note(chain, writing.written[chain], f"{len(chain.steps)} unrolled steps") for chain in written]
    return _rewritten(graph, [*graph.nodes, *writing.nodes], writing, meaning, notes)


def without_loops(graph: Graph, facts: Mapping[str, Fact]) -> Graph:
    """The graph with every loop that is a recurrence as recurrent nodes."""
    for name in [node.name for node in graph.nodes if node.op == "loop"]:
        loop = next(node for node in graph.nodes if node.name == name)
        if all(value is None or value in facts for value in loop.inputs):
            graph = _without_loop(graph, loop, facts)
    return graph


def _without_loop(graph: Graph, loop: Node, facts: Mapping[str, Fact]) -> Graph:
    """The graph with one loop replaced, or the graph itself when the loop is something else."""
    try:
        trips = control_flow.trip_count(loop, facts, infer_node)
        writer = Writer(dict(facts))
        outs = writer.iterations(loop, min(trips, _SAMPLED))
    except EdgeLSTMError:
        return graph
    limit = graph.constants.get(loop.inputs[0])
    if limit is not None and trips < limit.item() < _NO_LIMIT:
        return graph
    reading = Reading(Algebra(), writer.facts)
    reading.read(writer.nodes)
    writing = Writing(reading, {name for name in loop.inputs if name is not None}, loop.name)
    chains = [chain for chain in ChainFinder(reading, partial=True).find() if _runs(chain, facts) == trips]
    written = [chain for chain in chains if len(chain.steps) == _SAMPLED and writing.write(chain)]
    meaning: dict[str, str] = {}
    for name, out in zip(loop.outputs, outs, strict=False):
        found = None if name is None else _replacement(out, reading, writing, written, whole=True)
        if name is not None and found is None:
            return graph
        if name is not None:
            meaning[name] = found
    notes = [_note(chain, writing.written[chain], f"the loop {loop.name!r}") for chain in written]
    at = graph.nodes.index(loop)
    nodes = [*graph.nodes[:at], *writing.nodes, *graph.nodes[at + 1 :]]
    return _rewritten(graph, nodes, writing, meaning, notes)


def _runs(chain: Chain, facts: Mapping[str, Fact]) -> int:
    """How many steps the sequence of a chain has."""
    while chain.source.chain is not None:
        chain = chain.source.chain
    return facts[chain.source.value].shape[chain.source.axis] if chain.source.value in facts else -1


def _meaning(nodes: Sequence[Node], reading: Reading, writing: Writing, chains: Sequence[Chain]) -> dict[str, str]:
    """For every value that a chain computes, the value that takes its place."""
    found = {}
    for node in nodes:
        for name in node.outputs:
            if name is not None and (name in reading.forms or name in reading.stacks):
                value = _replacement(name, reading, writing, chains, whole=False)
                found |= {} if value is None else {name: value}
    return found


def _replacement(name: str, reading: Reading, writing: Writing, chains: Sequence[Chain], whole: bool) -> str | None:
    """The value equal to a last state, a stack of outputs or, unless the `whole` sequence is unknown, an output."""
    for chain in chains:
        if name in reading.stacks:
            value = _stack(reading.stacks[name], writing, chain)
        else:
            value = _single(reading.form(name), writing, chain, only_states=whole)
            value = None if value is None else writing.shaped(value, reading.facts[name].shape)
        if value is not None:
            return value
    return None


def _stack(stack: tuple[int, list[Form]], writing: Writing, chain: Chain) -> str | None:
    axis, keys, shown = stack[0], [form.key for form in stack[1]], [form.key for form in chain.outputs]
    if axis > 1 or keys not in (shown, shown[::-1]):
        return None
    return writing.stacked(chain, axis, keys == shown)


def _single(form: Form, writing: Writing, chain: Chain, only_states: bool) -> str | None:
    for which in (0, 1):
        if form.terms and form.key == chain.states[-1][which].key:
            return writing.last_state(chain, which)
    keys = [shown.key for shown in chain.outputs]
    return writing.output(chain, keys.index(form.key)) if not only_states and form.key in keys else None


def _rewritten(
    graph: Graph, nodes: Sequence[Node], writing: Writing, meaning: Mapping[str, str], notes: Sequence[str]
) -> Graph:
    """The graph with these nodes, in which `meaning` takes the place of what was recognised."""
    renamed = [replace(node, inputs=tuple(meaning.get(name, name) for name in node.inputs)) for node in nodes]
    outputs = tuple(replace(port, value=meaning.get(port.value, port.value)) for port in graph.outputs)
    constants = {**graph.constants, **writing.constants}
    known = {*constants, *(port.value for port in graph.inputs)}
    return replace(graph, nodes=_ordered(renamed, known), outputs=outputs, constants=constants, notes=(*graph.notes, *notes))


def _ordered(nodes: Sequence[Node], known: set[str]) -> tuple[Node, ...]:
    """The nodes, each after those that it reads from, otherwise in their order."""
    known, waiting, done = set(known), list(nodes), []
    while waiting:
        later = []
        for node in waiting:
            if all(name is None or name in known for name in node.inputs):
                done.append(node)
                known.update(name for name in node.outputs if name is not None)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError(f"node {later[0].name!r} waits for itself")
        waiting = later
    return tuple(done)


def _common_prefix(graph: Graph) -> str:
    """The start of the names of new nodes; no name of the graph starts so."""
    taken = [*(node.name for node in graph.nodes), *graph.constants]
    prefix, number = "recognised", 1
    while any(name.startswith(f"{prefix}/") for name in taken):
        number += 1
        prefix = f"recognised{number}"
    return prefix


def _note(chain: Chain, name: str, what: str) -> str:
    mask = ", masked" if chain.mask is not None else ""
    backwards = ", backwards in time" if chain.backwards else ""
    return f"recognised {what} as {ops.get(chain.cell.kind).name} with {chain.cell.units} units{mask}{backwards}: node {name!r}"
