"""A Program bound to device memory: constants copied once a model, an arena, buffers for the ports, one graph of launches."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.cuda import decode, twins
from edgelstm.cuda.decode import Call, Pointer
from edgelstm.cuda.driver import Graph, adopted, cuda, device_errors, empty, resident, zeros
from edgelstm.cuda.launching import Launch
from edgelstm.memory import address
from edgelstm.program.operands import Space
from edgelstm.program.plan import Program

SPARE_SESSIONS = 4


class Constants:
    """Copies of host arrays on the device, one each, for all programs of a model."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[np.ndarray, Any]] = {}

    def get(self, array: np.ndarray) -> Any:
        """The bytes of an array on the device."""
        key = address(array)
        if key not in self._copies or self._copies[key][0].nbytes != array.nbytes:
            self._copies[key] = array, uploaded(array)
        return self._copies[key][1]


def uploaded(array: np.ndarray) -> Any:
    """The bytes of an array in device memory of their own."""
    memory = empty(array.nbytes)
    padded = np.zeros(memory.size, np.uint8)
    padded[: array.nbytes] = _bytes(array)
    with device_errors():
        memory.copy_to_device(padded)
    return memory


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class View:
    """A state of a stream on the device, as the stream sees its host arrays: it can be copied and written as a whole."""

    def __init__(self, memory: Any, start: int, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._nbytes = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        self._memory = memory[start : start + self._nbytes]

    def copy(self) -> np.ndarray:
        if not self._nbytes:
            return np.zeros(self.shape, self.dtype)
        with device_errors():
            return self._memory.copy_to_host().view(self.dtype).reshape(self.shape)

    def __setitem__(self, everything: Any, value: Any) -> None:
        array = np.broadcast_to(np.asarray(value, self.dtype), self.shape)
        if self._nbytes:
            with device_errors():
                self._memory.copy_to_device(_bytes(array))


class CudaSession:
    """One arena and one graph of launches for one Program. Used by one thread at a time."""

    def __init__(self, program: Program, constants: Constants, state: Any = None, carried: Sequence[int] = ()) -> None:
        self._program, self._state, self._carried = program, state, carried
        self._calls = decode.calls(program)
        self._constants = [constants.get(array) for array in program.constants]
        self._arena = zeros(program.arena_nbytes)
        self._scratch: list[Any] = []
        self._buffers: list[Any] | None = None
        self._ports: list[Any] = []
        self._graph: Graph | None = None

    def bind(self, ports: Sequence[Any]) -> None:
        """The arrays of every input, then every output: of the host, which are copied, or of the device, which are not."""
        self._ports = list(ports)
        if any(resident(array) for array in ports):
            self._graph = Graph(self._launches([_resident_bytes(array) for array in ports]))
            self._buffers = None
        elif self._buffers is None:
            self._buffers = [empty(array.nbytes) for array in ports]
            self._graph = Graph(self._launches(self._buffers))

    def run(self) -> None:
        """Compute the outputs from the inputs."""
        if self._buffers is None:
            self._graph.run()
            with device_errors():
                cuda.synchronize()
            return
        first_output, stream = self._program.ports - len(self._program.outputs), self._graph.stream
        with device_errors():
            for array, buffer in zip(self._ports[:first_output], self._buffers, strict=False):
                if array.nbytes:
                    buffer[: array.nbytes].copy_to_device(_bytes(array), stream)
            self._graph.run()
            for port in (*range(first_output, self._program.ports), *self._carried):
                array = self._ports[port]
                if array.nbytes:
                    found = self._buffers[port][: array.nbytes].copy_to_host(stream=stream)
                    stream.synchronize()
                    array[...] = found.view(array.dtype).reshape(array.shape)

    def door(self, ports: Sequence[np.ndarray]) -> Callable[[], None]:
        """A function of no argument that runs over these ports for good."""
        self.bind(ports)
        return self.run

    def _launches(self, ports: Sequence[Any]) -> Callable[[Any], None]:
        found: list[Launch] = []
        for call in self._calls:
            twin = twins.find(call.kernel)
            args = self._arguments(call, ports)
            if twin.scratch is not None:
                self._scratch.append(zeros(4 * twin.scratch(args)))
                args["scratch"] = self._scratch[-1].view(np.float32)
            found += twin.bind(args)

        def launch(stream: Any) -> None:
            for each in found:
                each(stream)

        return launch

    def _arguments(self, call: Call, ports: Sequence[Any]) -> dict[str, Any]:
        memory = {Space.ARENA: self._arena, Space.STATE: self._state} | {Space.PORTS + k: port for k, port in enumerate(ports)}
        args = {name: self._array(value, memory) if value is None or isinstance(value, Pointer) else value
                for name, value in call.args.items()}
        nulls = decode.null_dtypes(call)
        return {name: _null(nulls[name]) if value is None else value for name, value in args.items()} | {"none": _null("uint8")}

    def _array(self, pointer: Pointer | None, memory: Mapping[int, Any]) -> Any:
        if pointer is None:
            return None
        block = self._constants[pointer.constant] if pointer.constant >= 0 else memory[pointer.space]
        return block[pointer.offset :].view(np.dtype(pointer.dtype))


def _null(dtype: str) -> Any:
    return empty(8)[:0].view(np.dtype(dtype))


def _resident_bytes(array: Any) -> Any:
    found = adopted(array)
    flat = found.reshape(int(np.prod(found.shape, dtype=np.int64)))
    return flat.view(np.uint8)


class CudaPool:
    """Spare sessions of one Program, so that repeated runs allocate nothing but their outputs."""

    def __init__(self, program: Program, constants: Constants) -> None:
        self.program, self._constants = program, constants
        self._spare: deque[CudaSession] = deque(maxlen=SPARE_SESSIONS)

    def run(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """One stateless run over arrays that are C-contiguous and of the program's shapes."""
        try:
            session = self._spare.pop()
        except IndexError:
            session = CudaSession(self.program, self._constants)
        session.bind([*inputs, *outputs])
        session.run()
        self._spare.append(session)
