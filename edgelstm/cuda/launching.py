"""How twins are launched: arguments as device arrays and numbers, blocks and threads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelstm.cuda.driver import SIMULATED, bindings, checked, configured, cuda, prepared

THREADS = 4 if SIMULATED else 256
RECURRENT_THREADS = 512  # of a block of the recurrent kernels, at most: 128 registers each
HOLDING_THREADS = 256  # where weights are in registers: 255 each, of which fewer are spent on anything else
BLOCKS = 2 if SIMULATED else 4096  # of kernels whose threads walk over all elements
UNASKED = 48 << 10  # bytes of shared memory that a block gets without asking for them

Args = dict[str, Any]


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments, started by blocks of so many threads with so many bytes of shared memory; `cluster` of them,
    neighbours along x, are one.
    """

    kernel: Any
    blocks: Any
    threads: int
    args: tuple[Any, ...]
    shared: int
    cluster: int = 1

    def __call__(self, stream: Any) -> None:
        """Started by numba-cuda, which takes its time and knows no clusters; ready.py starts it at once."""
        self.kernel[self.blocks, self.threads, stream, self.shared](*self.args)


@dataclass(frozen=True)
class Twin:
    """What stands for a kernel on the device: `bind(args)` gives its launches for arguments that stay the same.

    Pointers are device arrays that begin where they point, empty ones for null. `scratch(args)` is how many float32 of memory
    of its own it needs, which bind gets as args["scratch"].
    """

    bind: Callable[[Args], list[Launch]]
    scratch: Callable[[Args], int] | None = None


def blocks_for(threads: int) -> int:
    """Blocks of THREADS for so many threads, one at least."""
    return max(1, min(BLOCKS, -(-threads // THREADS)))


def launch(kernel: Any, blocks: Any, threads: int, *args: Any, shared: int = 0, together: bool = False) -> Launch:
    """One launch; numbers become those that kernels count with. With `together` all blocks run at once, or the launch fails."""
    given = tuple(_argument(arg) for arg in args)
    if together or shared > UNASKED:
        prepared(kernel, given, threads, shared, together)
    return Launch(kernel, blocks, threads, given, shared)


def resident_blocks(kernel: Any, threads: int, *args: Any, shared: int) -> int:
    """How many blocks of such a launch the device holds at once."""
    return prepared(kernel, tuple(_argument(arg) for arg in args), threads, shared, True)


def launch_clusters(kernel: Any, blocks: tuple[int, int], threads: int, *args: Any, shared: int, at_once: int) -> list[Launch]:
    """One launch, whose blocks[0] neighbours along x are a cluster; none where the device does not hold `at_once` of them."""
    found = Launch(kernel, blocks, threads, tuple(_argument(arg) for arg in args), shared, blocks[0])
    return [found] if SIMULATED or _clusters_at_once(found) >= at_once else []


def _clusters_at_once(asked: Launch) -> int:
    prepared(asked.kernel, asked.args, asked.threads, asked.shared, False, asked.cluster)
    api, (config, function) = bindings(), configured(asked)
    error, *found = api.cuOccupancyMaxActiveClusters(function, config)
    return 0 if error == api.CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE else checked((error, *found))


def _argument(value: Any) -> Any:
    if isinstance(value, tuple):
        parts = [_argument(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, bool | int):
        return np.int64(value)
    return np.float32(value) if isinstance(value, float) else value


def jit(function: Any, threads: int | None = None) -> Any:
    """A kernel; `threads` says how many a block has at most, so that it takes no more registers than these leave."""
    return cuda.jit(function) if SIMULATED else cuda.jit(launch_bounds=threads)(function)
