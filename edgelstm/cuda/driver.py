"""numba.cuda, and what else is asked of the device: the only place that imports it, so that its successor can replace it."""

import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgelstm.errors import DependencyError, DeviceError, DeviceMemoryError

INSTALL = "pip install 'edgelstm[cuda]'"

if importlib.util.find_spec("numba_cuda") is None:
    raise DependencyError(f"device='cuda' needs the package numba-cuda: {INSTALL}")

from numba import cuda, types  # noqa: E402
from numba.core import config  # noqa: E402

OLDEST, CLUSTERED = (7, 5), (9, 0)  # compute capability: the oldest that is supported, the first that has clusters
PORTABLE_CLUSTER, LARGEST_CLUSTER = 8, 16  # blocks; kernels ask for more than the first, which not all devices grant
ORDERED = (None, 1)  # streams of an array that need no wait: none named, and the legacy default stream, which all others follow
SIMULATED = bool(config.ENABLE_CUDASIM)
_ARRAY = cuda.cudadrv.devicearray.FakeCUDAArray if SIMULATED else cuda.cudadrv.devicearray.DeviceNDArray
LANES = 2 if SIMULATED else 32  # of a panel; the simulator's threads are threads of the system, so it gets few

__all__ = [
    "CLUSTERED", "LANES", "OLDEST", "SIMULATED", "address", "adopted", "array_at", "bindings", "check", "checked",
    "configured", "cuda", "current", "describe", "described", "device_errors", "empty", "extending", "machine", "on",
    "pinned", "place", "resident", "types", "wait", "zeros",
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


@cache
def on(number: int) -> AbstractContextManager[None]:
    """A block that works on a device, in whatever thread: its context is the current one, its errors are DeviceError."""
    return nullcontext() if SIMULATED else _On(number)


class _Thread(threading.local):
    """Whether this thread has a context, so that what it frees later finds one."""

    settled = False


_THREAD = _Thread()


class _On(AbstractContextManager[None]):
    """Calls the driver itself: the manager of numba.cuda takes ten times as long, which a step would feel."""

    def __init__(self, number: int) -> None:
        with device_errors():
            self.context = cuda.gpus[number].get_primary_context().handle
        self._push, self._pop = bindings().cuCtxPushCurrent, bindings().cuCtxPopCurrent

    def settle(self) -> None:
        """A thread that has no context keeps this one: the driver frees memory only where there is one."""
        if not _THREAD.settled:
            if not int(checked(bindings().cuCtxGetCurrent())):
                checked(bindings().cuCtxSetCurrent(self.context))
            _THREAD.settled = True

    def __enter__(self) -> None:
        self.settle()
        checked(self._push(self.context))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._pop()
        if isinstance(error, _driver_errors()):
            raise _translated(error) from error


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
    if "before forking" in text or "NOT_INITIALIZED" in text:
        return DeviceError("a forked process can't use the GPU of its parent; start it with the method 'spawn'")
    return DeviceError(f"the CUDA driver reports: {text}")


@cache
def _driver_errors() -> tuple[type[Exception], ...]:
    if SIMULATED:
        return ()
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv.error import CudaDriverError, CudaSupportError, NvvmSupportError

    return CudaDriverError, CudaSupportError, NvvmSupportError, CUDAError


def current() -> int:
    """The number of the device of this thread's context."""
    return 0 if SIMULATED else cuda.get_current_device().id


def wait(stream: Any) -> None:
    """Until all work of a stream is done."""
    if SIMULATED:
        stream.synchronize()
    else:
        checked(bindings().cuStreamSynchronize(stream.handle))


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
    return isinstance(array, _ARRAY) or (not SIMULATED and hasattr(array, "__cuda_array_interface__"))


def adopted(array: Any) -> Any:
    """An array of device memory, whoever made it, as one that kernels take; nothing is copied."""
    if SIMULATED or (isinstance(array, _ARRAY) and not array.stream):
        return array  # as numba-cuda would find out in 10 us
    return cuda.as_cuda_array(array)


def address(array: Any) -> int:
    """Where an array of device memory begins."""
    if SIMULATED:
        return array.__array_interface__["data"][0]
    if isinstance(array, _ARRAY):
        return array.device_ctypes_pointer.value or 0  # a tenth of the time of the interface
    return array.__cuda_array_interface__["data"][0]


def array_at(place: int, nbytes: int) -> Any:
    """Bytes of the device that belong to somebody else."""
    interface = {"shape": (nbytes,), "typestr": "|u1", "data": (place, False), "version": 3}
    return cuda.from_cuda_array_interface(interface, sync=False)


def described(array: Any) -> tuple[Any, ...] | None:
    """Where an array of device memory lies and how; None for one whose own stream has to be waited for, and for all else."""
    if isinstance(array, _ARRAY):
        return None if array.stream else (address(array), array.shape, array.strides, array.dtype)
    found = getattr(array, "__cuda_array_interface__", None)
    if found is None or found.get("stream") not in ORDERED or found.get("mask") is not None:
        return None
    return found["data"][0], found["shape"], found.get("strides"), found["typestr"]


def place(array: Any) -> int:
    """The number of the device that holds an array; all of them hold an empty one."""
    if SIMULATED or not array.size:
        return current()
    api = bindings()
    return checked(api.cuPointerGetAttribute(api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address(array)))


@cache
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
    """What a device has: multiprocessors, threads and shared memory of a block, launches whose blocks all run at once, and how
    many blocks a cluster may have, 0 where there are none.
    """

    multiprocessors: int
    threads: int
    shared: int
    cooperative: bool
    cluster: int = 0


def limits() -> Limits:
    """Those of the current device."""
    if SIMULATED:
        return Limits(1, 4, 48 << 10, False)
    device = cuda.get_current_device()
    return Limits(device.MULTIPROCESSOR_COUNT, device.MAX_THREADS_PER_BLOCK, device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                  bool(device.COOPERATIVE_LAUNCH), LARGEST_CLUSTER if device.CLUSTER_LAUNCH else 0)


def prepared(kernel: Any, args: tuple[Any, ...], threads: int, shared: int, together: bool, cluster: int = 1) -> int:
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
        handle = compiled.library.get_cufunc().handle
        checked(api.cuKernelSetAttribute(wanted, most, handle, device.id))
        if cluster > PORTABLE_CLUSTER:
            larger = api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            checked(api.cuKernelSetAttribute(larger, 1, handle, device.id))
        return compiled.max_cooperative_grid_blocks(threads, shared)


def configured(launch: Any) -> tuple[Any, Any]:
    """A launch as the driver's own call takes it: how it is started, and the function."""
    with device_errors():
        compiled, api = launch.kernel.compile(tuple(map(launch.kernel.typeof_pyval, launch.args))), bindings()
        function = checked(api.cuKernelGetFunction(compiled.library.get_cufunc().handle))
    config = api.CUlaunchConfig()
    config.gridDimX, config.gridDimY, config.gridDimZ = _three(launch.blocks)
    config.blockDimX, config.blockDimY, config.blockDimZ = _three(launch.threads)
    config.sharedMemBytes, asked = launch.shared, api.CUlaunchAttribute()
    if compiled.cooperative:
        asked.id, asked.value.cooperative = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE, 1
    elif launch.cluster > 1:
        asked.id, of = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, asked.value.clusterDim
        of.x, of.y, of.z = launch.cluster, 1, 1
    if compiled.cooperative or launch.cluster > 1:
        config.attrs, config.numAttrs = [asked], 1
    return config, function


def _three(counts: Any) -> tuple[int, ...]:
    given = counts if isinstance(counts, tuple) else (counts,)
    return (*map(int, given), 1, 1)[:3]


def machine() -> dict[str, Callable[..., Any]]:
    """Functions of single numbers that both the device and the simulator have; `dot4` multiplies bytes: see _dot4. What `plus`
    and `minus` take is rounded: the compiler makes no fma of them and a product.
    """
    if SIMULATED:
        return {
            "fma": lambda a, b, c: np.float32(np.float64(a) * b + c), "absolute": lambda x: np.float32(abs(x)),
            "sqrt": np.sqrt, "copysign": np.copysign, "nearest": np.rint, "floor": np.floor, "ceil": np.ceil,
            "truncate": np.trunc, "bits": lambda x: int(np.float32(x).view(np.int32)),
            "number": lambda n: np.uint32(int(n) & 0xFFFFFFFF).view(np.float32), "dot4": _dot4_by_bytes,
            "plus": lambda a, b: a + b, "minus": lambda a, b: a - b,
        }  # fmt: skip
    from numba.cuda import libdevice as lib

    return {
        "fma": lambda a, b, c: lib.fmaf(a, b, c), "absolute": lambda x: lib.fabsf(x), "sqrt": lambda x: lib.sqrtf(x),
        "copysign": lambda magnitude, sign: lib.copysignf(magnitude, sign), "nearest": lambda x: lib.rintf(x),
        "floor": lambda x: lib.floorf(x), "ceil": lambda x: lib.ceilf(x), "truncate": lambda x: lib.truncf(x),
        "bits": lambda x: lib.float_as_int(x), "number": lambda n: lib.int_as_float(np.int32(n)), "dot4": _dot4(),
        "plus": lambda a, b: lib.fadd_rn(a, b), "minus": lambda a, b: lib.fsub_rn(a, b),
    }  # fmt: skip


def _dot4_by_bytes(x: Any, w: Any, total: Any) -> np.int32:
    pair = np.array([int(x) & 0xFFFFFFFF, int(w) & 0xFFFFFFFF], np.uint32).view(np.int8).astype(np.int32)
    return np.int32(total + pair[:4] @ pair[4:])


def extending() -> tuple[Any, Any, Any]:
    """What instructions are made with: llvmlite's ir, the code generator's helpers, and the decorator."""
    from llvmlite import ir
    from numba.cuda import cgutils
    from numba.cuda.extending import intrinsic

    return ir, cgutils, intrinsic


def on_element(code: str, bits: int, simulated: Callable[..., Any]) -> Any:
    """`instruction(array, i)`: an instruction of PTX on the address $1 of an element in global memory, which gives an
    integer $0 of that many bits; with bits=0 it gives nothing, and $0 is the address.
    """
    if SIMULATED:
        return simulated
    ir, cgutils, intrinsic = extending()
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
    ir, _, intrinsic = extending()
    word, sum_of = ir.IntType(32), types.int32

    @intrinsic
    def dot4(context: Any, x: Any, w: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [context.cast(builder, value, kind, sum_of) for value, kind in zip(values, signature.args, strict=True)]
            code = ir.InlineAsm(ir.FunctionType(word, [word] * 3), "dp4a.s32.s32 $0, $1, $2, $3;", "=r,r,r,r")
            return builder.call(code, given)

        return sum_of(x, w, total), codegen

    return dot4
