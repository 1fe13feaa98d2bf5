"""The driver's calls that the GPU backend makes, made up: launches run at once, or are recorded while a stream is captured."""

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

from cuda.bindings import driver as api

from tests.ptx.machine import Grid

UNASKED = 48 << 10  # bytes of shared memory that a launch may have without asking

CLUSTER = 16  # blocks at most
Launched = Callable[[Any, Grid, list[bytes]], None]


class Calls:
    """`start(compiled, grid, parameters)` runs a launch. `replayed`: how many recorded launches and copies were made."""

    def __init__(self, start: Launched) -> None:
        self._start, self._handles = start, itertools.count(16)
        self._captured: dict[int, list[Callable[[], None]]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self.replayed = 0

    def table(self) -> dict[str, Callable[..., Any]]:
        """The calls by name."""
        fine, handle = api.CUresult.CUDA_SUCCESS, lambda *_: (api.CUresult.CUDA_SUCCESS, next(self._handles))
        nothing = ("cuCtxPushCurrent", "cuCtxPopCurrent", "cuCtxSetCurrent", "cuStreamSynchronize", "cuStreamDestroy",
                   "cuGraphDestroy", "cuGraphExecDestroy")
        return {name: lambda *_: (fine,) for name in nothing} | {
            "cuCtxGetCurrent": lambda: (fine, 1), "cuStreamCreate": handle, "cuPointerGetAttribute": lambda *_: (fine, 0),
            "cuKernelSetAttribute": self._allow,
            "cuKernelGetFunction": lambda kernel: (fine, kernel), "cuLaunchKernelEx": self._launch,
            "cuMemcpyHtoD": lambda *ends: self._copy(*ends, 0), "cuMemcpyHtoDAsync": self._copy,
            "cuMemcpyDtoHAsync": self._copy, "cuStreamBeginCapture": self._begin,
            "cuOccupancyMaxPotentialClusterSize": lambda *_: (fine, CLUSTER),
            "cuOccupancyMaxActiveClusters": lambda *_: (fine, 4),
            "cuStreamEndCapture": self._end, "cuGraphInstantiate": lambda graph, *_: (fine, graph),
            "cuGraphLaunch": self._replay,
        }  # fmt: skip

    def _allow(self, attribute: Any, value: int, compiled: Any, _: Any) -> tuple[Any, ...]:
        if attribute == api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
            compiled.allowed = value
        return (api.CUresult.CUDA_SUCCESS,)

    def _made(self, stream: Any, work: Callable[[], None]) -> tuple[Any, ...]:
        if int(stream) in self._captured:
            self._captured[int(stream)].append(work)
        else:
            work()
        return (api.CUresult.CUDA_SUCCESS,)

    def _launch(self, config: Any, compiled: Any, given: int, _: int) -> tuple[Any, ...]:
        """Parameters are read when the launch is made, as the driver does."""
        sizes = compiled.sizes()
        places = (ctypes.c_void_p * len(sizes)).from_address(given)
        parameters = [ctypes.string_at(place, size) for place, size in zip(places, sizes, strict=True)]
        assert config.sharedMemBytes <= max(UNASKED, compiled.allowed), f"{config.sharedMemBytes} bytes, which nobody asked for"
        grid = Grid((config.gridDimX, config.gridDimY, config.gridDimZ), (config.blockDimX, config.blockDimY, config.blockDimZ),
                    config.sharedMemBytes, _cluster(config))
        return self._made(config.hStream, lambda: self._start(compiled, grid, parameters))

    def _copy(self, to: int, source: int, nbytes: int, stream: Any) -> tuple[Any, ...]:
        return self._made(stream, lambda: ctypes.memmove(to, source, nbytes))

    def _begin(self, stream: Any, mode: Any) -> tuple[Any, ...]:
        self._captured[int(stream)] = []
        return (api.CUresult.CUDA_SUCCESS,)

    def _end(self, stream: Any) -> tuple[Any, ...]:
        graph = next(self._handles)
        self._graphs[graph] = self._captured.pop(int(stream))
        return api.CUresult.CUDA_SUCCESS, graph

    def _replay(self, graph: Any, stream: Any) -> tuple[Any, ...]:
        for work in self._graphs[int(graph)]:
            self.replayed += 1
            work()
        return (api.CUresult.CUDA_SUCCESS,)


def _cluster(config: Any) -> int:
    """How many blocks along x are a cluster."""
    wanted = api.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    return next((asked.value.clusterDim.x for asked in config.attrs if asked.id == wanted), 1)
