"""Arrays of any batch and number of steps over machine code that was made for a few rows: rows go one group after the other."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from edgelstm.aot.runtime.interface import Frame, Interface, State, Streaming
from edgelstm.aot.runtime.library import Library
from edgelstm.errors import ShapeError
from edgelstm.memory import address, aligned_zeros
from edgelstm.ports import Port

Shapes = Mapping[str, Sequence[int]]


class Program(NamedTuple):
    """The sizes of one run: rows of the batch, groups of rows, time steps, and the shape of every output."""

    batch: int
    groups: int
    steps: int
    outputs: tuple[tuple[int, ...], ...]


class Rows:
    """One carried state of all rows, which lies in pieces; `[...] = array` and `copy()` are all that a stream asks of it."""

    def __init__(self, blocks: np.ndarray, state: State, batch: int) -> None:
        self.dtype, axis = np.dtype(state.dtype), state.batch
        nbytes = int(np.prod(state.shape, dtype=np.int64)) * self.dtype.itemsize
        self._pieces = [block[state.offset : state.offset + nbytes].view(self.dtype).reshape(state.shape) for block in blocks]
        self._axis = 0 if axis is None else axis
        self.shape = state.shape if axis is None else (*state.shape[:axis], batch, *state.shape[axis + 1 :])
        self._split = axis is not None

    def copy(self) -> np.ndarray:
        if not self._split:
            return self._pieces[0].copy()
        whole = np.concatenate(self._pieces, self._axis)
        return whole.take(range(self.shape[self._axis]), self._axis)

    def __setitem__(self, key: object, value: Any) -> None:
        whole = np.broadcast_to(np.asarray(value, self.dtype), self.shape)
        if not self._split:
            self._pieces[0][...] = whole
            return
        width = self._pieces[0].shape[self._axis]
        for number, piece in enumerate(self._pieces):
            rows = whole[_part(self._axis, number * width, width)]
            piece[_part(self._axis, 0, rows.shape[self._axis])] = rows


class Memory(NamedTuple):
    """A state block for every group of rows, one arena, and the carried states by name with what they start with."""

    blocks: np.ndarray
    arena: np.ndarray
    explicit: dict[str, np.ndarray]
    slots: dict[str, tuple[Rows, np.ndarray]]


class Programs:
    """What a Stream asks of a model; see `edgelstm.programs` for the one that compiles."""

    def __init__(self, interface: Interface) -> None:
        self.graph, self.streaming, self._library = interface, Streaming(), Library(interface)

    def program(self, shapes: Shapes) -> Program:
        """The sizes of a run over these inputs. Raises ShapeError where the machine code can't do it."""
        model, batch, steps = self.graph, self.graph.rows, 1
        for port in model.inputs:
            batch = batch if port.batch is None else shapes[port.name][port.batch]
            steps = steps if port.time is None else shapes[port.name][port.time]
        if batch != model.rows and not model.independent_rows:
            raise ShapeError(f"the rows of this model depend on each other and it was built for {model.rows}, not {batch}; "
                             f"build it with batch={batch}")
        shown = [port for port in model.outputs if port.time is None]
        if steps == 0 and shown:
            raise ShapeError(f"the output {shown[0].name!r} is that of the last time step; give at least one")
        lengths = {"batch": batch, "time": steps}
        outputs = tuple(tuple(lengths.get(d, d) for d in port.shape) for port in model.outputs)
        return Program(batch, -(-batch // model.rows), steps, outputs)

    def for_stream(self, shapes: Shapes, memory: Memory) -> Program:
        return self.program(shapes)

    def session(self, program: Program, memory: Memory) -> "Session":
        return Session(self.graph, self._library, program, memory)

    def stream_memory(self, batch: int) -> Memory:
        """Fresh memory for so many rows, at its start."""
        model = self.graph
        blocks = [aligned_zeros((model.state_nbytes,), np.uint8) for _ in range(max(-(-batch // model.rows), 1))]
        slots: dict[str, tuple[Rows, np.ndarray]] = {}
        for block in blocks:
            self._library.init(address(block))
        for state in model.carried:
            rows = Rows(blocks, state, batch)
            slots[state.name] = rows, rows.copy()
        explicit = {state.source: slots[state.name][1] for state in model.carried if state.source}
        return Memory(blocks, aligned_zeros((model.arena_nbytes,), np.uint8), explicit, slots)


class _Job(NamedTuple):
    """One group of rows: the pointers of its frames, and what is copied before and after (destination, source)."""

    state: int
    pointers: list[int]
    before: list[tuple[np.ndarray, np.ndarray]]
    after: list[tuple[np.ndarray, np.ndarray]]
    keeps: list[np.ndarray]


class Session:
    """The machine code bound to memory and, by `bind`, to arrays in the model's own shapes."""

    def __init__(self, model: Interface, library: Library, program: Program, memory: Memory) -> None:
        self._model, self._library, self._program, self._memory = model, library, program, memory
        self._jobs: list[_Job] = []

    def bind(self, ports: Sequence[np.ndarray]) -> None:
        """Take the arrays of every input, then every output; explicit states are not read from them."""
        count = len(self._model.inputs)
        self._jobs = [self._job(group, ports[:count], ports[count:]) for group in range(self._program.groups)]

    def run(self) -> None:
        """All steps of all rows."""
        steps, arena, run = self._program.steps, address(self._memory.arena), self._library.run
        for job in self._jobs if steps else ():
            for target, source in job.before:
                target[...] = source
            run(job.state, arena, steps, *job.pointers)
            for target, source in job.after:
                target[...] = source

    def door(self, ports: Sequence[np.ndarray]) -> Callable[[], None]:
        """A function of no argument that makes one step over these arrays for good; it keeps all memory alive."""
        self.bind(ports)
        only = self._jobs[0]
        if len(self._jobs) > 1 or only.before or only.after:
            return self.run
        table = self._library.table(only.state, address(self._memory.arena), *only.pointers)
        call = partial(self._library.call, address(table))
        call.memory = (self, table, tuple(ports))
        return call

    def _job(self, group: int, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> _Job:
        job = _Job(address(self._memory.blocks[group]), [], [], [], [])
        for frame in self._model.input_frames:
            block, staged = self._frames(group, self._model.inputs[frame.index], frame, inputs[frame.index], job)
            if staged is not None:
                job.before.append((staged, block))
        for frame in self._model.output_frames:
            block, staged = self._frames(group, self._model.outputs[frame.index], frame, outputs[frame.index], job)
            if staged is not None:
                job.after.append((block, staged))
        return job

    def _frames(self, group: int, port: Port, frame: Frame, array: np.ndarray,
                job: _Job) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows of a group as frames one after the other, and where they are staged if they don't lie that way."""
        rows, shape = self._model.rows, frame.shape if port.time is None else (self._program.steps, *frame.shape)
        block = array if port.batch is None else array[_part(port.batch, group * rows, rows)]
        block = block if port.time is None else np.moveaxis(block, port.time, 0)
        if block.shape == shape and block.flags.c_contiguous:
            job.pointers.append(address(block))
            job.keeps.append(block)
            return block, None
        whole = aligned_zeros(shape, array.dtype)
        job.pointers.append(address(whole))
        job.keeps.append(whole)
        return block, whole[tuple(slice(n) for n in block.shape)]


def _part(axis: int, start: int, count: int) -> tuple[slice, ...]:
    """The index of `count` places of an axis."""
    return (*[slice(None)] * axis, slice(start, start + count))
