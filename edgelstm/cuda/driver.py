"""numba.cuda, and what else is asked of the device: the only place that imports it, so that its successor can replace it."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgelstm.errors import DependencyError, DeviceError

if importlib.util.find_spec("numba_cuda") is None:
    raise DependencyError("device='cuda' needs the package numba-cuda: pip install 'edgelstm[cuda]'")

from numba import cuda, types
from numba.core import config

OLDEST = (7, 5)  # compute capability
SIMULATED = bool(config.ENABLE_CUDASIM)
LANES = 2 if SIMULATED else 32  # of a panel; the simulator's threads are threads of the system, so it gets few

__all__ = ["LANES", "OLDEST", "SIMULATED", "Graph", "adopted", "check", "cuda", "describe", "device_errors", "empty", "machine",
           "resident", "types", "zeros"]


def check() -> None:
    """Raise DeviceError where no device can be used."""
    if SIMULATED:
        return
    with device_errors():
        if not cuda.is_available():
            raise DeviceError("no CUDA device can be used: no driver (libcuda) or no device was found; use device='cpu'")
        device = cuda.get_current_device()
        if tuple(device.compute_capability) < OLDEST:
            found, oldest = (".".join(map(str, c)) for c in (device.compute_capability, OLDEST))
            raise DeviceError(f"{_name(device)} has the compute capability {found}; {oldest} is the oldest supported")


def describe() -> str:
    """The device in one line. Raises DeviceError where there is none."""
    check()
    if SIMULATED:
        return "the simulator of numba.cuda"
    device = cuda.get_current_device()
    free, total = cuda.current_context().get_memory_info()
    return (f"{_name(device)}, compute capability {'.'.join(map(str, device.compute_capability))}, "
            f"{device.MULTIPROCESSOR_COUNT} multiprocessors, {free >> 20} of {total >> 20} MiB free")


def _name(device: Any) -> str:
    return device.name.decode() if isinstance(device.name, bytes) else str(device.name)


@contextmanager
def device_errors() -> Iterator[None]:
    """Errors of the driver as DeviceError; all others pass."""
    try:
        yield
    except _driver_errors() as error:
        if "OUT_OF_MEMORY" in str(error):
            raise DeviceError(f"the device is out of memory; use a smaller batch, or device='cpu' ({error})") from error
        raise DeviceError(f"the CUDA driver reports: {error}") from error


def _driver_errors() -> tuple[type[Exception], ...]:
    if SIMULATED:
        return ()
    from numba.cuda.cudadrv.driver import CudaAPIError
    from numba.cuda.cudadrv.error import CudaSupportError

    return CudaAPIError, CudaSupportError


def empty(nbytes: int) -> Any:
    """Device memory as bytes, whole words of 8."""
    with device_errors():
        return cuda.device_array(max(8, -(-nbytes // 8) * 8), np.uint8)


def zeros(nbytes: int) -> Any:
    """The same, zeroed."""
    memory = empty(nbytes)
    memory.copy_to_device(np.zeros(memory.size, np.uint8))
    return memory


def resident(array: Any) -> bool:
    """Whether an array lies in device memory."""
    return cuda.cudadrv.devicearray.is_cuda_ndarray(array) if SIMULATED else hasattr(array, "__cuda_array_interface__")


def adopted(array: Any) -> Any:
    """An array of device memory, whoever made it, as one that kernels take; nothing is copied."""
    return array if SIMULATED else cuda.as_cuda_array(array)


def shared_nbytes() -> int:
    """The largest shared memory of a block."""
    if SIMULATED:
        return 48 << 10
    return cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


def multiprocessors() -> int:
    return 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def machine() -> dict[str, Callable[..., Any]]:
    """float32 functions that both the device and the simulator have."""
    if SIMULATED:
        return {
            "fma": lambda a, b, c: np.float32(np.float64(a) * b + c), "absolute": lambda x: np.float32(abs(x)),
            "sqrt": np.sqrt, "copysign": np.copysign, "nearest": np.rint, "floor": np.floor, "ceil": np.ceil,
            "truncate": np.trunc, "bits": lambda x: int(np.float32(x).view(np.int32)),
            "number": lambda n: np.uint32(int(n) & 0xFFFFFFFF).view(np.float32),
        }  # fmt: skip
    from numba.cuda import libdevice as lib

    return {
        "fma": lambda a, b, c: lib.fmaf(a, b, c), "absolute": lambda x: lib.fabsf(x), "sqrt": lambda x: lib.sqrtf(x),
        "copysign": lambda magnitude, sign: lib.copysignf(magnitude, sign), "nearest": lambda x: lib.rintf(x),
        "floor": lambda x: lib.floorf(x), "ceil": lambda x: lib.ceilf(x), "truncate": lambda x: lib.truncf(x),
        "bits": lambda x: lib.float_as_int(x), "number": lambda n: lib.int_as_float(np.int32(n)),
    }  # fmt: skip


class Graph:
    """Launches that are recorded once and then started together; where that can't be, they are made one by one."""

    def __init__(self, launches: Callable[[Any], None]) -> None:
        self._launches = launches
        self._stream = cuda.stream()
        self._graph: Any = None
        self._compiled = False

    @property
    def stream(self) -> Any:
        return self._stream

    def run(self) -> None:
        """All launches, in the order of the stream. The first run compiles them, the second records them."""
        with device_errors():
            if SIMULATED or not self._compiled:
                self._launches(self._stream)
                self._compiled = True
                return
            if self._graph is None:
                self._graph = self._recorded()
            _checked(_bindings().cuGraphLaunch(self._graph, self._handle()))

    def _handle(self) -> Any:
        return _bindings().CUstream(int(self._stream.handle))

    def _recorded(self) -> Any:
        api, handle = _bindings(), self._handle()
        _checked(api.cuStreamBeginCapture(handle, api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        try:
            self._launches(self._stream)
        finally:
            graph = _checked(api.cuStreamEndCapture(handle))
        return _checked(api.cuGraphInstantiate(graph, 0))


def _bindings() -> Any:
    from cuda.bindings import driver

    return driver


def _checked(result: tuple[Any, ...]) -> Any:
    error, *found = result
    if error.value:
        raise DeviceError(f"the CUDA driver reports {error.name}")
    return found[0] if found else None
