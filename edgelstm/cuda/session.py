"""A Program bound to device memory: constants copied once a model, an arena, buffers for the ports, graphs of launches."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.cuda import decode, driver, twins
from edgelstm.cuda.decode import Call, Pointer
from edgelstm.cuda.driver import cuda, empty, on, zeros
from edgelstm.cuda.fusing import fused
from edgelstm.cuda.graphs import Graph, Launches
from edgelstm.cuda.launching import Launch
from edgelstm.cuda.resident import View, borrowed, raw
from edgelstm.memory import address
from edgelstm.program.operands import Space
from edgelstm.program.plan import Program

SPARE_SESSIONS = 4
BINDINGS_KEPT = 16  # sets of addresses whose launches a session keeps; numba-cuda frees memory by the ten, so that they recur


class Constants:
    """Copies of host arrays on one device, one each, for all programs of a model."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._copies: dict[int, tuple[np.ndarray, Any]] = {}
        self._nulls: dict[str, Any] = {}

    def get(self, array: np.ndarray) -> Any:
        """The bytes of an array on the device."""
        key = address(array)
        if key not in self._copies or self._copies[key][0].nbytes != array.nbytes:
            self._copies[key] = array, uploaded(array)
        return self._copies[key][1]

    def null(self, dtype: str) -> Any:
        """What stands for a pointer that is null: an array of no elements."""
        if dtype not in self._nulls:
            self._nulls[dtype] = empty(8)[:0].view(np.dtype(dtype))
        return self._nulls[dtype]


def uploaded(array: np.ndarray) -> Any:
    """The bytes of an array in device memory of their own."""
    memory = empty(array.nbytes)
    padded = np.zeros(memory.size, np.uint8)
    padded[: array.nbytes] = host_bytes(array)
    memory.copy_to_device(padded)
    return memory


def host_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8)


class CudaSession:
    """One arena for one Program, and its launches for the ports it is bound to. Used by one thread at a time. Launches are kept
    by the addresses of the ports, and keep none of them alive.

    Ports are arrays of the host, which are copied, and of the device, which are not. Outputs in `hidden` stay on the device.
    """

    def __init__(self, program: Program, constants: Constants, state: Any = None, hidden: Collection[int] = ()) -> None:
        self._program, self._state, self._hidden, self._number = program, state, hidden, constants.number
        self._first_output = program.ports - len(program.outputs)
        with on(self._number):
            self._calls = fused(decode.calls(program))
            self._constants = [constants.get(array) for array in program.constants]
            self._null = constants.null
            self._arena, self._stream = zeros(program.arena_nbytes), cuda.stream()
        self._buffers: dict[int, Any] = {}
        self._scratch: dict[int, Any] = {}
        self._kept: dict[int, list[Launch]] = {}
        self._graphs: OrderedDict[tuple[int, ...], Graph] = OrderedDict()
        self._graph: Graph | None = None
        self._fill: Launches = _nothing
        self._empty: Launches = _nothing

    def bind(self, ports: Sequence[Any]) -> None:
        """The arrays of every input, then every output."""
        with on(self._number):
            places = self._places(ports)
            key = tuple(driver.address(place) for place in places)
            if key in self._graphs:
                self._graphs.move_to_end(key)
            else:
                self._graphs[key] = Graph(self._launches(places), self._stream)
            while len(self._graphs) > BINDINGS_KEPT:
                self._graphs.popitem(last=False)
            self._graph = self._graphs[key]

    def run(self) -> None:
        """Compute the outputs from the inputs; they are complete when this returns, and every run takes a `bind` before it."""
        fill, self._fill = self._fill, _nothing
        empty_out, self._empty = self._empty, _nothing
        with on(self._number):
            fill(self._stream)
            self._graph.run()
            empty_out(self._stream)
            self._stream.synchronize()

    def door(self, ports: Sequence[Any], before: Sequence[Launch] = (), after: Sequence[Launch] = ()) -> Callable[[], None]:
        """A function of no argument that runs over these ports for good, in one graph together with all copies.

        Arrays of the host should be pinned. `before` runs when the inputs are on the device, `after` when all is computed.
        """
        with on(self._number):
            kernels = self._launches(self._places(ports))
        fill, empty_out = self._fill, self._empty

        def whole(stream: Any) -> None:
            fill(stream)
            for launch in before:
                launch(stream)
            kernels(stream)
            for launch in after:
                launch(stream)
            empty_out(stream)

        return _Door(Graph(whole, self._stream), self._stream, self._number)

    def _places(self, ports: Sequence[Any]) -> list[Any]:
        """The device memory of every port as bytes; notes what has to be copied."""
        places, ins, outs = [], [], []
        for k, port in enumerate(ports):
            if not isinstance(port, np.ndarray):
                places.append(port.memory if isinstance(port, View) else borrowed(raw(port)))
                continue
            if k not in self._buffers:
                memory = empty(port.nbytes)
                self._buffers[k] = memory, memory[: port.nbytes]
            memory, exact = self._buffers[k]
            places.append(memory)
            if port.nbytes and k < self._first_output:
                ins.append((exact, host_bytes(port)))
            elif port.nbytes and k not in self._hidden:
                outs.append((exact, host_bytes(port)))
        self._fill, self._empty = _filling(ins), _emptying(outs)
        return places

    def _launches(self, ports: Sequence[Any]) -> Launches:
        memory = {Space.ARENA: self._arena, Space.STATE: self._state} | {Space.PORTS + k: port for k, port in enumerate(ports)}
        found = [launch for number, call in enumerate(self._calls) for launch in self._of(number, call, memory)]

        def launches(stream: Any) -> None:
            for launch in found:
                launch(stream)

        return launches

    def _of(self, number: int, call: Call, memory: Mapping[int, Any]) -> list[Launch]:
        """The launches of a call; those of calls that touch no port are made once."""
        if number in self._kept:
            return self._kept[number]
        twin, args = twins.find(call.kernel), self._arguments(call, memory)
        if twin.scratch is not None:
            if number not in self._scratch:
                self._scratch[number] = zeros(4 * twin.scratch(args)).view(np.float32)
            args["scratch"] = self._scratch[number]
        found = twin.bind(args)
        pointers = [value for value in call.args.values() if isinstance(value, Pointer) and value.constant < 0]
        if all(pointer.space < Space.PORTS for pointer in pointers):
            self._kept[number] = found
        return found

    def _arguments(self, call: Call, memory: Mapping[int, Any]) -> dict[str, Any]:
        nulls = decode.null_dtypes(call)
        args: dict[str, Any] = {"none": self._null("uint8")}
        for name, value in call.args.items():
            found = self._array(value, memory) if isinstance(value, Pointer) else value
            args[name] = self._null(nulls[name]) if value is None else found
        return args

    def _array(self, pointer: Pointer, memory: Mapping[int, Any]) -> Any:
        block = self._constants[pointer.constant] if pointer.constant >= 0 else memory[pointer.space]
        return block[pointer.offset :].view(np.dtype(pointer.dtype))


class _Door:
    """A graph and the wait for its end."""

    def __init__(self, graph: Graph, stream: Any, number: int) -> None:
        self._graph, self._stream, self._number = graph, stream, number

    def __call__(self) -> None:
        with on(self._number):
            self._graph.run()
            self._stream.synchronize()


def _nothing(stream: Any) -> None:
    """No copies."""


def _filling(pairs: Sequence[tuple[Any, np.ndarray]]) -> Launches:
    def fill(stream: Any) -> None:
        for memory, array in pairs:
            memory.copy_to_device(array, stream)

    return fill


def _emptying(pairs: Sequence[tuple[Any, np.ndarray]]) -> Launches:
    def copy(stream: Any) -> None:
        for memory, array in pairs:
            memory.copy_to_host(array, stream)

    return copy


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
