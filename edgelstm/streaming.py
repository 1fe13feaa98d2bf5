"""Whether a model can run one time step at a time, and if not, which node prevents it."""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.expand import expand
from edgelstm.facts import infer, infer_node
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import Fact, NeedsFuture, time_axes
from edgelstm.ports import step_shapes
from edgelstm.record import record
from edgelstm.stand_ins import first_fitting, fixed_lengths, shapes_at, stand_in


@record()
class Streaming:
    """`ok`, or the node that prevents streaming and the reason.

    `carriers` names the nodes whose states a stream carries, `open` the axes whose length only the first frame tells.
    """

    ok: bool
    node: str = ""
    reason: str = ""
    carriers: frozenset[str] = frozenset()
    open: tuple[str, ...] = ()

    def check_frames(self) -> None:
        """Raise ShapeError where the frames of a stream have no length yet, for callers that must know it beforehand."""
        if self.open:
            axis = self.open[0]
            raise ShapeError(f"the length of a frame, {axis!r}, is open in this model: convert it with --fix {axis}=LENGTH")

    def __str__(self) -> str:
        where = f"node {self.node!r}: " if self.node else ""
        return "can stream" if self.ok else f"cannot stream: {where}{self.reason}"


def analyse(graph: Graph) -> Streaming:
    """Ask every op whether it works step by step. A model without a time axis streams by its explicit states, a call a step."""
    if not any(port.time is not None for port in graph.inputs):
        if graph.states:
            return _called_once_a_step(graph)
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


def _called_once_a_step(graph: Graph) -> Streaming:
    """Whether a model with explicit states and no time axis accepts frames: of length 1, or as the first frame tells."""
    roles = {d for port in graph.inputs for d in (port.shape[axis] for axis in (port.batch, port.time) if axis is not None)}
    kept = {d for name, _ in graph.states for d in graph.input(name).shape}
    free = sorted({d for port in graph.inputs for d in port.shape if isinstance(d, str)} - roles - kept)
    try:
        _fits(graph, {})
        return Streaming(True)
    except ShapeError as error:
        failure = error
    try:
        first_fitting(lambda scale: _fits(graph, {symbol: stand_in(i, scale) for i, symbol in enumerate(free)}))
        return Streaming(True, open=tuple(free))
    except ShapeError:
        return Streaming(False, reason=str(failure))


def _fits(graph: Graph, lengths: Mapping[str, int]) -> None:
    """Raise ShapeError where the model does not accept one step with these lengths."""
    shapes = step_shapes(graph, 1, 1, lengths)
    infer(expand(graph, shapes), shapes)


def _at_scale(graph: Graph, symbols: Sequence[str], times: Set[str], scale: int) -> Streaming:
    """The answer for stand-in lengths of one scale; a second time length tells which known values depend on it."""
    avoid = fixed_lengths(graph)
    walks = []
    for time in (stand_in(len(symbols), scale, avoid), stand_in(len(symbols) + 1, scale, avoid)):
        lengths = {symbol: time if symbol in times else stand_in(i, scale, avoid) for i, symbol in enumerate(symbols)}
        shapes = shapes_at(graph, lengths)
        walks.append(_Walk(expand(graph, shapes, loops=False), lengths, time))
    return walks[0].ask(other=walks[1])


class _Walk:
    """A model with a length for every symbol and what is known of its values. Raises ShapeError when it does not fit them.

    Explicit states have no sources: a stream carries them.
    """

    def __init__(self, graph: Graph, lengths: Mapping[str, int], time: int) -> None:
        self.graph, self.time = graph, time
        states = dict(graph.states)
        self.facts = {name: Fact(array.shape, str(array.dtype), array) for name, array in graph.constants.items()}
        for port in graph.inputs:
            shape = tuple(lengths.get(d, d) for d in port.shape)
            sources = frozenset() if port.name in states else frozenset({port.name})
            self.facts[port.value] = Fact(shape, port.dtype, None, sources)
        for node in graph.nodes:
            self.facts.update(infer_node(node, self.facts))

    def ask(self, other: "_Walk") -> Streaming:
        """The answer of every node in turn."""
        collapsed, carriers = set(), set()
        counting = {name for name, fact in self.facts.items() if _depends_on_time(fact, other.facts.get(name))}
        for node in self.graph.nodes:
            try:
                if self._ask(node, collapsed, counting):
                    carriers.add(node.name)
            except NeedsFuture as reason:
                return Streaming(False, node.name, str(reason))
        return Streaming(True, carriers=frozenset(carriers))

    def _ask(self, node: Node, collapsed: set[str], counting: Set[str]) -> bool:
        """Whether a stream carries states for a node; raises NeedsFuture when it can't work step by step.

        `collapsed` collects the values that stand for all steps so far, such as a last output: at every step of a stream they
        have another value than at the end of the sequence, so nothing may spread them over time again. `counting` holds the
        known values that depend on the number of steps.
        """
        op = ops.get(node.op)
        ins = op.padded([None if name is None else self.facts[name] for name in node.inputs])
        names = [name for name in node.outputs if name is not None]
        outs = [self.facts[name] for name in names]
        spread = any(time_axes(fact, self.time) for fact in outs)
        if all(fact.value is not None for fact in outs) and not spread:
            return False
        slots = op.stream(node.attrs, ins, outs, self.time)
        self._check_counting(node, counting)
        taken = [name for name in node.inputs if name in collapsed]
        if spread and taken:
            raise NeedsFuture("it combines every time step with a value that is complete only after the last one")
        if taken or any(time_axes(fact, self.time) for fact in ins):
            collapsed.update(name for name in names if not time_axes(self.facts[name], self.time))
        return bool(slots)

    def _check_counting(self, node: Node, counting: Set[str]) -> None:
        op = ops.get(node.op)
        selecting = bool(time_axes(self.facts[node.inputs[0]], self.time)) if node.inputs and node.inputs[0] else False
        steering = {*op.parameters, *(op.selectors if selecting else ())}
        for role, name in zip(op.roles(len(node.inputs)), node.inputs, strict=True):
            if name in counting and role not in steering:
                raise NeedsFuture("it computes with a number that depends on how many time steps there are")


def _depends_on_time(fact: Fact, other: Fact | None) -> bool:
    """Whether a value is known and another one for another number of time steps."""
    if fact.value is None or other is None or other.value is None:
        return False
    return not np.array_equal(fact.value, other.value, equal_nan=fact.dtype == "float32")
