"""Whether a model can run one time step at a time, and if not, which node prevents it."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgelstm import ops
from edgelstm.builder import stand_in
from edgelstm.errors import ShapeError
from edgelstm.facts import infer_node
from edgelstm.graph import Graph
from edgelstm.ops.op import Fact, NeedsFuture


@dataclass(frozen=True)
class Streaming:
    """`ok`, or the node that prevents streaming and the reason."""

    ok: bool
    node: str = ""
    reason: str = ""

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
    if any(isinstance(d, int) for d in times):
        return Streaming(False, reason=f"the model accepts exactly {min(d for d in times if isinstance(d, int))} time steps")
    time = stand_in(len(symbols))
    lengths = {symbol: time if symbol in times else stand_in(i) for i, symbol in enumerate(symbols)}
    return _ask_nodes(graph, lengths, time) or Streaming(True)


def _ask_nodes(graph: Graph, lengths: dict[str, int], time: int) -> Streaming | None:
    states = dict(graph.states)
    facts = {name: Fact(array.shape, str(array.dtype), array) for name, array in graph.constants.items()}
    for port in graph.inputs:
        shape = tuple(lengths.get(d, d) for d in port.shape)
        sources = frozenset() if port.name in states else frozenset({port.name})
        facts[port.value] = Fact(shape, port.dtype, None, sources)
    for node in graph.nodes:
        op = ops.get(node.op)
        try:
            outs = infer_node(node, facts)
            ins = [None if name is None else facts[name] for name in node.inputs]
            ins += [None] * (len([n for n in op.inputs if not n.endswith("*")]) - len(ins))
            facts.update(outs)
            shown = [facts[name] for name in node.outputs if name is not None]
            if _runs(ins, shown):
                op.stream(node.attrs, ins, shown, time)
        except NeedsFuture as reason:
            return Streaming(False, node.name, str(reason))
        except ShapeError as error:
            return Streaming(False, node.name, str(error))
    return None


def _runs(ins: Iterable[Fact | None], outs: Iterable[Fact]) -> bool:
    """Whether a node computes anything at run time; shape arithmetic and constants do not."""
    return any(fact.value is None for fact in outs)


def step_shapes(graph: Graph, batch: int, steps: int) -> dict[str, tuple[int, ...]]:
    """The shape of every input for a batch and a number of time steps; other dynamic axes have length 1."""
    lengths: dict[str, int] = {}
    for port in graph.inputs:
        for axis, symbol in enumerate(port.shape):
            if isinstance(symbol, str):
                lengths[symbol] = batch if axis == port.batch else steps if axis == port.time else lengths.get(symbol, 1)
    return {port.name: tuple(lengths.get(d, d) for d in port.shape) for port in graph.inputs}


