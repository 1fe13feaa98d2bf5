"""From a graph and concrete shapes to a Program: shapes folded, ops lowered, arena planned, arguments laid out."""

import functools
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm import kernels, ops
from edgelstm.errors import FormatError, ShapeError, UnsupportedError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph, Node
from edgelstm.memory import ALIGNMENT, round_up
from edgelstm.ops import strided
from edgelstm.ops.op import MAX_SIZE, Fact, StateSlot
from edgelstm.program import arena
from edgelstm.program.lowering import PackedWeights, PlanLowering
from edgelstm.program.operands import Buffer, Operand, Space
from edgelstm.record import record

Calls = Sequence[tuple[str, list[Any]]]  # kernel names, with their parameters in declared order


@record()
class StateLayout:
    """Where the states of one stream lie in its state block: (node, slot) -> byte offset."""

    slots: Mapping[tuple[str, str], StateSlot]
    offsets: Mapping[tuple[str, str], int]
    nbytes: int


@record()
class Program:
    """Kernel calls over unbound memory: immutable, shared by all sessions of the same shapes.

    `words` is the table [n, entry, block, ...] followed by the argument blocks; entry addresses and constants are final, every
    other address is relative to the base of its space (`spaces`, one number a word). `kernels` are the names called, in order.
    Of a team, member 0 makes all calls and the others those of kernels that end in `_team`.
    `outputs` holds the shape of every output, `ports` the number of inputs and outputs.
    """

    kernels: tuple[str, ...]
    words: np.ndarray
    spaces: np.ndarray
    outputs: tuple[tuple[int, ...], ...]
    ports: int
    arena_nbytes: int
    constants: tuple[np.ndarray, ...]

    @property
    def entry_words(self) -> slice:
        """The words that hold the kernels' entry addresses."""
        return slice(1, 1 + 2 * len(self.kernels), 2)

    @property
    def shared_calls(self) -> np.ndarray:
        """The numbers of the calls that every member of a team makes."""
        return np.flatnonzero([name.endswith("_team") for name in self.kernels])

    @functools.cached_property
    def port_words(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For every input, then every output, the words that address it: (index in `words`, byte offset)."""
        return tuple(tuple((int(word), int(self.words[word])) for word in np.flatnonzero(self.spaces == Space.PORTS + port))
                     for port in range(self.ports))

    @property
    def constant_nbytes(self) -> int:
        """Bytes of weights and other constants that one run reads."""
        return sum(array.nbytes for array in self.constants)


def state_layout(graph: Graph, shapes: Mapping[str, Sequence[int]], carriers: Collection[str],
                 alignment: int = ALIGNMENT) -> StateLayout:
    """The states of the nodes in `carriers`; `shapes` of one time step and of many give the same."""
    graph = expand(graph, shapes)
    facts = infer(graph, shapes)
    slots = {(node.name, name): slot for node in graph.nodes if node.name in carriers
             for name, slot in ops.get(node.op).slots(node.attrs, _inputs(node, facts)).items()}
    offsets, end = {}, 0
    for key, slot in slots.items():
        offsets[key] = end
        end += round_up(slot.nbytes, alignment)
    return StateLayout(slots, offsets, end)


def plan(graph: Graph, shapes: Mapping[str, Sequence[int]], lanes: int, packed: PackedWeights,
         states: StateLayout | None = None, members: int = 1, alignment: int = ALIGNMENT, in_parts: bool = True,
         rework: Callable[[Calls], None] | None = None) -> Program:
    """The Program of a graph for these input shapes; with `states`, one that carries them; with `members`, for a team of
    threads.

    Long sequences are worked on `in_parts`, as fits a cache, or as a whole. `rework` may change the calls before memory is
    given to their buffers.

    Raises ShapeError, UnsupportedError.

    Entry addresses are left zero: they are filled in when the kernels are linked.
    """
    graph = expand(graph, shapes)
    facts = infer(graph, shapes)
    low = PlanLowering(lanes, packed, None if states is None else states.offsets, members, in_parts)
    _check_ports(graph, facts)
    values = {name: Operand(f.shape, f.dtype, f.value, lasting=name in graph.constants) for name, f in facts.items()}
    for i, port in enumerate(graph.inputs):
        values[port.value].buffer = Buffer(values[port.value].nbytes, Space.PORTS + i)
    for node in _needed(graph, facts):
        _check_size(node, facts)
        _lower(low, node, values, facts)
    _outputs(low, graph, values)
    if states is not None:
        _feed_back(low, graph, values, facts)
    if rework is not None:
        rework(low.calls)
    buffers = _buffers(low)
    arena_nbytes = arena.place(buffers, alignment)
    words, spaces = _encode(low.calls)
    shown = tuple(facts[port.value].shape for port in graph.outputs)
    constants = tuple(b.array for b in buffers if b.array is not None)
    return Program(tuple(name for name, _ in low.calls), words, spaces, shown,
                   len(graph.inputs) + len(graph.outputs), arena_nbytes, constants)


def _check_ports(graph: Graph, facts: Mapping[str, Fact]) -> None:
    """Raise FormatError where a port or a state pair promises another type than the graph computes."""
    for port in graph.outputs:
        if facts[port.value].dtype != port.dtype:
            raise FormatError(f"output {port.name!r} is declared as {port.dtype}, the graph computes {facts[port.value].dtype}")
    for source, result in graph.states:
        before, after = facts[graph.input(source).value], facts[graph.output(result).value]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise FormatError(f"the state {source!r} is {before.dtype}{list(before.shape)}, "
                              f"{result!r} that follows it {after.dtype}{list(after.shape)}")


def _check_size(node: Node, facts: Mapping[str, Fact]) -> None:
    """Raise ShapeError where a node gives more than any memory is meant for."""
    for out in node.outputs:
        if out is not None and facts[out].size > MAX_SIZE:
            raise ShapeError(f"node {node.name!r} ({node.op}): its result would have {facts[out].size:,} elements; "
                             f"{MAX_SIZE:,} are supported; give shorter or fewer inputs")


def _needed(graph: Graph, facts: Mapping[str, Fact]) -> list[Node]:
    """The nodes whose outputs must be computed at run time, in order."""
    wanted = {port.value for port in graph.outputs if facts[port.value].value is None}
    needed = []
    for node in reversed(graph.nodes):
        if any(out in wanted for out in node.outputs if out is not None):
            needed.append(node)
            wanted.update(name for name in node.inputs if name is not None and facts[name].value is None)
    return needed[::-1]


def _inputs(node: Node, table: Mapping[str, Any]) -> list[Any]:
    """The node's entries of a table by value name, None where absent, as many as its op declares."""
    return ops.get(node.op).padded([None if name is None else table[name] for name in node.inputs])


def _lower(low: PlanLowering, node: Node, values: Mapping[str, Operand], facts: Mapping[str, Fact]) -> None:
    op = ops.get(node.op)
    outs = op.padded_outs([None if name is None else values[name] for name in node.outputs])
    try:
        low.lower(node, _inputs(node, values), outs, op.slots(node.attrs, _inputs(node, facts)))
    except UnsupportedError as error:
        raise UnsupportedError(f"node {node.name!r} ({node.op}): {error}") from None


def _outputs(low: PlanLowering, graph: Graph, values: Mapping[str, Operand]) -> None:
    """Let what is shown be written where it is shown: directly, or by a copy where its memory is taken."""
    first = Space.PORTS + len(graph.inputs)
    for j, port in enumerate(graph.outputs):
        operand = values[port.value]
        buffer = low.buffer(operand)
        if buffer.space is None:
            buffer.space = first + j
        else:
            target = Operand(operand.shape, operand.dtype, None, Buffer(operand.nbytes, first + j))
            _copy(low, operand, target)


def _feed_back(low: PlanLowering, graph: Graph, values: Mapping[str, Operand], facts: Mapping[str, Fact]) -> None:
    """Copy the explicit state outputs to the state inputs, once everything has run."""
    first = Space.PORTS + len(graph.inputs)
    names = [port.name for port in graph.outputs]
    for source, result in graph.states:
        target = values[graph.input(source).value]
        shape = facts[graph.output(result).value].shape
        shown = Operand(shape, target.dtype, None, Buffer(target.nbytes, first + names.index(result)))
        _copy(low, shown, target)


def _copy(low: PlanLowering, source: Operand, target: Operand) -> None:
    strided.copy(low, source, target, (source.size,), (1,), (1,))


def _buffers(low: PlanLowering) -> list[Buffer]:
    found = {id(low.buffer(p)): low.buffer(p) for _, params in low.calls for p in params if isinstance(p, Operand)}
    return list(found.values())


def _encode(calls: Calls) -> tuple[np.ndarray, np.ndarray]:
    """The table and argument blocks as 64-bit words, and the space of every word."""
    words, spaces = [len(calls)], [Space.ABSOLUTE]
    start = 1 + 2 * len(calls)
    for _, params in calls:
        words += [0, 8 * start]
        spaces += [Space.ABSOLUTE, Space.TABLE]
        start += len(params)
    for name, params in calls:
        for (_, kind), value in zip(kernels.get(name).params, params, strict=True):
            word, space = _word(kind, value)
            words.append(word)
            spaces.append(space)
    return np.array(words, np.int64), np.array(spaces, np.intp)


def _word(kind: str, value: Any) -> tuple[int, int]:
    if value is None:
        return 0, Space.ABSOLUTE
    if isinstance(value, Operand):
        return value.buffer.offset + value.start, value.buffer.space
    if kind == "f32":
        return struct.unpack("<i", struct.pack("<f", value))[0], Space.ABSOLUTE
    return int(value), Space.ABSOLUTE
