"""A Model: a graph, its packed weights and its programs. Immutable for its users; threads may share it."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgelstm import native
from edgelstm.arrays import check_shapes, complete, named_inputs
from edgelstm.errors import DeviceError, FormatError
from edgelstm.graph import Graph, TensorSpec
from edgelstm.pool import Pool
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.plan import Program, StateLayout, plan, state_layout
from edgelstm.session import SessionPool
from edgelstm.stream import Stream
from edgelstm.streaming import Streaming, analyse, step_shapes

if TYPE_CHECKING:
    from edgelstm.verify import Report

PROGRAMS_KEPT = 32  # programs of different shapes that a model remembers, the least recently used go first

ShapeKey = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Footprint:
    """Bytes: `weights` as stored, `packed` for this machine, `state` of one stream, `arena` of one session."""

    weights: int
    packed: int
    state: int
    arena: int


class Model:
    """A loaded model. `run` and `predict` are stateless; `stream` gives an object that carries the state."""

    def __init__(self, graph: Graph, device: str = "cpu", threads: int = 1) -> None:
        if device != "cpu":
            raise DeviceError(f"device {device!r} is not supported; use 'cpu'")
        if threads != 1:
            raise DeviceError(f"threads={threads!r} is not supported; a model runs on 1 thread")
        self._graph = graph
        self._packed = PackedWeights()
        self._sessions: OrderedDict[ShapeKey, SessionPool] = OrderedDict()
        self._stream_programs: OrderedDict[ShapeKey, Program] = OrderedDict()
        self._lock = threading.RLock()
        self._streaming: Streaming | None = None

    def __reduce__(self):
        return Model, (self._graph,)

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
    def streaming(self) -> Streaming:
        """Whether the model can run one time step at a time, and if not, which node prevents it."""
        if self._streaming is None:
            self._streaming = analyse(self._graph)
        return self._streaming

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Every output by name, in the model's order. State inputs that are left out are zero. Raises ShapeError."""
        arrays = complete(self._graph, inputs)
        sessions = self._sessions_for({name: array.shape for name, array in arrays.items()})
        shapes = sessions.program.outputs
        outputs = [np.empty(shape, port.dtype) for shape, port in zip(shapes, self._graph.outputs, strict=True)]
        sessions.run(list(arrays.values()), outputs)
        return {port.name: array for port, array in zip(self._graph.outputs, outputs, strict=True)}

    def predict(self, x: Any) -> np.ndarray | list[np.ndarray]:
        """The output for an array, a list of arrays or a dict; a list when the model has several outputs."""
        outputs = list(self.run(named_inputs(self._graph, x)).values())
        return outputs[0] if len(outputs) == 1 else outputs

    def stream(self, batch: int = 1) -> Stream:
        """An independent stream that carries the state. Raises DeviceError naming the node when the model can't stream."""
        if not self.streaming.ok:
            raise DeviceError(f"this model {self.streaming}; use predict on whole sequences")
        return Stream(self, batch)

    def pool(self, capacity: int) -> Pool:
        """Up to `capacity` streams that come and go."""
        return Pool(self, capacity)

    def verify(self) -> "Report":
        """Run the file's probe and compare with the outputs stored in it; a miss is not an exception."""
        from edgelstm.verify import verify

        return verify(self)

    def footprint(self, batch: int = 1, steps: int = 1) -> Footprint:
        """Exact bytes for a batch and a number of time steps."""
        shapes = step_shapes(self._graph, batch, steps)
        states = self.stream_layout(batch) if self.streaming.ok else None
        packed = PackedWeights()
        program = plan(self._graph, shapes, native.host().lanes, packed, states)
        explicit = [self._graph.input(name) for name, _ in self._graph.states]
        state = (states.nbytes if states else 0) + sum(
            int(np.prod(shapes[port.name])) * np.dtype(port.dtype).itemsize for port in explicit)
        weights = sum(array.nbytes for array in self._graph.constants.values())
        return Footprint(weights, packed.nbytes, state, program.arena_nbytes)

    def stream_layout(self, batch: int) -> StateLayout:
        """Where the states of a stream of this batch lie."""
        return state_layout(self._graph, step_shapes(self._graph, batch, 1), self.streaming.carriers)

    def stream_program(self, shapes: Mapping[str, Sequence[int]], states: StateLayout) -> Program:
        """The linked program of a stream for these input shapes."""
        key = tuple(tuple(shapes[port.name]) for port in self._graph.inputs)
        return self._remember(self._stream_programs, key, lambda: self._linked(shapes, states))

    def _sessions_for(self, shapes: Mapping[str, Sequence[int]]) -> SessionPool:
        key = tuple(tuple(shapes[port.name]) for port in self._graph.inputs)
        return self._remember(self._sessions, key, lambda: SessionPool(self._linked(shapes, None)))

    def _remember(self, kept: OrderedDict, key: ShapeKey, make: Any) -> Any:
        with self._lock:
            if key not in kept:
                kept[key] = make()
                while len(kept) > PROGRAMS_KEPT:
                    kept.popitem(last=False)
            kept.move_to_end(key)
            return kept[key]

    def _linked(self, shapes: Mapping[str, Sequence[int]], states: StateLayout | None) -> Program:
        check_shapes(self._graph, shapes)
        program = plan(self._graph, shapes, native.host().lanes, self._packed, states)
        entries = native.link(set(program.kernels))
        words = program.words.copy()
        words[program.entry_words] = [entries[name] for name in program.kernels]
        words.flags.writeable = False
        return replace(program, words=words)


def load(source: str | PathLike | bytes | BinaryIO | Graph, device: str = "cpu", threads: int = 1) -> Model:
    """A Model from an .elstm path, bytes, a binary file object or a Graph. Raises FormatError for a bad file."""
    return Model(_graph(source), device, threads)


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
