"""Whether a model can run one time step at a time, and if not, which node prevents it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.expand import expand
from edgelstm.facts import infer_node
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import Fact, NeedsFuture, time_axes
from edgelstm.stand_ins import first_fitting, stand_in


@dataclass(frozen=True)
class Streaming:
    """`ok`, or the node that prevents streaming and the reason. `carriers` names the nodes whose states a stream carries."""

    ok: bool
    node: str = ""
    reason: str = ""
    carriers: frozenset[str] = frozenset()

    def __str__(self) -> str:
        where = f"node {self.node!r}: " if self.node else ""
        return "can stream" if self.ok else f"cannot stream: {where}{self.reason}"


def analyse(graph: Graph) -> Streaming:
    """Ask every op whether it works step by step. A model without a time axis streams by its explicit states, a call a step."""
    if not any(port.time is not None for port in graph.inputs):
        if graph.states:
            return Streaming(True)
        return Streaming(False, reason="the model has no time axis and no state")
    symbols = sorted({d for port in graph.inputs for d in port.shape if isinstance(d, str)})
    times = {port.shape[port.time] for port in graph.inputs if port.time is not None}
    fixed = [d for d in times if isinstance(d, int)]
    if fixed:
        return Streaming(False, reason=f"the model accepts exactly {min(fixed)} time steps")
    try:
        return first_fitting(lambda scale: _at_scale(graph, symbols, times, scale))
    except ShapeError as error:
        return Streaming(False, reason=str(error))


def _at_scale(graph: Graph, symbols: Sequence[str], times: Set[str], scale: int) -> Streaming:
    time = stand_in(len(symbols), scale)
    lengths = {symbol: time if symbol in times else stand_in(i, scale) for i, symbol in enumerate(symbols)}
    shapes = {port.name: tuple(lengths.get(d, d) for d in port.shape) for port in graph.inputs}
    return _ask_nodes(expand(graph, shapes, loops=False), lengths, time)


def _ask_nodes(graph: Graph, lengths: Mapping[str, int], time: int) -> Streaming:
    """The answer of every node in turn. Raises ShapeError when the model does not work for these lengths."""
    states, collapsed, carriers = dict(graph.states), set(), set()
    facts = {name: Fact(array.shape, str(array.dtype), array) for name, array in graph.constants.items()}
    for port in graph.inputs:
        shape = tuple(lengths.get(d, d) for d in port.shape)
        sources = frozenset() if port.name in states else frozenset({port.name})
        facts[port.value] = Fact(shape, port.dtype, None, sources)
    for node in graph.nodes:
        try:
            facts.update(infer_node(node, facts))
            if _ask(node, facts, time, collapsed):
                carriers.add(node.name)
        except NeedsFuture as reason:
            return Streaming(False, node.name, str(reason))
    return Streaming(True, carriers=frozenset(carriers))


def _ask(node: Node, facts: Mapping[str, Fact], time: int, collapsed: set[str]) -> bool:
    """Whether a stream carries states for a node; raises NeedsFuture when it can't work step by step.

    `collapsed` collects the values that stand for all steps so far, such as a last output: at every step of a stream they have
    another value than at the end of the sequence, so nothing may spread them over time again.
    """
    op = ops.get(node.op)
    ins = [None if name is None else facts[name] for name in node.inputs]
    ins += [None] * (len([n for n in op.inputs if not n.endswith("*")]) - len(ins))
    names = [name for name in node.outputs if name is not None]
    outs = [facts[name] for name in names]
    spread = any(time_axes(fact, time) for fact in outs)
    if all(fact.value is not None for fact in outs) and not spread:
        return False
    slots = op.stream(node.attrs, ins, outs, time)
    taken = [name for name in node.inputs if name in collapsed]
    if spread and taken:
        raise NeedsFuture("it combines every time step with a value that is complete only after the last one")
    if taken or any(time_axes(fact, time) for fact in ins):
        collapsed.update(name for name in names if not time_axes(facts[name], time))
    return bool(slots)


def step_shapes(graph: Graph, batch: int, steps: int) -> dict[str, tuple[int, ...]]:
    """The shape of every input for a batch and a number of time steps; other dynamic axes have length 1."""
    lengths: dict[str, int] = {}
    for port in graph.inputs:
        for axis, symbol in enumerate(port.shape):
            if isinstance(symbol, str):
                lengths[symbol] = batch if axis == port.batch else steps if axis == port.time else lengths.get(symbol, 1)
    return {port.name: tuple(lengths.get(d, d) for d in port.shape) for port in graph.inputs}


