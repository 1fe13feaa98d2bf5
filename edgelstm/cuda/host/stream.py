"""A Stream whose states stay on the device: a step is one graph, frames of the host go through pinned memory, and frames on the
device are read where they are.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.arrays import check_names, named_inputs
from edgelstm.cuda import driver
from edgelstm.cuda.driver import on
from edgelstm.cuda.host import resident
from edgelstm.errors import DeviceError, ShapeError
from edgelstm.stream import IN_USE, Stream

if TYPE_CHECKING:
    from edgelstm.cuda.backend import CudaPrograms
    from edgelstm.cuda.host.session import CudaSession
    from edgelstm.program.plan import Program

DOORS_KEPT = 16  # sets of arrays whose graph of a step is kept
BLOCKS_KEPT = 2  # programs of blocks whose session is kept


class CudaStream(Stream):
    """Carries the recurrent states of `batch` parallel sequences on the device.

    `step` and `run` take arrays of the device too and give such arrays, without copies. A step is fastest with arrays that come
    again: `step(frame, out)`, where the caller fills `frame` anew.
    """

    def __init__(self, programs: "CudaPrograms", batch: int = 1) -> None:
        self._number = programs.number
        self._doors: OrderedDict[tuple[Any, ...], Callable[[], None]] = OrderedDict()
        self._blocks: OrderedDict[int, CudaSession] = OrderedDict()
        super().__init__(programs, batch)

    def _buffer(self, shape: Sequence[int], dtype: str) -> np.ndarray:
        with on(self._number):
            return driver.pinned(shape, dtype)

    def step(self, frame: Any, out: Any = None) -> Any:
        """One time step; see Stream.step. Frames on the device are read in place, and the outputs are arrays of the device."""
        if type(frame) is np.ndarray:
            return super().step(frame, out)
        door = self._doors.get((driver.described(frame), driver.described(out)))
        if door is None and not self._resident(frame):
            return super().step(frame, out)
        try:
            self._free.pop()
        except IndexError:
            raise DeviceError(IN_USE) from None
        try:
            if door is None:
                return self._resident_step(frame, out)
            door()
            return out
        finally:
            self._free.append(None)

    def run(self, block: Any) -> Any:
        if not self._resident(block):
            return super().run(block)
        with self._owned(), on(self._number):
            return self._resident_block(named_inputs(self._graph, block))

    def _resident(self, frames: Any) -> bool:
        arrays = frames.values() if isinstance(frames, Mapping) else frames if isinstance(frames, list | tuple) else (frames,)
        return any(driver.resident(array) for array in arrays)

    def _block_session(self, program: "Program") -> "CudaSession":
        """That of the last blocks of this shape, with its arena and launches."""
        if id(program) not in self._blocks:
            self._blocks[id(program)] = self._programs.session(program, self._memory)
        self._blocks.move_to_end(id(program))
        while len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return self._blocks[id(program)]

    def _resident_step(self, frame: Any, out: Any) -> Any:
        given = frame if isinstance(frame, Mapping) else self._by_name(frame)
        self._open_for(given)
        with on(self._number):
            ins, outs = self._places(given), self._results(out)
            shown = [outs[k] for k in self._shown]
            seen = shown if out is None else out if isinstance(out, list | tuple) else [out]
            self._door([*(given[name] for name in self._frame_names), *seen], [*ins, *outs])()
        return out if out is not None else shown[0] if len(shown) == 1 else shown

    def _door(self, arrays: Sequence[Any], ports: Sequence[Any]) -> Callable[[], None]:
        """What steps over these arrays; it is kept where their own streams need not be waited for."""
        key = tuple([driver.described(array) for array in arrays])
        door = self._doors.get(key) or self._session.door(ports)
        if None not in key:
            self._doors[key] = door
            self._doors.move_to_end(key)
            while len(self._doors) > DOORS_KEPT:
                self._doors.popitem(last=False)
        return door

    def _places(self, given: Mapping[str, Any]) -> list[Any]:
        """The memory of every input of a step: the states', and the frames'."""
        check_names(given, self._frame_names)
        frames = resident.given([self._graph.input(name) for name in self._frame_names], given, self._number)
        for name, array in zip(self._frame_names, frames, strict=True):
            expected = self._in_frames[name].shape
            if tuple(array.shape) not in (expected, tuple(self._shapes[name])):
                raise ShapeError(f"a frame of {name!r} has the shape {tuple(array.shape)}, expected {expected}")
        found = dict(zip(self._frame_names, frames, strict=True)) | dict(self._kept)
        return [found[port.name] for port in self._graph.inputs]

    def _results(self, out: Any) -> list[Any]:
        """Where every output of a step goes: into `out`, new arrays, or for carried states the stream's own."""
        found: list[Any] = list(self._outs)
        given = [None] * len(self._shown) if out is None else [out] if len(self._shown) == 1 else out
        if not isinstance(given, list | tuple) or len(given) != len(self._shown):
            raise ShapeError(f"out is a list of {len(self._shown)} arrays for this model")
        for k, array in zip(self._shown, given, strict=True):
            shape, dtype = self._out_frames[k].shape, self._graph.outputs[k].dtype
            if out is not None and not driver.resident(array):
                raise DeviceError(f"out is {_named(array)}; with frames on the device it lies there too")
            found[k] = resident.made(shape, dtype) if out is None else resident.fitting("out", dtype, array, self._number)
            if tuple(found[k].shape) != tuple(shape):
                raise ShapeError(f"out has the shape {tuple(found[k].shape)}, expected {tuple(shape)}")
        return found

    def _resident_block(self, given: Mapping[str, Any]) -> Any:
        check_names(given, self._frame_names)
        frames = resident.given([self._graph.input(name) for name in self._frame_names], given, self._number)
        arrays = dict(zip(self._frame_names, frames, strict=True)) | dict(self._kept)
        shapes = {port.name: tuple(arrays[port.name].shape) for port in self._graph.inputs}
        self._check_batch(shapes)
        program = self._programs.for_stream(shapes, self._memory)
        outputs = [resident.made(s, p.dtype) for s, p in zip(program.outputs, self._graph.outputs, strict=True)]
        session = self._block_session(program)
        session.bind([*(arrays[port.name] for port in self._graph.inputs), *outputs])
        session.run()
        shown = [outputs[k] for k in self._shown]
        return shown[0] if len(shown) == 1 else shown


def _named(array: Any) -> str:
    return "an array of the host" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
