"""Arrays of device memory that lie in the host's."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numba.cuda.args import ArgHint
from numba.cuda.cudadrv.devicearray import numpy_support, types

ALIGNED = 256  # bytes, as the driver gives memory
GUARD = 64


class Array(ArgHint):
    """An array as numba-cuda's own are for those who use them."""

    __cuda_ndarray__ = True
    stream = 0

    def __init__(self, array: np.ndarray) -> None:
        self.array, self._layout = array, SimpleNamespace(strides_in_bytes=array.strides)
        self._numba_type_ = types.Array(numpy_support.from_dtype(array.dtype), array.ndim, "C")
        self.shape, self.dtype, self.strides, self.ndim = array.shape, array.dtype, array.strides, array.ndim
        self.size, self.nbytes, self.ptr = array.size, array.nbytes, array.ctypes.data

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "strides": None, "typestr": self.dtype.str, "data": (self.ptr, False), "version": 3}

    def to_device(self, retr: Any, stream: Any = 0) -> "Array":
        return self

    def view(self, dtype: Any) -> "Array":
        return Array(self.array.view(dtype))

    def reshape(self, *shape: Any) -> "Array":
        return Array(self.array.reshape(*shape))

    def __getitem__(self, part: Any) -> "Array":
        return Array(self.array[part])

    def is_c_contiguous(self) -> bool:
        return self.array.flags.c_contiguous

    def copy_to_device(self, source: Any, stream: Any = 0) -> None:
        self.array.reshape(-1).view(np.uint8)[...] = getattr(source, "array", source).reshape(-1).view(np.uint8)

    def copy_to_host(self, to: np.ndarray | None = None, stream: Any = 0) -> np.ndarray:
        to = np.empty(self.shape, self.dtype) if to is None else to
        to.reshape(-1).view(np.uint8)[...] = self.array.reshape(-1).view(np.uint8)
        return to


def allocated(shape: Any, dtype: Any = np.uint8, **_: Any) -> Array:
    """Memory that begins where a device's would, filled with what is no number."""
    shape, dtype = np.atleast_1d(shape), np.dtype(dtype)
    nbytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.full(nbytes + ALIGNED + GUARD, 0xFF, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return Array(raw[start : start + nbytes].view(dtype).reshape(shape))


def copied(array: np.ndarray) -> Array:
    """An array of the host in memory of the device."""
    found = allocated(array.shape, array.dtype)
    found.copy_to_device(array)
    return found


def borrowed(interface: dict[str, Any], **_: Any) -> Array:
    """The memory that an interface tells."""
    class Lent:
        __array_interface__ = {**interface, "strides": None}

    return Array(np.asarray(Lent()))


def filled(array: Array, value: int, size: int) -> None:
    array.array.reshape(-1).view(np.uint8)[:size] = value
