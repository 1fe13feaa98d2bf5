"""numba.cuda, and what else is asked of the device: the only place that imports it, so that its successor can replace it."""

import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelstm.errors import DependencyError, DeviceError, DeviceMemoryError

INSTALL = "pip install 'edgelstm[cuda]'"

if importlib.util.find_spec("numba_cuda") is None:
    raise DependencyError(f"device='cuda' needs the package numba-cuda: {INSTALL}")

from numba import cuda, types
from numba.core import config

OLDEST = (7, 5)  # compute capability
SIMULATED = bool(config.ENABLE_CUDASIM)
LANES = 2 if SIMULATED else 32  # of a panel; the simulator's threads are threads of the system, so it gets few

__all__ = [
    "LANES", "OLDEST", "SIMULATED", "address", "adopted", "bindings", "check", "checked", "cuda", "current", "describe",
    "device_errors", "empty", "few_blocks", "machine", "on", "pinned", "place", "resident", "types", "zeros",
]


def check(number: int | None = None) -> int:
    """The number of the device, by default the current one. Raises DeviceError where it can't be used, DependencyError."""
    if SIMULATED:
        if number:
            raise DeviceError(f"there is no device {number}: the simulator of numba.cuda has one, number 0")
        return 0
    with device_errors():
        if not cuda.is_available():
            raise _unavailable()
        count = len(cuda.gpus)
        if number is not None and number >= count:
            raise DeviceError(f"there is no device {number}: this machine has {count}, numbered from 0")
        device = cuda.get_current_device() if number is None else cuda.gpus[number]
        if tuple(device.compute_capability) < OLDEST:
            found, oldest = (".".join(map(str, c)) for c in (device.compute_capability, OLDEST))
            raise DeviceError(f"{_name(device)} has the compute capability {found}; {oldest} is the oldest supported; "
                              "use device='cpu'")
        return device.id


def _unavailable() -> Exception:
    """Why numba.cuda finds nothing to run on: no driver or device, or no compiler."""
    from numba.cuda.cudadrv import nvvm

    if not nvvm.is_available():
        return DependencyError(f"numba-cuda is installed without its compiler (NVVM): {INSTALL}")
    reason = " ".join(str(cuda.cuda_error() or "no device was found").split()).rstrip(".")
    return DeviceError(f"no CUDA device can be used: {reason}; use device='cpu'")


def describe(number: int | None = None, memory: bool = True) -> str:
    """The device in one line, with its free memory. Raises DeviceError where there is none."""
    number = check(number)
    if SIMULATED:
        return "the simulator of numba.cuda"
    with on(number):
        device = cuda.get_current_device()
        found = (f"{_name(device)}, compute capability {'.'.join(map(str, device.compute_capability))}, "
                 f"{device.MULTIPROCESSOR_COUNT} multiprocessors")
        if not memory:
            return found
        free, total = cuda.current_context().get_memory_info()
        return f"{found}, {free >> 20} of {total >> 20} MiB free"


def _name(device: Any) -> str:
    return device.name.decode() if isinstance(device.name, bytes) else str(device.name)


@contextmanager
def on(number: int) -> Iterator[None]:
    """A block that works on a device, in whatever thread: its context is the current one, its errors are DeviceError."""
    with device_errors(), cuda.gpus[number]:
        yield


def few_blocks() -> AbstractContextManager[None]:
    """Launches of few blocks without the warning that numba-cuda has for them: small layers need no more."""
    return _UNWARNED


class _Unwarned(AbstractContextManager[None]):
    """The warning is off while any thread is inside: its setting is one for the process, and comes back with the last."""

    def __init__(self) -> None:
        from numba.cuda.core import config as settings

        self._settings, self._before = settings, settings.CUDA_LOW_OCCUPANCY_WARNINGS
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = self._settings.CUDA_LOW_OCCUPANCY_WARNINGS
                self._settings.CUDA_LOW_OCCUPANCY_WARNINGS = 0
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._settings.CUDA_LOW_OCCUPANCY_WARNINGS = self._before


_UNWARNED: AbstractContextManager[None] = nullcontext() if SIMULATED else _Unwarned()


@contextmanager
def device_errors() -> Iterator[None]:
    """Errors of the driver as DeviceError; all others pass."""
    try:
        yield
    except _driver_errors() as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if type(error).__name__ == "NvvmSupportError":
        return DependencyError(f"numba-cuda is installed without its compiler: {INSTALL} ({text})")
    if "OUT_OF_MEMORY" in text:
        return DeviceMemoryError("the device is out of memory; use a smaller batch, device='cpu', or fallback='cpu' with load "
                                 f"({text})")
    if "before forking" in text:
        return DeviceError("a forked process can't use the GPU of its parent; start it with the method 'spawn'")
    return DeviceError(f"the CUDA driver reports: {text}")


def _driver_errors() -> tuple[type[Exception], ...]:
    if SIMULATED:
        return ()
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv.error import CudaDriverError, CudaSupportError, NvvmSupportError

    return CudaDriverError, CudaSupportError, NvvmSupportError, CUDAError


def current() -> int:
    """The number of the device of this thread's context."""
    return 0 if SIMULATED else cuda.get_current_device().id


def empty(nbytes: int) -> Any:
    """Device memory as bytes, whole words of 8."""
    with device_errors():
        return cuda.device_array(max(8, -(-nbytes // 8) * 8), np.uint8)


def zeros(nbytes: int) -> Any:
    """The same, zeroed."""
    memory = empty(nbytes)
    with device_errors():
        cuda.cudadrv.driver.device_memset(memory, 0, memory.size)
    return memory


def pinned(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Zeroed memory of the host that the device copies from and to without the host's help."""
    with device_errors():
        array = cuda.pinned_array(tuple(shape), np.dtype(dtype)) if 0 not in shape else np.empty(shape, dtype)
    array[...] = 0
    return array


def resident(array: Any) -> bool:
    """Whether an array lies in device memory."""
    return cuda.cudadrv.devicearray.is_cuda_ndarray(array) if SIMULATED else hasattr(array, "__cuda_array_interface__")


def adopted(array: Any) -> Any:
    """An array of device memory, whoever made it, as one that kernels take; nothing is copied."""
    return array if SIMULATED else cuda.as_cuda_array(array)


def address(array: Any) -> int:
    """Where an array of device memory begins."""
    return array.__array_interface__["data"][0] if SIMULATED else array.__cuda_array_interface__["data"][0]


def place(array: Any) -> int:
    """The number of the device that holds an array; all of them hold an empty one."""
    if SIMULATED or not array.size:
        return current()
    api = bindings()
    return checked(api.cuPointerGetAttribute(api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address(array)))


def bindings() -> Any:
    """The driver's own interface, for what numba.cuda does not offer."""
    from cuda.bindings import driver

    return driver


def checked(result: tuple[Any, ...]) -> Any:
    """What a call of the driver gave. Raises DeviceError."""
    error, *found = result
    if error.value:
        raise _translated(RuntimeError(error.name))
    return found[0] if found else None


@dataclass(frozen=True)
class Limits:
    """What a device has: multiprocessors, threads and shared memory of a block, launches whose blocks all run at once."""

    multiprocessors: int
    threads: int
    shared: int
    cooperative: bool


def limits() -> Limits:
    """Those of the current device."""
    if SIMULATED:
        return Limits(1, 4, 48 << 10, False)
    device = cuda.get_current_device()
    return Limits(device.MULTIPROCESSOR_COUNT, device.MAX_THREADS_PER_BLOCK, device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                  bool(device.COOPERATIVE_LAUNCH))


def prepared(kernel: Any, args: tuple[Any, ...], threads: int, shared: int, together: bool) -> int:
    """Compiles a kernel for these arguments, allows its blocks as much shared memory as there is, because other launches of it
    may want more, and with `together` sees to it that all blocks of a launch run at once. How many there is room for.
    """
    if SIMULATED:
        return 1
    with device_errors():
        compiled, device, api = kernel.compile(tuple(map(kernel.typeof_pyval, args))), cuda.get_current_device(), bindings()
        compiled.cooperative = together
        wanted = api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        most = limits().shared - compiled.shared_mem_per_block  # the driver counts what the kernel has of its own
        checked(api.cuKernelSetAttribute(wanted, most, compiled.library.get_cufunc().handle, device.id))
        return compiled.max_cooperative_grid_blocks(threads, shared)


def machine() -> dict[str, Callable[..., Any]]:
    """Functions of single numbers that both the device and the simulator have; `dot4` multiplies bytes: see _dot4."""
    if SIMULATED:
        return {
            "fma": lambda a, b, c: np.float32(np.float64(a) * b + c), "absolute": lambda x: np.float32(abs(x)),
            "sqrt": np.sqrt, "copysign": np.copysign, "nearest": np.rint, "floor": np.floor, "ceil": np.ceil,
            "truncate": np.trunc, "bits": lambda x: int(np.float32(x).view(np.int32)),
            "number": lambda n: np.uint32(int(n) & 0xFFFFFFFF).view(np.float32), "dot4": _dot4_by_bytes,
        }  # fmt: skip
    from numba.cuda import libdevice as lib

    return {
        "fma": lambda a, b, c: lib.fmaf(a, b, c), "absolute": lambda x: lib.fabsf(x), "sqrt": lambda x: lib.sqrtf(x),
        "copysign": lambda magnitude, sign: lib.copysignf(magnitude, sign), "nearest": lambda x: lib.rintf(x),
        "floor": lambda x: lib.floorf(x), "ceil": lambda x: lib.ceilf(x), "truncate": lambda x: lib.truncf(x),
        "bits": lambda x: lib.float_as_int(x), "number": lambda n: lib.int_as_float(np.int32(n)), "dot4": _dot4(),
    }  # fmt: skip


def _dot4_by_bytes(x: Any, w: Any, total: Any) -> np.int32:
    pair = np.array([int(x) & 0xFFFFFFFF, int(w) & 0xFFFFFFFF], np.uint32).view(np.int8).astype(np.int32)
    return np.int32(total + pair[:4] @ pair[4:])


def on_element(code: str, bits: int, simulated: Callable[..., Any]) -> Any:
    """`instruction(array, i)`: an instruction of PTX on the address $1 of an element in global memory, which gives an
    integer $0 of that many bits; with bits=0 it gives nothing, and $0 is the address.
    """
    if SIMULATED:
        return simulated
    from llvmlite import ir
    from numba.cuda import cgutils
    from numba.cuda.extending import intrinsic

    found, kind = (ir.IntType(bits), types.Integer.from_bitwidth(bits)) if bits else (ir.VoidType(), types.void)
    constraints = "=l,l,~{memory}" if bits else "l"

    @intrinsic
    def instruction(context: Any, array: Any, i: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            held = context.make_array(array)(context, builder, values[0])
            address = cgutils.get_item_pointer(context, builder, array, held, [values[1]])
            assembly = ir.InlineAsm(ir.FunctionType(found, [address.type]), code, constraints, side_effect=True)
            result = builder.call(assembly, [address])
            return result if bits else context.get_dummy_value()

        return kind(array, i), codegen

    return instruction


def _dot4() -> Any:
    """`dot4(x, w, total)`: total plus the products of the four signed bytes of two words: one instruction from 6.1 on."""
    from llvmlite import ir
    from numba.cuda.extending import intrinsic

    word, sum_of = ir.IntType(32), types.int32

    @intrinsic
    def dot4(context: Any, x: Any, w: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [context.cast(builder, value, kind, sum_of) for value, kind in zip(values, signature.args, strict=True)]
            code = ir.InlineAsm(ir.FunctionType(word, [word] * 3), "dp4a.s32.s32 $0, $1, $2, $3;", "=r,r,r,r")
            return builder.call(code, given)

        return sum_of(x, w, total), codegen

    return dot4
