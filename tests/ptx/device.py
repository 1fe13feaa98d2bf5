"""The machine in the place of a GPU: memory of the host as that of a device, and launches that run compiled PTX."""

import ctypes
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from cuda.bindings import driver as api
from numba.cuda.cudadrv.devicearray import types
from numba.cuda.dispatcher import CUDADispatcher, _Kernel

from edgelstm.cuda import ahead
from edgelstm.cuda.driver import cuda
from tests.ptx import arrays, machine
from tests.ptx.calls import Calls
from tests.ptx.machine import Grid
from tests.ptx.parse import Kernel, parse

CAPABILITY = (9, 0)
MULTIPROCESSORS = 16
SHARED = {(7, 5): 64, (8, 0): 163, (8, 7): 163, (9, 0): 227}  # KiB of a block at most

_TEXTS: dict[tuple[Any, ...], tuple[str, Any]] = {}


def text_of(dispatcher: Any, signature: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """The PTX of a kernel, compiled once."""
    key = id(dispatcher), signature, capability
    if key not in _TEXTS:
        _TEXTS[key] = ahead.ptx(dispatcher, signature, capability), dispatcher  # kept, so that no other has its id
    return _TEXTS[key][0]


class Compiled:
    """A kernel for some types, as numba-cuda keeps it. `allowed`: bytes of shared memory that a launch may have."""

    cooperative = False

    def __init__(self, kernel: Kernel, name: str, signature: tuple[Any, ...]) -> None:
        self.kernel, self.name, self.allowed, self.shared_mem_per_block = kernel, name, 0, kernel.static_shared
        self._signature = signature
        self.handle, self.library = self, SimpleNamespace(get_cufunc=lambda: self)

    def max_cooperative_grid_blocks(self, threads: Any, shared: int) -> int:
        return MULTIPROCESSORS

    def sizes(self) -> list[int]:
        return self.kernel.parameters

    def spans(self, parameters: list[int]) -> list[tuple[int, int]]:
        """Where the arrays among the parameters begin and end: their third word counts elements, of the size of the fourth."""
        words, found = iter(parameters), []
        for kind in _flat(self._signature):
            if isinstance(kind, types.Array):
                _, _, count, size, begin, *_ = itertools.islice(words, 5 + 2 * kind.ndim)
                found.append((begin, begin + count * size))
            else:
                next(words)
        return found


def _flat(kinds: Any) -> Iterator[Any]:
    for kind in kinds:
        yield from _flat(kind) if isinstance(kind, types.BaseTuple) else (kind,)


class Machine:
    """Runs kernels, whose PTX `change` may alter before. `launches`: their names and how they were launched."""

    def __init__(self, capability: tuple[int, int] = CAPABILITY, seed: int = 0, change: Callable[[str], str] = str) -> None:
        self.capability, self.launches, self.instructions = capability, [], 0
        self._seeds, self._kernels, self._change = itertools.count(1000 * seed), {}, change

    def compiled(self, dispatcher: Any, signature: tuple[Any, ...]) -> Compiled:
        text = self._change(text_of(dispatcher, signature, self.capability))
        if text not in self._kernels:
            name = f"{dispatcher.py_func.__module__.rpartition('.')[2]}.{dispatcher.py_func.__name__}"
            self._kernels[text] = Compiled(parse(text), name, signature)
        return self._kernels[text]

    def launch(self, dispatcher: Any, grid: Grid, args: tuple[Any, ...]) -> None:
        """With the arguments that numba-cuda makes of `args`."""
        signature, given, asked = tuple(map(dispatcher.typeof_pyval, args)), [], _Kernel.__new__(_Kernel)
        asked.extensions = []
        for kind, value in zip(signature, args, strict=True):
            asked._prepare_args(kind, value, 0, [], given)
        self.start(self.compiled(dispatcher, signature), grid, [_bytes(value) for value in given])

    def start(self, compiled: Compiled, grid: Grid, given: list[bytes]) -> None:
        """With the bytes of all parameters."""
        assert [len(raw) for raw in given] == compiled.kernel.parameters, f"{compiled.name}: other arguments than parameters"
        parameters = [int.from_bytes(raw, "little") for raw in given]
        grid = replace(grid, seed=next(self._seeds))
        self.launches.append((compiled.name, grid))
        try:
            self.instructions += machine.run(compiled.kernel, grid, parameters, compiled.spans(parameters))
        except machine.Violation as violation:
            raise machine.Violation(f"{compiled.name}: {violation}") from None


def _three(size: Any) -> tuple[int, int, int]:
    size = size if isinstance(size, tuple) else (size,)
    return (*map(int, size), 1, 1)[:3]


def _bytes(value: Any) -> bytes:
    """An argument as numba-cuda gives it to the driver."""
    return bytes(value) if isinstance(value, ctypes._SimpleCData) else int(value).to_bytes(8, "little", signed=True)


def described(capability: tuple[int, int]) -> SimpleNamespace:
    """A device of that compute capability."""
    return SimpleNamespace(
        MULTIPROCESSOR_COUNT=MULTIPROCESSORS, MAX_THREADS_PER_BLOCK=1024, COOPERATIVE_LAUNCH=1, compute_capability=capability,
        MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=SHARED[capability] << 10, id=0, name="a machine of tests",
        CLUSTER_LAUNCH=int(capability >= (9, 0)), get_primary_context=lambda: SimpleNamespace(handle=0))


class _Stream:
    def __init__(self, handle: Any = 0) -> None:
        self.handle = int(handle)

    def synchronize(self) -> None:
        """Every launch has ended when it returns."""


@contextmanager
def in_place_of_gpu(made: Machine) -> Iterator[Calls]:
    """device="cuda" is the machine."""
    device, calls = described(made.capability), Calls(made.start)

    def launched(dispatcher: Any, given: Any) -> Any:
        blocks, threads, _, shared = (*given, 0, 0)[:4]
        return lambda *args: made.launch(dispatcher, Grid(_three(blocks), _three(threads), shared), args)

    with ExitStack() as stack:
        for name, call in calls.table().items():
            stack.enter_context(mock.patch.object(api, name, call))
        for owner, name, value in [
            (CUDADispatcher, "__getitem__", launched),
            (CUDADispatcher, "compile", lambda dispatcher, kinds: made.compiled(dispatcher, kinds)),
            (cuda, "device_array", arrays.allocated), (cuda, "to_device", arrays.copied), (cuda, "pinned_array", np.empty),
            (cuda, "as_cuda_array", lambda array: array), (cuda, "from_cuda_array_interface", arrays.borrowed),
            (cuda.cudadrv.driver, "device_memset", arrays.filled), (cuda, "stream", _Stream),
            (cuda, "external_stream", _Stream),
            (cuda, "gpus", [device]), (cuda, "get_current_device", lambda: device), (cuda, "synchronize", lambda: None),
            (cuda, "is_available", lambda: True), (cuda, "defer_cleanup", nullcontext),
        ]:  # fmt: skip
            stack.enter_context(mock.patch.object(owner, name, value))
        yield calls
