"""A Program bound to device memory: constants copied once a model, an arena, buffers for the ports, graphs of launches."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgelstm.cuda import decode, driver, twins
from edgelstm.cuda.decode import Call, Pointer
from edgelstm.cuda.driver import SIMULATED, cuda, empty, on, wait, zeros
from edgelstm.cuda.fused.fusing import fused
from edgelstm.cuda.host.graphs import Door, Graph
from edgelstm.cuda.host.ready import Launches, Movable, Places, each, emptying, filling, host_bytes, stand_in
from edgelstm.cuda.host.resident import View, borrowed, raw
from edgelstm.cuda.launching import Launch
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


class CudaSession:
    """One arena for one Program, and its launches, which are made once and follow the ports. Used by one thread at a time.

    Graphs of the launches are kept by the addresses of the ports, and keep none of them alive.

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
        self._buffers: dict[int, tuple[Any, Any]] = {}
        self._scratch: dict[int, Any] = {}
        self._movable: Movable | None = None
        self._graphs: OrderedDict[tuple[int, ...], Graph] = OrderedDict()
        self._graph: Graph | None = None
        self._fill: Launches = _nothing
        self._empty: Launches = _nothing

    def bind(self, ports: Sequence[Any]) -> None:
        """The arrays of every input, then every output."""
        with on(self._number):
            places = self._places(ports)
            if places in self._graphs:
                self._graphs.move_to_end(places)
            else:
                self._graphs[places] = Graph(self._launches(ports, places), self._stream)
            while len(self._graphs) > BINDINGS_KEPT:
                self._graphs.popitem(last=False)
            self._fill, self._empty = self._copies(ports)
            self._graph = self._graphs[places]

    def run(self) -> None:
        """Compute the outputs from the inputs; they are complete when this returns, and every run takes a `bind` before it."""
        fill, self._fill = self._fill, _nothing
        empty_out, self._empty = self._empty, _nothing
        with on(self._number):
            fill(self._stream)
            self._graph.run()
            empty_out(self._stream)
            wait(self._stream)

    def door(self, ports: Sequence[Any], before: Sequence[Launch | Launches] = (),
             after: Sequence[Launch | Launches] = ()) -> Callable[[], None]:
        """A function of no argument that runs over these ports for good, in one graph together with all copies.

        Arrays of the host must be pinned. `before` runs when the inputs are on the device, `after` when all is computed.
        """
        with on(self._number):
            kernels = self._launches(ports, self._places(ports))
            fill, empty_out = self._copies(ports)
            order = [fill, *each(before), kernels, *each(after), empty_out]

        def whole(stream: Any) -> None:
            for launches in order:
                launches(stream)

        return Door(Graph(whole, self._stream), self._number, self)

    def _places(self, ports: Sequence[Any]) -> tuple[int, ...]:
        """Where on the device every port begins; those of the host have buffers there."""
        return tuple([driver.address(self._buffer(k, port)[0] if isinstance(port, np.ndarray) else memory_of(port))
                      for k, port in enumerate(ports)])

    def _buffer(self, k: int, port: np.ndarray) -> tuple[Any, Any]:
        """What stands for an array of the host on the device, in words of 8 bytes and in its own length."""
        if k not in self._buffers:
            memory = empty(port.nbytes)
            self._buffers[k] = memory, memory[: port.nbytes]
        return self._buffers[k]

    def _copies(self, ports: Sequence[Any]) -> tuple[Launches, Launches]:
        """What fills the buffers of inputs of the host, and what empties those of outputs."""
        pairs = [(k, (self._buffers[k][1], host_bytes(port))) for k, port in enumerate(ports)
                 if isinstance(port, np.ndarray) and port.nbytes]
        ins = [pair for k, pair in pairs if k < self._first_output]
        outs = [pair for k, pair in pairs if k >= self._first_output and k not in self._hidden]
        return filling(ins) if ins else _nothing, emptying(outs) if outs else _nothing

    def _launches(self, ports: Sequence[Any], places: Places) -> Launches:
        """The launches for ports at these places: made once, and on the simulator, which knows no addresses, every time."""
        if not SIMULATED:
            if self._movable is None:
                self._movable = Movable(self.made([stand_in(k, _nbytes(port)) for k, port in enumerate(ports)]))
            return partial(self._movable, places)
        found = self.made([self._buffers[k][0] if isinstance(port, np.ndarray) else borrowed(raw(memory_of(port)))
                           for k, port in enumerate(ports)])

        def launches(stream: Any) -> None:
            for launch in found:
                launch(stream)

        return launches

    def made(self, ports: Sequence[Any]) -> list[Launch]:
        """All launches, for ports as bytes of the device."""
        memory = {Space.ARENA: self._arena, Space.STATE: self._state} | {Space.PORTS + k: port for k, port in enumerate(ports)}
        return [launch for number, call in enumerate(self._calls) for launch in self._of(number, call, memory)]

    def _of(self, number: int, call: Call, memory: Mapping[int, Any]) -> list[Launch]:
        """The launches of a call."""
        twin, args = twins.find(call.kernel), self._arguments(call, memory)
        if twin.scratch is not None:
            if number not in self._scratch:
                self._scratch[number] = zeros(4 * twin.scratch(args)).view(np.float32)
            args["scratch"] = self._scratch[number]
        return twin.bind(args)

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


def memory_of(port: Any) -> Any:
    """The array of the device that holds a port."""
    return port.memory if isinstance(port, View) else port


def _nbytes(port: Any) -> int:
    array = port if isinstance(port, np.ndarray) else memory_of(port)
    return int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize


def _nothing(stream: Any) -> None:
    """No copies."""


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
