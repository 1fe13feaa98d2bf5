"""A Stream: one sequence that arrives step by step, with the state carried from call to call."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.arrays import as_port, check_shapes, describe, named_inputs
from edgelstm.errors import DeviceError, ShapeError
from edgelstm.graph import Port
from edgelstm.memory import aligned_zeros
from edgelstm.session import Session
from edgelstm.streaming import step_shapes

if TYPE_CHECKING:
    from edgelstm.model import Model

Frames = Any  # an array, a list of arrays or a dict of them


class Stream:
    """Carries the recurrent states of `batch` parallel sequences. Belongs to one thread at a time."""

    def __init__(self, model: "Model", batch: int = 1) -> None:
        if not isinstance(batch, int | np.integer) or batch < 1:
            raise ShapeError(f"a stream's batch is a whole number from 1 on, not {batch!r}")
        self._model, self._graph, self._batch = model, model.graph, int(batch)
        self._lock = threading.Lock()
        self._layout = model.stream_layout(self._batch)
        self._state = aligned_zeros((self._layout.nbytes,), np.uint8)
        shapes = step_shapes(self._graph, self._batch, 1)
        check_shapes(self._graph, shapes)
        program = model.stream_program(shapes, self._layout)
        self._ins = [aligned_zeros(shapes[port.name], port.dtype) for port in self._graph.inputs]
        self._outs = [aligned_zeros(shape, port.dtype)
                      for shape, port in zip(program.outputs, self._graph.outputs, strict=True)]
        self._session = Session(program, self._state)
        self._session.bind([*self._ins, *self._outs])
        self._door = self._session.door()
        self._slots = self._named_slots()
        self._in_frames = self._frames(self._graph.inputs, self._ins)
        self._out_frames = list(self._frames(self._graph.outputs, self._outs).values())
        explicit = dict(self._graph.states)
        self._frame_names = [name for name in self._in_frames if name not in explicit]
        self._shown = [i for i, p in enumerate(self._graph.outputs) if p.name not in explicit.values()]
        self._step = self._fast_step()
        self.reset()

    @property
    def batch(self) -> int:
        return self._batch

    @property
    def model(self) -> "Model":
        return self._model

    def step(self, frame: Frames, out: Any = None) -> Any:
        """One time step.

        `frame` has the input's shape without the time axis, and without the batch axis when the stream's batch is 1; a list or
        dict of frames when there are several inputs. Gives the outputs in the same way (a list when there are several), in
        `out` when it is given. Explicit state outputs are carried, not shown.
        """
        if not self._lock.acquire(blocking=False):
            raise DeviceError("this stream is in use by another thread; give every thread a stream of its own")
        try:
            return self._step(frame, out)
        finally:
            self._lock.release()

    def run(self, block: Frames) -> Any:
        """What `predict` would give for this block had it started from the stream's state; explicit states are not shown."""
        if not self._lock.acquire(blocking=False):
            raise DeviceError("this stream is in use by another thread; give every thread a stream of its own")
        try:
            return self._run_block(block)
        finally:
            self._lock.release()

    def reset(self) -> None:
        """Back to the start: states at zero, or at the initial values that the model gives them."""
        for name, (view, initial) in self._slots.items():
            view[...] = 0 if initial is None else initial

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A copy of every carried state by name."""
        return {name: view.copy() for name, (view, _) in self._slots.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` gave. Raises ShapeError when it belongs to another model or batch."""
        if set(state) != set(self._slots):
            raise ShapeError(f"the stream carries the states {sorted(self._slots)}, not {sorted(state)}")
        arrays = {name: np.asarray(array) for name, array in state.items()}
        for name, array in arrays.items():
            view, _ = self._slots[name]
            if array.shape != view.shape or array.dtype.kind not in "fiub":
                raise ShapeError(f"state {name!r} has the shape {array.shape}, expected {view.shape}")
        for name, array in arrays.items():
            self._slots[name][0][...] = array

    def _named_slots(self) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Views of the carried states by name, each with its initial value: the nodes' own and the explicit ones."""
        found: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for (node, slot), declared in self._layout.slots.items():
            start = self._layout.offsets[node, slot]
            nbytes = int(np.prod(declared.shape, dtype=np.int64)) * np.dtype(declared.dtype).itemsize
            view = self._state[start : start + nbytes].view(declared.dtype).reshape(declared.shape)
            found[f"{node}.{slot}"] = (view, declared.initial)
        for i, port in enumerate(self._graph.inputs):
            if port.name in dict(self._graph.states):
                found[port.name] = (self._ins[i], None)
        return found

    def _frames(self, ports: Sequence[Port], arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The buffers without the axes that a step leaves out, by port name."""
        return {port.name: _frame_view(port, array, self._batch) for port, array in zip(ports, arrays, strict=True)}

    def _fast_step(self) -> Callable[[Any, Any], Any]:
        """The function behind `step`: the shortest way for one input and one output, else the general one."""
        if len(self._frame_names) != 1 or len(self._shown) != 1:
            return self._general_step
        buffer, shown, door = self._in_frames[self._frame_names[0]], self._out_frames[self._shown[0]], self._door
        shape, dtype, shown_shape, shown_dtype = buffer.shape, buffer.dtype, shown.shape, shown.dtype
        slow, array_type = self._fill, np.ndarray

        def step(frame: Any, out: Any) -> np.ndarray:
            if type(frame) is array_type and frame.shape == shape and frame.dtype == dtype:
                buffer[...] = frame
            else:
                slow(frame)
            if out is None:
                door()
                return shown.copy()
            if type(out) is not array_type or out.shape != shown_shape or out.dtype != shown_dtype:
                self._check_out(out, shown)
            door()
            out[...] = shown
            return out

        return step

    def _general_step(self, frame: Any, out: Any) -> Any:
        shown = [self._out_frames[i] for i in self._shown]
        if out is not None:
            if not isinstance(out, list | tuple) or len(out) != len(shown):
                raise ShapeError(f"out is a list of {len(shown)} arrays for this model")
            for target, source in zip(out, shown, strict=True):
                self._check_out(target, source)
        self._fill(frame)
        self._door()
        if out is None:
            return [array.copy() for array in shown] if len(shown) != 1 else shown[0].copy()
        for target, source in zip(out, shown, strict=True):
            target[...] = source
        return out

    def _fill(self, frames: Any) -> None:
        """Copy frames into the input buffers. Raises ShapeError before anything is changed."""
        given = frames if isinstance(frames, Mapping) else self._by_name(frames)
        if set(given) != set(self._frame_names):
            raise ShapeError(f"a step takes frames for {self._frame_names}, not {sorted(given)}")
        ready = [(self._in_frames[name], self._as_frame(name, given[name])) for name in self._frame_names]
        for buffer, frame in ready:
            buffer[...] = frame

    def _by_name(self, frames: Any) -> dict[str, Any]:
        if len(self._frame_names) == 1:
            return {self._frame_names[0]: frames}
        if not isinstance(frames, list | tuple) or len(frames) != len(self._frame_names):
            raise ShapeError(f"a step takes a list or a dict of frames for {self._frame_names}")
        return dict(zip(self._frame_names, frames, strict=True))

    def _as_frame(self, name: str, frame: Any) -> np.ndarray:
        buffer, port = self._in_frames[name], self._graph.input(name)
        array = as_port(port, frame)
        whole = step_shapes(self._graph, self._batch, 1)[name]
        if array.shape != buffer.shape and array.shape != whole:
            raise ShapeError(f"a frame of {name!r} has the shape {array.shape}, expected {buffer.shape} (one step of {describe(port)})")
        return array.reshape(buffer.shape)

    def _check_out(self, out: Any, shown: np.ndarray) -> None:
        if not isinstance(out, np.ndarray) or out.shape != shown.shape or out.dtype != shown.dtype:
            found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise ShapeError(f"out is {found}, expected an array of {shown.dtype} {shown.shape}")

    def _run_block(self, block: Frames) -> Any:
        arrays = {name: as_port(self._graph.input(name), a) for name, a in named_inputs(self._graph, block).items()
                  if any(p.name == name for p in self._graph.inputs)}
        unknown = set(arrays) ^ set(self._frame_names)
        if unknown:
            raise ShapeError(f"a stream runs over blocks of {self._frame_names}; {sorted(unknown)} do not fit that")
        explicit = {p.name: self._ins[i] for i, p in enumerate(self._graph.inputs) if p.name not in self._frame_names}
        arrays = {p.name: explicit.get(p.name, arrays.get(p.name)) for p in self._graph.inputs}
        shapes = {name: array.shape for name, array in arrays.items()}
        self._check_block(shapes)
        program = self._model.stream_program(shapes, self._layout)
        outputs = [np.empty(s, p.dtype) for s, p in zip(program.outputs, self._graph.outputs, strict=True)]
        session = Session(program, self._state)
        session.bind([*arrays.values(), *outputs])
        session.run()
        shown = [outputs[i] for i in self._shown]
        return shown[0] if len(shown) == 1 else shown

    def _check_block(self, shapes: Mapping[str, Sequence[int]]) -> None:
        check_shapes(self._graph, shapes)
        for port in self._graph.inputs:
            found = None if port.batch is None else shapes[port.name][port.batch]
            if found not in (None, self._batch):
                raise ShapeError(f"the block of {port.name!r} has the batch {found}, the stream carries {self._batch}")


def _frame_view(port: Port, array: np.ndarray, batch: int) -> np.ndarray:
    """A view of a port's buffer without the time axis, and without the batch axis when the batch is 1."""
    dropped = {port.time, port.batch if batch == 1 else None} - {None}
    return array.reshape([n for axis, n in enumerate(array.shape) if axis not in dropped])
