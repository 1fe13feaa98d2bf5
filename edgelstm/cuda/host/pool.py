"""A Pool on the device: the states of all its streams in one block, and a step of some of them as one graph.

A step gathers the rows of the streams that have a frame, computes them as one batch and scatters the new states. Batches are
powers of two, so that few programs serve all numbers of streams; rows without a stream are left out on both ways.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgelstm import rows
from edgelstm.cuda import driver
from edgelstm.cuda.driver import cuda, on
from edgelstm.cuda.host.ready import filling, host_bytes, put
from edgelstm.cuda.host.resident import View
from edgelstm.cuda.launching import THREADS, Launch, blocks_for, jit, launch
from edgelstm.errors import DeviceError
from edgelstm.graph import Port
from edgelstm.ports import step_shapes
from edgelstm.stream import Stream
from edgelstm.stream_pool import Pool

if TYPE_CHECKING:
    from edgelstm.cuda.backend import CudaPrograms
    from edgelstm.programs import StreamMemory


class Slot(NamedTuple):
    """A state of many rows as bytes: `outer` times all rows times `inner`."""

    name: str
    outer: int
    inner: int


@cache
def _move() -> Any:
    return jit(_copied)


def _copied(store, part, numbers, sizes, back):
    """Rows between a state of the pool and one of a batch: part[o, r] is store[o, numbers[r]]; back the other way.

    sizes: outer, rows of the batch, rows of the pool, words of a row. Rows whose number is negative are left as they are.
    """
    outer, rows_here, capacity, inner = sizes
    step = cuda.gridDim.x * cuda.blockDim.x
    for i in range(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x, outer * rows_here * inner, step):
        o, rest = i // (rows_here * inner), i % (rows_here * inner)
        row, word = rest // inner, rest % inner
        number = numbers[row]
        if number >= 0:
            at = (o * capacity + number) * inner + word
            if back:
                store[at] = part[i]
            else:
                part[i] = store[at]


def poolable(programs: "CudaPrograms") -> bool:
    """Whether streams of the model can be rows of one batch: frames of a known length, states with a batch axis each."""
    graph = programs.graph
    if not programs.streaming.ok or programs.streaming.open or not rows.independent(graph):
        return False
    return all(port.batch is not None for port in (*graph.inputs, *graph.outputs)) and None not in _slots(programs)


def _slots(programs: "CudaPrograms") -> list[Slot | None]:
    """Every state, None for one without a batch axis: the axis is the one that follows the batch of the stream."""
    two, three = (programs.stream_memory(batch).slots for batch in (2, 3))
    return [_slot(name, two[name][0], three[name][0]) for name in two]


def _slot(name: str, two: View, three: View) -> Slot | None:
    axes = [axis for axis, (n, m) in enumerate(zip(two.shape, three.shape, strict=True)) if n != m]
    if len(axes) != 1 or (two.shape[axes[0]], three.shape[axes[0]]) != (2, 3):
        return None
    outer, inner = (int(np.prod(part, dtype=np.int64)) for part in (two.shape[: axes[0]], two.shape[axes[0] + 1 :]))
    return Slot(name, outer, inner * two.dtype.itemsize)


class DevicePool(Pool):
    """Up to `capacity` streams that come and go, stepped together. Threads take turns."""

    def __init__(self, programs: "CudaPrograms", make: Callable[[], Stream], capacity: int) -> None:
        super().__init__(make, capacity)
        self._programs, self._lock = programs, threading.Lock()
        self._rows: dict[int, int] = {}
        self._unused = list(range(self._capacity))[::-1]
        self._slots = _slots(programs)
        self._memory = programs.stream_memory(self._capacity)
        self._starts = {name: _start_bytes(view, initial) for name, (view, initial) in programs.stream_memory(1).slots.items()}
        self._checker = make()
        self._frame, _ = self._checker.buffers()
        self._batches: dict[int, _Batch] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def open(self) -> int:
        with self._lock:
            if not self._unused:
                raise DeviceError(f"the pool is full: all of its {self._capacity} streams are open")
            self._start(self._unused[-1])
            handle, self._next = self._next, self._next + 1
            self._rows[handle] = self._unused.pop()
            return handle

    def step(self, frames: Mapping[int, Any]) -> dict[int, Any]:
        """One time step of every stream that has a frame, given on the host; the others stay as they are."""
        with self._lock:
            if not frames.keys() <= self._rows.keys():
                self._row(next(handle for handle in frames if handle not in self._rows))
            if not frames:
                return {}
            numbers = [self._rows[handle] for handle in frames]
            found = self._batch(len(numbers)).run(numbers, self._columns(list(frames.values())))
        if len(found) == 1:
            return dict(zip(frames, found[0], strict=True))
        return {handle: [arrays[k] for arrays in found] for k, handle in enumerate(frames)}

    def _columns(self, frames: list[Any]) -> list[Sequence[np.ndarray]]:
        """For every input the arrays of all streams. Raises ShapeError."""
        if isinstance(self._frame, np.ndarray):
            shape, dtype = self._frame.shape, self._frame.dtype
            if all([type(frame) is np.ndarray and frame.shape == shape and frame.dtype == dtype for frame in frames]):
                return [frames]  # a quarter of the time of what follows
        return list(zip(*map(self._checker.fitted, frames), strict=True))

    def close(self, handle: int) -> None:
        with self._lock:
            self._unused.append(self._row(handle))
            del self._rows[handle]

    def _row(self, handle: Any) -> int:
        try:
            return self._rows[handle]
        except (KeyError, TypeError):
            raise DeviceError(f"the pool has no open stream {handle!r}") from None

    def _start(self, row: int) -> None:
        """Set the states of a row to their initial values."""
        with on(self._programs.number):
            for slot in self._slots:
                memory = self._memory.slots[slot.name][0].memory
                for o, part in enumerate(self._starts[slot.name].reshape(slot.outer, slot.inner)):
                    put(memory, (o * self._capacity + row) * slot.inner, part)

    def _batch(self, count: int) -> "_Batch":
        """The programs for the next power of two of streams."""
        size = min(1 << (count - 1).bit_length(), self._capacity)
        if size not in self._batches:
            self._batches[size] = _Batch(self._programs, size, self._memory, self._slots, self._capacity)
        return self._batches[size]


class _Batch:
    """A program for `size` rows, with what moves their states out of the pool and back."""

    def __init__(self, programs: "CudaPrograms", size: int, pool: "StreamMemory", slots: Sequence[Slot], capacity: int) -> None:
        graph, number, memory = programs.graph, programs.number, programs.stream_memory(size)
        shapes = step_shapes(graph, size, 1)
        program = programs.for_stream(shapes, memory)
        shown = set(dict(graph.states).values())
        with on(number):
            ins = [memory.explicit[p.name] if p.name in memory.explicit else driver.pinned(shapes[p.name], p.dtype)
                   for p in graph.inputs]
            outs = [driver.pinned(shape, p.dtype) for shape, p in zip(program.outputs, graph.outputs, strict=True)]
            self._numbers = driver.pinned((size,), "int32")
            numbers = driver.empty(4 * size).view(np.int32)[:size]
            gather, scatter = ([_moving(slot, pool, memory, numbers, size, capacity, back) for slot in slots]
                               for back in (False, True))
        self._frames = [_rows_of(p, array) for p, array in zip(graph.inputs, ins, strict=True) if p.name not in memory.explicit]
        self._results = [_rows_of(p, array) for p, array in zip(graph.outputs, outs, strict=True) if p.name not in shown]
        told = filling([(numbers, self._numbers)])
        self._run = programs.session(program, memory).door([*ins, *outs], [told, *gather], scatter)

    def run(self, numbers: Sequence[int], columns: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
        """The outputs of the rows with these numbers, each with the rows first."""
        count = len(numbers)
        self._numbers[:count], self._numbers[count:] = numbers, -1
        for target, arrays in zip(self._frames, columns, strict=True):
            if target.ndim > 1 and target.flags.c_contiguous:  # a fifth of the time of np.stack
                np.concatenate(arrays, out=target[:count].reshape(-1, *target.shape[2:]))
            else:
                np.stack(arrays, out=target[:count])
        self._run()
        return [rows_of[:count].copy() for rows_of in self._results]


def _moving(slot: Slot, pool: "StreamMemory", batch: "StreamMemory", numbers: Any, size: int, capacity: int,
            back: bool) -> Launch:
    dtype, width = (np.int32, 4) if slot.inner % 4 == 0 else (np.uint8, 1)
    store, part = (memory.slots[slot.name][0].memory.view(dtype) for memory in (pool, batch))
    sizes = slot.outer, size, capacity, slot.inner // width
    return launch(_move(), blocks_for(slot.outer * size * sizes[3]), THREADS, store, part, numbers, sizes, back)


def _start_bytes(view: View, initial: np.ndarray | None) -> np.ndarray:
    """The initial value of one row as bytes."""
    start = np.empty(view.shape, view.dtype)
    start[...] = 0 if initial is None else initial
    return host_bytes(start)


def _rows_of(port: Port, array: np.ndarray) -> np.ndarray:
    """A view of a step's array with the rows first and without the time axis."""
    moved = np.moveaxis(array, port.batch, 0)
    return moved if port.time is None else moved.squeeze(port.time + (port.time < port.batch))
