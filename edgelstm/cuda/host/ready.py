"""Launches and copies that lie ready: their arguments are written out once, and a single call of the driver starts each.

numba-cuda takes some 40 us to start a launch, and 20 to make a part of an array. A launch that lies ready takes less than one,
and the arrays of a port can lie elsewhere the next time.
"""

from collections.abc import Callable, Iterator, Sequence
from ctypes import addressof, c_uint64, c_void_p
from typing import Any

import numpy as np

from edgelstm.cuda import driver
from edgelstm.cuda.driver import SIMULATED, bindings, checked
from edgelstm.cuda.launching import Launch
from edgelstm.memory import address

Launches = Callable[[Any], None]  # are given the stream
Places = Sequence[int]  # where every port begins

_STAND_IN, _PORT, _OFFSET = 1 << 63, 48, (1 << 48) - 1  # an address that is none: a mark, the number of a port, an offset


class Ready:
    """A launch with its arguments in memory, 8 bytes each, as numba-cuda's kernels take them."""

    def __init__(self, launch: Launch) -> None:
        words, self.pointers = [], []
        for word, points in _words(launch.args):
            if points:
                self.pointers.append(len(words))
            words.append(word & 0xFFFFFFFFFFFFFFFF)
        self.words = (c_uint64 * len(words))(*words)
        self._slots = (c_void_p * len(words))(*(addressof(self.words) + 8 * k for k in range(len(words))))
        self._given, self._start = addressof(self._slots), bindings().cuLaunchKernelEx
        self._config, self._function = driver.configured(launch)
        self._launch = launch  # keeps its arrays

    def __call__(self, stream: Any) -> None:
        self._config.hStream = stream.handle
        checked(self._start(self._config, self._function, self._given, 0))


def _words(value: Any) -> Iterator[tuple[int, bool]]:
    """An argument as the words that a kernel takes, and whether each is a pointer."""
    if isinstance(value, tuple):
        for part in value:
            yield from _words(part)
    elif isinstance(value, np.float32):
        yield int(value.view(np.uint32)), False
    elif isinstance(value, np.integer | np.bool_):
        yield int(value), False
    else:
        yield from ((0, False), (0, False), (value.size, False), (value.dtype.itemsize, False), (driver.address(value), True))
        yield from ((n, False) for n in (*value.shape, *value.strides))


class Movable:
    """Launches made for stand-ins of the ports, started for ports wherever these lie."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._launches = [Ready(launch) for launch in launches]
        self._moves = [(ready.words, k, ready.words[k] >> _PORT & 0x7FFF, ready.words[k] & _OFFSET)
                       for ready in self._launches for k in ready.pointers if ready.words[k] & _STAND_IN]

    def __call__(self, places: Places, stream: Any) -> None:
        for words, k, port, offset in self._moves:
            words[k] = places[port] + offset
        for launch in self._launches:
            launch(stream)


def stand_in(port: int, nbytes: int) -> Any:
    """An array of the device that a port is taken for while launches are made; nothing reads it."""
    return driver.array_at(_STAND_IN | port << _PORT, nbytes)


def each(launches: Sequence[Launch | Launches]) -> list[Launches]:
    """Launches that stay where they are, beside copies."""
    return [launch if SIMULATED or not isinstance(launch, Launch) else Ready(launch) for launch in launches]


def filling(pairs: Sequence[tuple[Any, np.ndarray]]) -> Launches:
    """Copies of bytes of the host to memory of the device."""
    if SIMULATED:
        return lambda stream: [memory.copy_to_device(array, stream) for memory, array in pairs]
    return _copying(bindings().cuMemcpyHtoDAsync, [(driver.address(m), address(a), m, a) for m, a in pairs])


def emptying(pairs: Sequence[tuple[Any, np.ndarray]]) -> Launches:
    """The reverse."""
    if SIMULATED:
        return lambda stream: [memory.copy_to_host(array, stream) for memory, array in pairs]
    return _copying(bindings().cuMemcpyDtoHAsync, [(address(a), driver.address(m), m, a) for m, a in pairs])


def _copying(copy: Any, ends: Sequence[tuple[int, int, Any, np.ndarray]]) -> Launches:
    """Copies between addresses, to the first from the second, of all bytes of the array; it and the memory live as long."""
    given = [(target, source, array.nbytes, (memory, array)) for target, source, memory, array in ends]

    def copies(stream: Any) -> None:
        for target, source, nbytes, _ in given:
            checked(copy(target, source, nbytes, stream.handle))

    return copies


def host_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8)


def put(memory: Any, begin: int, array: np.ndarray) -> None:
    """Bytes of the host into some bytes of the device, at once."""
    if SIMULATED:
        memory[begin : begin + array.nbytes].copy_to_device(array)
    else:
        checked(bindings().cuMemcpyHtoD(driver.address(memory) + begin, address(array), array.nbytes))
