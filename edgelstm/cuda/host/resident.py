"""Arrays that lie on the device: a stream's states, and what users hand in."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.cuda import driver
from edgelstm.cuda.driver import adopted, cuda, on
from edgelstm.cuda.host.ready import host_bytes, put
from edgelstm.errors import DeviceError, ShapeError
from edgelstm.ports import Port


class View:
    """A state of a stream on the device, as the stream sees its host arrays: it can be copied and written as a whole."""

    def __init__(self, memory: Any, shape: Sequence[int], dtype: str, number: int) -> None:
        self.shape, self.dtype, self.memory = tuple(shape), np.dtype(dtype), memory
        self._number = number

    def reshape(self, shape: Sequence[int]) -> "View":
        return View(self.memory, shape, str(self.dtype), self._number)

    def copy(self) -> np.ndarray:
        if not self.memory.size:
            return np.zeros(self.shape, self.dtype)
        with on(self._number):
            return self.memory.copy_to_host().view(self.dtype).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.copy() if dtype is None else self.copy().astype(dtype)

    def __setitem__(self, everything: Any, value: Any) -> None:
        array = np.ascontiguousarray(np.broadcast_to(np.asarray(value, self.dtype), self.shape))
        if self.memory.size:
            with on(self._number):
                put(self.memory, 0, host_bytes(array))


def raw(array: Any) -> Any:
    """The bytes of a contiguous array of the device."""
    return array.reshape(int(np.prod(array.shape, dtype=np.int64))).view(np.uint8)


def borrowed(array: Any) -> Any:
    """The same memory of the simulator, which does not keep it alive: for launches that live longer than the user's arrays."""
    return cuda.cudadrv.devicearray.FakeCUDAArray(np.asarray(_Lent(array))) if array.size else array


class _Lent:
    """Where an array of the simulator lies."""

    def __init__(self, array: Any) -> None:
        self.__array_interface__ = array.__array_interface__


def given(ports: Sequence[Port], inputs: Mapping[str, Any], number: int) -> list[Any]:
    """The inputs on the device in the order of the ports. Raises ShapeError, DeviceError."""
    return [_given(port, inputs, number) for port in ports]


def _given(port: Port, inputs: Mapping[str, Any], number: int) -> Any:
    if port.name not in inputs:
        raise ShapeError(f"the input {port.name!r} is missing; with arrays on the device all of them lie there")
    if not driver.resident(inputs[port.name]):
        raise DeviceError(f"input {port.name!r} is an array of the host, others lie on the device; give all on one side")
    return fitting(f"input {port.name!r}", port.dtype, inputs[port.name], number)


def fitting(what: str, dtype: str, array: Any, number: int) -> Any:
    """An array that kernels on this device can read or write as it is. Raises ShapeError, DeviceError."""
    try:
        found = adopted(array)
    except (NotImplementedError, TypeError) as error:
        raise ShapeError(f"{what} on the device can't be read: {error}") from None
    if found.dtype != dtype or not found.is_c_contiguous():
        kind = "" if found.is_c_contiguous() else " and not C-contiguous"
        raise ShapeError(f"{what} on the device is {found.dtype}{kind}; give a C-contiguous array of {dtype}")
    where = driver.place(found)
    if where != number:
        raise DeviceError(f"{what} lies on device {where}, the model on device {number}; copy it, or load the model with "
                          f"device='cuda:{where}'")
    return found


def made(shape: Sequence[int], dtype: str) -> Any:
    """A new array on the device."""
    return cuda.device_array(tuple(shape), np.dtype(dtype))


def zeros(port: Port, lengths: Mapping[str, int]) -> Any:
    """A state that was left out. Raises ShapeError where no other input tells its size."""
    shape = tuple(lengths.get(d, d) for d in port.shape)
    if any(isinstance(d, str) for d in shape):
        raise ShapeError(f"the state {port.name!r} must be given: no other input tells its size")
    nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(port.dtype).itemsize
    return driver.zeros(nbytes)[:nbytes].view(np.dtype(port.dtype)).reshape(shape)
