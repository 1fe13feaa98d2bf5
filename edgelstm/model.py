"""A Model: a graph that runs. Immutable for its users; threads may share it."""

from collections.abc import Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgelstm.arrays import complete, named_inputs
from edgelstm.errors import DeviceError, FormatError
from edgelstm.graph import Graph, TensorSpec
from edgelstm.program.lowering import PackedWeights
from edgelstm.programs import Programs
from edgelstm.record import record
from edgelstm.session import SessionPool
from edgelstm.stream import Stream
from edgelstm.stream_pool import Pool
from edgelstm.streaming import Streaming, step_shapes
from edgelstm.threads import Threads

if TYPE_CHECKING:
    from edgelstm.verify import Report


@record()
class Footprint:
    """Bytes: `weights` as stored, `packed` for this machine, `state` of one stream, `arena` of one session."""

    weights: int
    packed: int
    state: int
    arena: int


class Model:
    """A loaded model. `run` and `predict` are stateless; `stream` gives an object that carries the state.

    With `threads` above 1, `run` and `predict` divide a batch among threads where its rows are independent, or else the units
    of large LSTM layers, where the work is worth it. The latter meet at every time step, so they gain where cores are free;
    where none is, the first thread goes on alone. Streams use the caller's thread alone.
    """

    def __init__(self, graph: Graph, device: str = "cpu", threads: int = 1) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise DeviceError(f"threads={threads!r} is not supported; give a whole number from 1 on")
        self._graph = graph
        self._programs = _programs(graph, device, threads)
        self._device = device
        self._choice = ""
        self._threads = Threads(self._programs, threads)
        self._ports = [(port.name, np.dtype(port.dtype)) for port in graph.inputs]

    def __reduce__(self):
        return Model, (self._graph, self._device, self._threads.count), {"_choice": self._choice}

    def __repr__(self) -> str:
        return f"<edgelstm.Model {', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}>"

    @property
    def graph(self) -> Graph:
        return self._graph

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every input; explicit states are inputs too."""
        return tuple(port.spec for port in self._graph.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(port.spec for port in self._graph.outputs)

    @property
    def device(self) -> str:
        """Where it runs: 'cpu', 'cuda' or 'cuda:N'."""
        return self._device

    @property
    def choice(self) -> str:
        """Why it runs there, where that was chosen for it by device='auto' or a fallback; else empty."""
        return self._choice

    @property
    def streaming(self) -> Streaming:
        """Whether the model can run one time step at a time, and if not, which node prevents it."""
        return self._programs.streaming

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Every output by name, in the model's order. State inputs that are left out are zero. Raises ShapeError."""
        if self._device != "cpu" and self._programs.takes(inputs):
            return self._programs.run_resident(inputs)
        arrays, sessions = self._prepared(inputs)
        shapes = sessions.program.outputs
        outputs = [np.empty(shape, port.dtype) for shape, port in zip(shapes, self._graph.outputs, strict=True)]
        if not self._threads.run(sessions.program, arrays, outputs):
            sessions.run(arrays, outputs)
        return {port.name: array for port, array in zip(self._graph.outputs, outputs, strict=True)}

    def predict(self, x: Any) -> np.ndarray | list[np.ndarray]:
        """The output for an array, a list of arrays or a dict; a list when the model has several outputs."""
        whole = type(x) is np.ndarray and len(self._ports) == 1
        outputs = list(self.run({self._ports[0][0]: x} if whole else named_inputs(self._graph, x)).values())
        return outputs[0] if len(outputs) == 1 else outputs

    def _prepared(self, inputs: Mapping[str, Any]) -> tuple[list[np.ndarray], SessionPool]:
        """The inputs as a program reads them, and the sessions of that program. Raises ShapeError.

        Arrays that can be read as they are, in shapes that were run before, need no further check.
        """
        if type(inputs) is dict and len(inputs) == len(self._ports):
            arrays = [inputs.get(name) for name, _ in self._ports]
            if all(type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous
                   for array, (_, dtype) in zip(arrays, self._ports, strict=True)):
                known = self._programs.known_run(tuple([array.shape for array in arrays]))
                if known is not None:
                    return arrays, known
        checked = complete(self._graph, inputs)
        return list(checked.values()), self._programs.for_run({name: array.shape for name, array in checked.items()})

    def stream(self, batch: int = 1) -> Stream:
        """An independent stream that carries the state. Raises DeviceError naming the node when the model can't stream."""
        if not self.streaming.ok:
            raise DeviceError(f"this model {self.streaming}; use predict on whole sequences")
        return self._programs.stream(batch)

    def pool(self, capacity: int) -> Pool:
        """Up to `capacity` streams that come and go."""
        return self._programs.pool(self.stream, capacity)

    def verify(self) -> "Report":
        """Run the file's probe and compare with the outputs stored in it; a miss is not an exception."""
        from edgelstm.verify import verify

        return verify(self)

    def footprint(self, batch: int = 1, steps: int = 1) -> Footprint:
        """Exact bytes for a batch and a number of time steps."""
        shapes = step_shapes(self._graph, batch, steps)
        states = self._programs.stream_layout(batch) if self.streaming.ok else None
        packed = PackedWeights()
        program = self._programs.planned(shapes, packed, states)
        explicit = sum(int(np.prod(shapes[name], dtype=np.int64)) * np.dtype(self._graph.input(name).dtype).itemsize
                       for name, _ in self._graph.states)
        weights = sum(array.nbytes for array in self._graph.constants.values())
        return Footprint(weights, packed.nbytes, explicit + (states.nbytes if states else 0), program.arena_nbytes)


def load(source: str | PathLike | bytes | BinaryIO | Graph, device: str = "cpu", threads: int = 1, *,
         fallback: str | None = None, batch: int = 1, steps: int | None = None) -> Model:
    """A Model from a path, bytes, a binary file object or a Graph; see edgelstm.load. Raises FormatError, DeviceError."""
    graph = _graph(source)
    if device == "cpu" and fallback is None:
        return Model(graph, device, threads)
    from edgelstm import devices

    if device == "auto":
        return devices.choose(graph, threads, batch, steps, fallback)
    return devices.on_device(graph, device, threads, fallback)


def _programs(graph: Graph, device: str, threads: int) -> Programs:
    """The programs for a device. Raises DeviceError for one that is not there."""
    if device == "cpu":
        return Programs(graph)
    from edgelstm.devices import number_of

    number = number_of(device)
    if threads != 1:
        raise DeviceError(f"threads={threads} has no meaning with device={device!r}; leave it out")
    from edgelstm.cuda.backend import CudaPrograms

    return CudaPrograms(graph, number)


def _graph(source: Any) -> Graph:
    from edgelstm import format as elstm

    if isinstance(source, Graph):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return elstm.from_bytes(bytes(source))
    if hasattr(source, "read"):
        return elstm.from_bytes(source.read(), where=str(getattr(source, "name", "<file>")))
    try:
        path = fspath(source)
    except TypeError:
        raise FormatError(f"cannot load a {type(source).__name__}; give a path, bytes, a binary file or a Graph") from None
    return elstm.read(path)
