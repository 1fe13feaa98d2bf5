"""A Stream: one sequence that arrives step by step, with the state carried from call to call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.arrays import as_port, check_names, complete, converted, describe, named_inputs, whole_number
from edgelstm.errors import DeviceError, FormatError, ShapeError
from edgelstm.memory import aligned_zeros
from edgelstm.ports import Port, step_shapes

if TYPE_CHECKING:
    from edgelstm.program.plan import Program
    from edgelstm.programs import Programs
    from edgelstm.session import Session

Frames = Any  # an array, a list of arrays or a dict of them

IN_USE = "this stream is in use by another thread; give every thread a stream of its own"
_ALL = slice(None)
_ARRAY = np.ndarray
_DIFFERENT = (TypeError, ValueError, BufferError)  # what a memoryview raises when it is given another format or shape


class Stream:
    """Carries the recurrent states of `batch` parallel sequences. Belongs to one thread at a time.

    `advance()` is the bare native call: one time step from the arrays of `buffers()` into the arrays of `buffers()`. It copies
    nothing and, unlike the methods, does not look whether another thread is using the stream.
    """

    def __init__(self, programs: "Programs", batch: int = 1) -> None:
        self._batch = whole_number("a stream's batch", batch)
        self._programs, self._graph = programs, programs.graph
        self._free: list[None] = [None]  # taking its only element is one atomic operation, and cheaper than a lock
        shapes = step_shapes(self._graph, self._batch, 1)
        self._check_batch(shapes)
        explicit = dict(self._graph.states)
        self._frame_names = [port.name for port in self._graph.inputs if port.name not in explicit]
        self._shown = [i for i, p in enumerate(self._graph.outputs) if p.name not in explicit.values()]
        self._memory = programs.stream_memory(self._batch)
        self._kept, self._slots = self._memory.explicit, self._memory.slots
        self._session = self._fill = self._known_out = None
        self.advance = _not_open
        if not programs.streaming.open:
            self._open(shapes)
        self.reset()

    def _open(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Make program and buffers for frames of these shapes. Raises ShapeError when the model does not accept them."""
        program = self._programs.for_stream(shapes, self._memory)
        self._shapes = shapes
        self._ins = [self._kept[port.name] if port.name in self._kept else self._buffer(shapes[port.name], port.dtype)
                     for port in self._graph.inputs]
        self._outs = [self._buffer(shape, port.dtype)
                      for shape, port in zip(program.outputs, self._graph.outputs, strict=True)]
        session = self._programs.session(program, self._memory)
        advance = session.door([*self._ins, *self._outs])
        self._in_frames = self._frames(self._graph.inputs, self._ins)
        self._out_frames = list(self._frames(self._graph.outputs, self._outs).values())
        self._only = self._single()
        self._bind_views()
        self.advance, self._session = advance, session

    def _buffer(self, shape: Sequence[int], dtype: str) -> np.ndarray:
        """Zeroed memory for the frames of a port."""
        return aligned_zeros(shape, dtype)

    def _open_for(self, given: Mapping[str, Any]) -> None:
        """Open the stream with the lengths that its first frame tells."""
        if self._session is None:
            check_names(given, self._frame_names)
            self._open(step_shapes(self._graph, self._batch, 1, self._lengths(given)))

    def _lengths(self, frames: Mapping[str, Any]) -> dict[str, int]:
        """The lengths of the open axes in a frame, which may have its batch axis or leave it out."""
        found: dict[str, int] = {}
        for port in self._graph.inputs:
            if port.name in frames:
                shape = np.shape(frames[port.name])
                left_out = {port.time, port.batch} - {None} if len(shape) < len(port.shape) else set()
                axes = [d for axis, d in enumerate(port.shape) if axis not in left_out]
                found.update((d, n) for d, n in zip(axes, shape, strict=False) if d in self._programs.streaming.open)
        return found

    @property
    def batch(self) -> int:
        return self._batch

    def buffers(self) -> tuple[Any, Any]:
        """The stream's own arrays: (input, output) in the shapes of `step`, each a list where the model has several.

        Fill the input, call `advance()` and read the output, which the next step overwrites.
        """
        if self._session is None:
            _not_open()
        ins = [self._in_frames[name] for name in self._frame_names]
        outs = [self._out_frames[i] for i in self._shown]
        return tuple(arrays[0] if len(arrays) == 1 else arrays for arrays in (ins, outs))

    def step(self, frame: Frames, out: Any = None) -> Any:
        """One time step.

        `frame` has the input's shape without the time axis, and without the batch axis when the stream's batch is 1; a list or
        dict of frames when there are several inputs. Gives the outputs in the same way (a list when there are several), in
        `out` when it is given; passing the same `out` every time is fastest, and it is looked over only once: made read-only
        after its first step, it is written all the same. Explicit state outputs are carried, not shown. A frame or `out` that
        does not fit raises ShapeError and leaves the state as it was.
        """
        try:
            self._free.pop()
        except IndexError:
            raise DeviceError(IN_USE) from None
        try:
            if out is not None and out is not self._known_out:
                return self._checked_step(frame, out)
            if type(frame) is not _ARRAY:
                return self._checked_step(frame, out)
            try:
                self._fill[_ALL] = frame
            except _DIFFERENT:
                return self._checked_step(frame, out)
            self.advance()
            if out is None:
                return self._fresh()
            self._known_view[_ALL] = self._result
            return out
        finally:
            self._free.append(None)

    def run(self, block: Frames) -> Any:
        """What `predict` would give for this block had it started from the stream's state; explicit states are not shown."""
        with self._owned():
            return self._run_block(block)

    def check(self, frame: Frames) -> None:
        """Raise ShapeError when `step` would refuse the frame; nothing is changed."""
        self._ready(frame)

    def fitted(self, frame: Frames) -> list[np.ndarray]:
        """The arrays of a frame in the shapes of `buffers`, one for each input. Raises ShapeError where `step` refuses it."""
        return [array for _, array in self._ready(frame)]

    def reset(self) -> None:
        """Back to the start: states at zero, or at the initial values that the model gives them."""
        with self._owned():
            for view, initial in self._slots.values():
                view[...] = 0 if initial is None else initial

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A copy of every carried state by name."""
        with self._owned():
            return {name: view.copy() for name, (view, _) in self._slots.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` gave. Raises ShapeError when it belongs to another model or batch."""
        if not isinstance(state, Mapping) or set(state) != set(self._slots):
            found = sorted(state) if isinstance(state, Mapping) else type(state).__name__
            raise ShapeError(f"the stream carries the states {sorted(self._slots)}, not {found}")
        arrays = {name: converted(f"state {name!r}", str(self._slots[name][0].dtype), array) for name, array in state.items()}
        for name, array in arrays.items():
            view, _ = self._slots[name]
            if array.shape != view.shape:
                raise ShapeError(f"state {name!r} has the shape {array.shape}, expected {view.shape}")
        with self._owned():
            for name, array in arrays.items():
                self._slots[name][0][...] = array

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """The stream for the length of a block. Raises DeviceError when another thread has it."""
        try:
            self._free.pop()
        except IndexError:
            raise DeviceError(IN_USE) from None
        try:
            yield
        finally:
            self._free.append(None)

    def _check_batch(self, shapes: Mapping[str, Sequence[int]]) -> None:
        for port in self._graph.inputs:
            found = None if port.batch is None else shapes[port.name][port.batch]
            if found not in (None, self._batch):
                raise ShapeError(f"{port.name!r} has the batch {found}, the stream carries {self._batch}")

    def _frames(self, ports: Sequence[Port], arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The buffers without the axes that a step leaves out, by port name."""
        return {port.name: _frame_view(port, array, self._batch) for port, array in zip(ports, arrays, strict=True)}

    def _single(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Input and output of a model that has one of each."""
        if len(self._frame_names) != 1 or len(self._shown) != 1:
            return None
        return self._in_frames[self._frame_names[0]], self._out_frames[self._shown[0]]

    def _bind_views(self) -> None:
        """What the short way of `step` uses: memoryviews, which compare format and shape and copy in one go, of a flat frame.

        `_known_out` is the last `out` that was checked and `_known_view` its memory.
        """
        self._result = self._known_view = None
        if self._only is not None and self._only[0].ndim == 1:
            buffer, shown = self._only
            self._fill, self._fresh = memoryview(buffer), shown.copy
            self._result = memoryview(shown) if shown.ndim == 1 else None

    def _checked_step(self, frame: Any, out: Any) -> Any:
        self._open_for(frame if isinstance(frame, Mapping) else self._by_name(frame))
        shown = [self._out_frames[i] for i in self._shown]
        targets = None if out is None else self._targets(out, shown)
        for buffer, array in self._ready(frame):
            buffer[...] = array
        self.advance()
        if targets is None:
            return shown[0].copy() if len(shown) == 1 else [array.copy() for array in shown]
        for target, source in zip(targets, shown, strict=True):
            target[...] = source
        if self._result is not None:
            self._known_out, self._known_view = out, memoryview(out)
        return out

    def _targets(self, out: Any, shown: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`out` as a list of arrays that fit the outputs. Raises ShapeError."""
        targets = [out] if len(shown) == 1 else out
        if not isinstance(targets, list | tuple) or len(targets) != len(shown):
            raise ShapeError(f"out is a list of {len(shown)} arrays for this model")
        for target, source in zip(targets, shown, strict=True):
            _check_out(target, source)
        return list(targets)

    def _ready(self, frames: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        """Input buffers and what to copy into them. Raises ShapeError; nothing is changed."""
        self._open_for(frames if isinstance(frames, Mapping) else self._by_name(frames))
        if self._only is not None and type(frames) is np.ndarray:
            buffer, _ = self._only
            if frames.shape == buffer.shape and frames.dtype == buffer.dtype:
                return [(buffer, frames)]
        given = frames if isinstance(frames, Mapping) else self._by_name(frames)
        check_names(given, self._frame_names)
        missing = [name for name in self._frame_names if name not in given]
        if missing:
            raise ShapeError(f"a step takes frames for {self._frame_names}; {missing[0]!r} is missing")
        return [(self._in_frames[name], self._as_frame(name, given[name])) for name in self._frame_names]

    def _by_name(self, frames: Any) -> dict[str, Any]:
        if len(self._frame_names) == 1:
            return {self._frame_names[0]: frames}
        if not isinstance(frames, list | tuple) or len(frames) != len(self._frame_names):
            raise ShapeError(f"a step takes a list or a dict of frames for {self._frame_names}")
        return dict(zip(self._frame_names, frames, strict=True))

    def _as_frame(self, name: str, frame: Any) -> np.ndarray:
        buffer, port = self._in_frames[name], self._graph.input(name)
        array = as_port(port, frame)
        if array.shape != buffer.shape and array.shape != self._shapes[name]:
            raise ShapeError(f"a frame of {name!r} has the shape {array.shape}, expected {buffer.shape} "
                             f"(one step of {describe(port)})")
        return array.reshape(buffer.shape)

    def _run_block(self, block: Frames) -> Any:
        given = named_inputs(self._graph, block)
        check_names(given, self._frame_names)
        arrays = complete(self._graph, {**given, **self._kept}) | dict(self._kept)
        shapes = {name: array.shape for name, array in arrays.items()}
        self._check_batch(shapes)
        program = self._programs.for_stream(shapes, self._memory)
        outputs = [np.empty(s, p.dtype) for s, p in zip(program.outputs, self._graph.outputs, strict=True)]
        session = self._block_session(program)
        session.bind([*arrays.values(), *outputs])
        session.run()
        shown = [outputs[i] for i in self._shown]
        return shown[0] if len(shown) == 1 else shown

    def _block_session(self, program: "Program") -> "Session":
        return self._programs.session(program, self._memory)


def _not_open() -> None:
    """What stands for `advance` before a stream knows the length of its frames."""
    raise DeviceError("this model takes frames of a length that the first frame tells: give the first one to step")


def _check_out(out: Any, shown: np.ndarray) -> None:
    if not isinstance(out, np.ndarray) or out.shape != shown.shape or out.dtype != shown.dtype:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ShapeError(f"out is {found}, expected an array of {shown.dtype} {shown.shape}")
    if not out.flags.writeable:
        raise ShapeError("out is read-only")


def _frame_view(port: Port, array: np.ndarray, batch: int) -> np.ndarray:
    """A view of a port's buffer without the time axis, and without the batch axis when the batch is 1."""
    if (port.time is not None and array.shape[port.time] != 1) or (port.batch is not None and array.shape[port.batch] != batch):
        raise FormatError(f"{port.name!r} of shape {array.shape} has no batch {batch} and single step "
                              "where the file marks them")
    dropped = {port.time, port.batch if batch == 1 else None} - {None}
    return array.reshape([n for axis, n in enumerate(array.shape) if axis not in dropped])
