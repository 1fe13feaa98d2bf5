"""All blocks of a launch at once on the simulator, which runs them one after the other, so that they could not meet.

Threads of a block meet at a barrier of the system instead of being polled for it, which is faster too.
"""

import sys
import threading
import time
from contextlib import contextmanager
from unittest import mock

import numpy as np
from numba.cuda.np.numpy_support import as_dtype
from numba.cuda.simulator import kernel, kernelapi

from edgelstm.cuda import grid

PATIENCE = 60.0  # seconds until a meeting is given up


class Shared(kernelapi.FakeCUDAShared):
    """The shared memory of a block, whose threads may ask for the same array at once."""

    def array(self, shape, dtype, alignment=None):
        if shape == 0:
            return super().array(shape, dtype)
        caller = sys._getframe(1)
        return self._allocations.setdefault((caller.f_code, caller.f_lineno), np.empty(shape, as_dtype(dtype)))


class Thread(threading.Thread):
    """A thread of a block; the names are those that the simulator asks for."""

    def __init__(self, block, target, index, number):
        super().__init__(target=self._guarded, args=(target,), daemon=True)
        self.block, self.blockIdx, self.threadIdx = block, kernelapi.Dim3(*block.index), kernelapi.Dim3(*index)
        self.thread_id = number

    def syncthreads(self):
        self.block.barrier.wait(PATIENCE)

    def _guarded(self, target):
        try:
            target()
        except Exception as error:
            self.block.failures.append(error)
            self.block.barrier.abort()


class Block:
    """Stands for the simulator's BlockManager: begins at once, and is waited for with the last block of the launch."""

    running: list["Block"] = []

    def __init__(self, function, grid_dim, block_dim, debug):
        self.function, self.last, self.dims = function, tuple(np.subtract(grid_dim, 1)), block_dim
        self.shared, self.failures = Shared(kernel._get_kernel_context()._shared._dynshared_size), []
        self.barrier = threading.Barrier(int(np.prod(block_dim)))

    def run(self, index, *args):
        self.index = index
        points = np.ndindex(*self.dims)
        self.threads = [Thread(self, lambda: self.function(*args), point, k) for k, point in enumerate(points)]
        self.running.append(self)
        for thread in self.threads:
            thread.start()
        if tuple(index) == self.last:
            self.finish(list(self.running))

    def finish(self, blocks):
        self.running.clear()
        for thread in (thread for block in blocks for thread in block.threads):
            thread.join()
        for failure in (failure for block in blocks for failure in block.failures):
            raise failure


class Counter:
    """Reads a counter, and fails where a block waits for ever."""

    def __init__(self):
        self.until = time.monotonic() + PATIENCE

    def __call__(self, array, i):
        assert time.monotonic() < self.until, "blocks wait for each other"
        time.sleep(1e-4)
        return array[i]


@contextmanager
def all_blocks_at_once():
    shared = property(lambda module: threading.current_thread().block.shared)
    with (mock.patch.object(kernel, "BlockManager", Block), mock.patch.object(kernelapi.FakeCUDAModule, "shared", shared),
          mock.patch.object(grid, "_acquire", Counter())):
        yield
