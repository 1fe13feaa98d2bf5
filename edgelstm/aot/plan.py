"""From a graph to the straight-line program of one time step that is compiled: calls, weights, state, arena, ports."""

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgelstm import kernels
from edgelstm.aot.probes import with_fitting_probes
from edgelstm.errors import BuildError, ShapeError, UnsupportedError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph, Port
from edgelstm.memory import ALIGNMENT, address, round_up
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.operands import Space
from edgelstm.program.plan import Program, StateLayout, plan, state_layout
from edgelstm.rows import independent
from edgelstm.streaming import analyse, step_shapes

WEIGHTS, STATE, ARENA = "weights", "state", "arena"

_KEYWORDS = frozenset(
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await "
    "co_return co_yield compl "
    "concept const const_cast consteval constexpr constinit continue decltype default delete do double "
    "dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace new "
    "noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return "
    "short signed sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef "
    "typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq "
    "int8_t int16_t int32_t int64_t uint8_t NULL EOF linux unix i386 errno stdin stdout stderr main "
    "state arena steps weights".split())


@dataclass(frozen=True)
class Place:
    """An address: a block (`weights`, `state`, `arena` or a port's identifier) and an offset in bytes."""

    block: str
    offset: int


@dataclass(frozen=True)
class Call:
    """One kernel call: for each parameter a Place, the word of a number, or None for a null pointer."""

    kernel: str
    args: tuple[Place | int | None, ...]


@dataclass(frozen=True)
class Frame:
    """An input or output of a step. `shape` is without the time axis, `batch` and `time` are axes of the model's own shape."""

    name: str
    identifier: str
    dtype: str
    shape: tuple[int, ...]
    batch: int | None
    time: int | None

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class State:
    """A carried state: where it lies in the state block and what it starts with; `batch` is its axis of rows.

    `source` and `result` name the ports of an explicit one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    batch: int | None = None
    initial: np.ndarray | None = None
    source: str = ""
    result: str = ""

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StepProgram:
    """Everything that the machine code of a model needs to know; `prefix` begins every C name.

    `input_shapes` and `output_shapes` are those of all ports of the model in one step, with explicit states and the time axis.
    Blocks and everything in them begin at multiples of `alignment` bytes; state and arena are never empty.
    """

    prefix: str
    graph: Graph
    batch: int
    calls: tuple[Call, ...]
    weights: bytes
    states: tuple[State, ...]
    state_nbytes: int
    arena_nbytes: int
    inputs: tuple[Frame, ...]
    outputs: tuple[Frame, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    alignment: int = ALIGNMENT

    @functools.cached_property
    def independent_rows(self) -> bool:
        """Whether the rows of a batch can be computed apart from each other."""
        return independent(self.graph)

    @property
    def initial_state(self) -> bytes:
        """The state block as `reset` leaves it."""
        block = bytearray(self.state_nbytes)
        for state in self.states:
            if state.initial is not None:
                array = np.ascontiguousarray(np.broadcast_to(state.initial, state.shape), state.dtype)
                block[state.offset : state.offset + state.nbytes] = array.tobytes()
        return bytes(block)


def step_program(graph: Graph, name: str, lanes: int, batch: int = 1, alignment: int = ALIGNMENT) -> StepProgram:
    """The program of one time step of `batch` rows. Raises UnsupportedError for a model that cannot stream, naming the node."""
    streaming = analyse(graph)
    if not streaming.ok:
        raise UnsupportedError(f"this model {streaming}; a build works one time step at a time")
    streaming.check_frames()
    shapes = step_shapes(graph, batch, 1)
    _check_batch(graph, shapes, batch)
    _check_frames(graph, batch)
    graph = with_fitting_probes(graph, shapes)
    layout = state_layout(graph, shapes, streaming.carriers, alignment)
    program = plan(graph, shapes, lanes, PackedWeights(), layout, alignment=alignment)
    inputs, outputs = _frames(graph, shapes, program)
    states, state_nbytes = _states(graph, layout, shapes, _row_axes(graph, layout, streaming.carriers, batch), alignment)
    hidden, arena_nbytes = _hidden_outputs(graph, program, alignment)
    blocks = _port_blocks(graph, [*inputs, *outputs], states, hidden)
    weights, places = _weights(program.constants, alignment)
    calls = tuple(_calls(program, blocks, places))
    return StepProgram(
        identifier(name, "model"), graph, batch, calls, weights, states, state_nbytes or alignment, arena_nbytes or alignment,
        inputs, outputs, tuple(tuple(shapes[port.name]) for port in graph.inputs), tuple(program.outputs), alignment)


def identifier(name: str, fallback: str, taken: Iterable[str] = ()) -> str:
    """A C identifier made from a name, different from the ones that are taken also where all are in capitals, as in macros."""
    word = re.sub(r"[^0-9A-Za-z_]+", "_", name).strip("_") or fallback
    word = f"{fallback}_{word}" if word[0].isdigit() else word
    found, number, known = word, 1, {name.upper() for name in taken}
    while found in _KEYWORDS or found.upper() in known:
        number += 1
        found = f"{word}_{number}"
    return found


def _check_batch(graph: Graph, shapes: dict[str, tuple[int, ...]], batch: int) -> None:
    for port in graph.inputs:
        if port.batch is not None and shapes[port.name][port.batch] != batch:
            fixed = shapes[port.name][port.batch]
            raise BuildError(f"the input {port.name!r} has the batch {fixed}; build it with batch={fixed}, not {batch}",
                             exit_code=2)


def _check_frames(graph: Graph, batch: int) -> None:
    """Raise UnsupportedError for an output that can't be cut into one frame a time step."""
    once, twice = (_output_shapes(graph, step_shapes(graph, batch, steps)) for steps in (1, 2))
    for port, one, two in zip(graph.outputs, once, twice, strict=True):
        if tuple(n * (1 + (axis == port.time)) for axis, n in enumerate(one)) != tuple(two):
            raise UnsupportedError(f"the output {port.name!r} has no time axis of its own ({list(one)} in one step, "
                                   f"{list(two)} in two), so it can't be cut into steps; make it (batch, time, ...)")


def _output_shapes(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> list[tuple[int, ...]]:
    facts = infer(expand(graph, shapes), shapes)
    return [facts[port.value].shape for port in graph.outputs]


def _frames(graph: Graph, shapes: dict[str, tuple[int, ...]], program: Program) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
    """The ports that a C program sees: all but the explicit states."""
    sources, results = dict(graph.states), {result for _, result in graph.states}
    taken: list[str] = []

    def frame(port: Port, shape: Sequence[int], fallback: str) -> Frame:
        taken.append(identifier(port.name, fallback, taken))
        left = tuple(n for axis, n in enumerate(shape) if axis != port.time)
        return Frame(port.name, taken[-1], port.dtype, left, port.batch, port.time)

    inputs = tuple(frame(port, shapes[port.name], "in") for port in graph.inputs if port.name not in sources)
    outputs = tuple(frame(port, shape, "out") for port, shape in zip(graph.outputs, program.outputs, strict=True)
                    if port.name not in results)
    return inputs, outputs


def _row_axes(graph: Graph, layout: StateLayout, carriers: Collection[str], batch: int) -> dict[tuple[str, str], int]:
    """The axis of each node's state that grows with the batch; none where the batch is fixed."""
    try:
        other = state_layout(graph, step_shapes(graph, batch + 1, 1), carriers).slots
    except ShapeError:
        return {}
    return {key: axis for key, slot in layout.slots.items() for axis, n in enumerate(slot.shape) if other[key].shape[axis] != n}


def _states(graph: Graph, layout: StateLayout, shapes: dict[str, tuple[int, ...]],
            row_axes: Mapping[tuple[str, str], int], alignment: int) -> tuple[tuple[State, ...], int]:
    """The nodes' own states, then the explicit ones, and the bytes of them all. Names as a stream shows them."""
    found, end = {}, layout.nbytes
    explicit = {}
    for source, result in graph.states:
        port = graph.input(source)
        state = State(source, port.dtype, tuple(shapes[source]), end, port.batch, None, source, result)
        explicit[source], end = state, end + round_up(state.nbytes, alignment)
    found.update(explicit)
    for (node, slot), declared in layout.slots.items():
        name = f"{node}.{slot}"
        name = f"{name} of the node" if name in found else name
        at, axis = layout.offsets[node, slot], row_axes.get((node, slot))
        found[name] = State(name, declared.dtype, tuple(declared.shape), at, axis, declared.initial)
    return tuple(found.values()), end


def _hidden_outputs(graph: Graph, program: Program, alignment: int) -> tuple[dict[str, int], int]:
    """Where the explicit state outputs lie in the arena before they are copied into the state, and the bytes of the arena."""
    places, end = {}, program.arena_nbytes
    shapes = {port.name: shape for port, shape in zip(graph.outputs, program.outputs, strict=True)}
    for _, result in graph.states:
        places[result] = end
        nbytes = int(np.prod(shapes[result], dtype=np.int64)) * np.dtype(graph.output(result).dtype).itemsize
        end += round_up(nbytes, alignment)
    return places, end


def _port_blocks(graph: Graph, frames: Sequence[Frame], states: Sequence[State], hidden: dict[str, int]) -> list[Place]:
    """Where every input, then every output begins."""
    count = len(frames) - sum(port.name not in hidden for port in graph.outputs)
    inputs = {frame.name: Place(frame.identifier, 0) for frame in frames[:count]}
    inputs |= {state.source: Place(STATE, state.offset) for state in states if state.source}
    outputs = {frame.name: Place(frame.identifier, 0) for frame in frames[count:]}
    outputs |= {name: Place(ARENA, offset) for name, offset in hidden.items()}
    return [*(inputs[port.name] for port in graph.inputs), *(outputs[port.name] for port in graph.outputs)]


def _weights(constants: Sequence[np.ndarray], alignment: int) -> tuple[bytes, dict[int, int]]:
    """All constants in one aligned block, equal ones once, and the offset in it of every constant's address."""
    block, offsets, known = bytearray(), {}, {}
    for array in sorted(constants, key=lambda array: array.nbytes):
        content = array.tobytes()
        if content not in known:
            known[content] = len(block)
            block += content.ljust(round_up(len(content), alignment), b"\0")
        offsets[address(array)] = known[content]
    return bytes(block), offsets


def _calls(program: Program, ports: Sequence[Place], weights: dict[int, int]) -> Iterable[Call]:
    """The program's table, read back as calls."""
    at = 1 + 2 * len(program.kernels)
    for name in program.kernels:
        args: list[Place | int | None] = []
        for _, kind in kernels.get(name).params:
            word, space = int(program.words[at]), int(program.spaces[at])
            args.append(_place(word, space, ports, weights) if kind.endswith("*") else word)
            at += 1
        yield Call(name, tuple(args))


def _place(word: int, space: int, ports: Sequence[Place], weights: dict[int, int]) -> Place | None:
    if space == Space.ABSOLUTE:
        return Place(WEIGHTS, weights[word]) if word else None
    if space >= Space.PORTS:
        port = ports[space - Space.PORTS]
        return Place(port.block, port.offset + word)
    return Place({Space.STATE: STATE, Space.ARENA: ARENA}[Space(space)], word)
