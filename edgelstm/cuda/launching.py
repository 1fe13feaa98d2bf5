"""How twins are launched: arguments as device arrays and numbers, blocks and threads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelstm.cuda.driver import SIMULATED, cuda

THREADS = 4 if SIMULATED else 256
BLOCKS = 2 if SIMULATED else 4096  # of kernels whose threads walk over all elements

Args = dict[str, Any]
Launch = Callable[[Any], None]  # is given the stream


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


def launch(kernel: Any, blocks: Any, threads: int, *args: Any, shared: int = 0) -> Launch:
    """One launch; numbers become those that kernels count with."""
    given = tuple(_argument(arg) for arg in args)
    return lambda stream: kernel[blocks, threads, stream, shared](*given)


def _argument(value: Any) -> Any:
    if isinstance(value, tuple):
        parts = [_argument(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, bool | int):
        return np.int64(value)
    return np.float32(value) if isinstance(value, float) else value


def jit(function: Any) -> Any:
    """A kernel."""
    return cuda.jit(function)
