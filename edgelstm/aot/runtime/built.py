"""A Model whose program is a shared library: the same methods as `edgelstm.Model`, without any compiler."""

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.aot.runtime import interface
from edgelstm.aot.runtime.sessions import Memory, Programs
from edgelstm.arrays import complete, named_inputs
from edgelstm.errors import DeviceError
from edgelstm.ports import TensorSpec
from edgelstm.stream import Stream

if TYPE_CHECKING:
    from edgelstm.stream_pool import Pool
    from edgelstm.verify import Report

SPARE_MEMORIES = 4  # idle ones that are kept for the next callers


class Model:
    """A native build. Immutable for its users; threads may share it, and it pickles by the path of its folder.

    `run` and `predict` are stateless and take any batch and number of time steps; `stream` gives an object that carries state.
    """

    def __init__(self, folder: str | os.PathLike[str], device: str = "cpu", threads: int = 1) -> None:
        if device != "cpu" or threads != 1:
            raise DeviceError("a native build runs on the 'cpu' in the caller's thread, not with "
                              f"device={device!r}, threads={threads!r}; load the .elstm file for that")
        self._folder = Path(folder).absolute()
        self._programs = Programs(interface.read(self._folder))
        self._spare: deque[tuple[int, Memory]] = deque(maxlen=SPARE_MEMORIES)

    def __reduce__(self):
        return Model, (self._folder,)

    def __repr__(self) -> str:
        return f"<edgelstm native build {', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}>"

    @property
    def graph(self) -> interface.Interface:
        """Ports, states and probes; the nodes are not part of a build."""
        return self._programs.graph

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of every input; explicit states are inputs too."""
        return tuple(port.spec for port in self.graph.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(port.spec for port in self.graph.outputs)

    @property
    def device(self) -> str:
        """Where it runs: always 'cpu'."""
        return "cpu"

    @property
    def choice(self) -> str:
        """Why it runs there: a build was made for it, nothing was chosen."""
        return ""

    @property
    def streaming(self) -> interface.Streaming:
        return self._programs.streaming

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Every output by name, in the model's order. State inputs that are left out are zero. Raises ShapeError."""
        arrays = complete(self.graph, inputs)
        program = self._programs.program({name: array.shape for name, array in arrays.items()})
        outputs = {port.name: np.empty(shape, port.dtype)
                   for port, shape in zip(self.graph.outputs, program.outputs, strict=True)}
        memory = self._memory(program.batch)
        for name, (rows, initial) in memory.slots.items():
            rows[...] = arrays.get(name, initial) if name in memory.explicit else initial
        session = self._programs.session(program, memory)
        session.bind([*arrays.values(), *outputs.values()])
        session.run()
        for source, result in self.graph.states:
            outputs[result][...] = memory.slots[source][0].copy()
        self._spare.append((program.batch, memory))
        return outputs

    def predict(self, x: Any) -> np.ndarray | list[np.ndarray]:
        """The output for an array, a list of arrays or a dict; a list when the model has several outputs."""
        outputs = list(self.run(named_inputs(self.graph, x)).values())
        return outputs[0] if len(outputs) == 1 else outputs

    def stream(self, batch: int = 1) -> Stream:
        """An independent stream that carries the state."""
        return Stream(self._programs, batch)

    def pool(self, capacity: int) -> "Pool":
        """Up to `capacity` streams that come and go."""
        from edgelstm.stream_pool import Pool

        return Pool(self.stream, capacity)

    def verify(self) -> "Report":
        """Run the probes of the model's file and compare with the outputs stored with them; a miss is not an exception."""
        from edgelstm.verify import verify

        return verify(self)

    def _memory(self, batch: int) -> Memory:
        """Memory for so many rows that no other run is using."""
        try:
            rows, memory = self._spare.pop()
        except IndexError:
            rows, memory = -1, None
        return memory if memory is not None and rows == batch else self._programs.stream_memory(batch)
