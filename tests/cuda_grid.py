"""All blocks of a launch at once on the simulator, which runs them one after the other, so that they could not meet.

Threads of a block meet at a barrier of the system instead of being polled for it, which is faster too. Blocks with the same y
are a cluster, if they use what clusters have. Its meetings divide time into spells: a word of shared memory that another block
sends and this one reads or writes in the same spell is a race, whichever came first, and so is sending to a block that may not
run yet or has no meeting left.
"""

import sys
import threading
import time
from contextlib import contextmanager
from unittest import mock

import numpy as np
from numba.cuda.np.numpy_support import as_dtype
from numba.cuda.simulator import kernel, kernelapi

from edgelstm.cuda.recurrence import grid, peers

PATIENCE = 60.0  # seconds until a meeting is given up


class Watched(np.ndarray):
    """An array in the shared memory of a block of a cluster, which notes when its words were used."""

    def __array_finalize__(self, whole):
        self.memory = getattr(whole, "memory", None)

    def word(self, i):
        return (self.__array_interface__["data"][0] - self.memory.start) // 4 + int(i)

    def __getitem__(self, i):
        if not isinstance(i, slice):
            self.memory.use(self.word(i))
        return super().__getitem__(i)

    def __setitem__(self, i, value):
        self.memory.use(self.word(i))
        super().__setitem__(i, value)


class Shared(kernelapi.FakeCUDAShared):
    """The shared memory of a block, whose threads may ask for the same array at once.

    `used` and `sent`: the spell in which this block or another one touched a word last.
    """

    def __init__(self, size):
        super().__init__(size)
        self._dynshared[...] = -1  # NaN, as whatever was there before may be
        self.start, self.used, self.sent = self._dynshared.__array_interface__["data"][0], {}, {}

    def use(self, word):
        spell = self.used[word] = threading.current_thread().spell
        assert self.sent.get(word) != spell, f"word {word} is used while another block sends it"

    def receive(self, word, value):
        spell = self.sent[word] = threading.current_thread().spell
        assert self.used.get(word) != spell, f"word {word} is sent while the block uses it"
        self._dynshared[4 * word : 4 * word + 4].view(np.float32)[0] = value

    def array(self, shape, dtype, alignment=None):
        if shape == 0:
            array = super().array(shape, dtype).view(Watched)
            array.memory = self
            return array
        caller = sys._getframe(1)
        return self._allocations.setdefault((caller.f_code, caller.f_lineno), np.empty(shape, as_dtype(dtype)))


class Thread(threading.Thread):
    """A thread of a block; the names are those that the simulator asks for."""

    def __init__(self, block, target, index, number):
        super().__init__(target=self._guarded, args=(target,), daemon=True)
        self.block, self.blockIdx, self.threadIdx = block, kernelapi.Dim3(*block.index), kernelapi.Dim3(*index)
        self.thread_id, self.spell = number, 0

    def syncthreads(self):
        self.block.barrier.wait(PATIENCE)

    def _guarded(self, target):
        try:
            target()
        except Exception as error:
            self.block.failures.append(error)
            for block in list(self.block.running):
                block.barrier.abort()
                block.meeting.abort()


class Block:
    """Stands for the simulator's BlockManager: begins at once, and is waited for with the last block of the launch."""

    running: list["Block"] = []
    meetings: dict[int, threading.Barrier] = {}

    def __init__(self, function, grid_dim, block_dim, debug):
        self.function, self.last, self.dims = function, tuple(np.subtract(grid_dim, 1)), block_dim
        self.shared, self.failures = Shared(kernel._get_kernel_context()._shared._dynshared_size), []
        self.threads_in_all = int(np.prod(block_dim))
        self.barrier = threading.Barrier(self.threads_in_all)

    def run(self, index, *args):
        self.index, blocks = index, (self.last[0] + 1)
        self.meeting = self.meetings.setdefault(index[1], threading.Barrier(blocks * self.threads_in_all))
        points = np.ndindex(*self.dims)
        self.threads = [Thread(self, lambda: self.function(*args), point, k) for k, point in enumerate(points)]
        self.running.append(self)
        for thread in self.threads:
            thread.start()
        if tuple(index) == self.last:
            self.finish(list(self.running))

    def finish(self, blocks):
        for thread in (thread for block in blocks for thread in block.threads):
            thread.join()
        self.running.clear()
        self.meetings.clear()
        failures = [failure for block in blocks for failure in block.failures]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, threading.BrokenBarrierError)):
            raise failure
        for block in blocks:
            last = max(block.shared.sent.values(), default=-1)
            assert last < block.threads[0].spell, "a block may have ended before it is sent to"


class Counter:
    """Reads a counter, and fails where a block waits for ever."""

    def __init__(self):
        self.until = time.monotonic() + PATIENCE

    def __call__(self, array, i):
        assert time.monotonic() < self.until, "blocks wait for each other"
        time.sleep(1e-4)
        return array[i]


def store(array, i, x, value):
    """Stands for cluster_store."""
    thread = threading.current_thread()
    assert thread.spell, "a block is sent to before it is known to run"
    peer = next(block for block in Block.running if tuple(block.index[:2]) == (x, thread.blockIdx.y))
    peer.shared.receive(array.word(i), value)


def barrier():
    """Stands for cluster_barrier."""
    thread = threading.current_thread()
    thread.block.meeting.wait(PATIENCE)
    thread.spell += 1


def all_meetings_but(missing):
    """The same, but for one of the meetings."""
    def barrier_or_not():
        thread = threading.current_thread()
        thread.came = getattr(thread, "came", -1) + 1
        if thread.came != missing:
            barrier()

    return barrier_or_not


@contextmanager
def all_blocks_at_once():
    shared = property(lambda module: threading.current_thread().block.shared)
    with (mock.patch.object(kernel, "BlockManager", Block), mock.patch.object(kernelapi.FakeCUDAModule, "shared", shared),
          mock.patch.object(grid, "_acquire", Counter()), mock.patch.object(peers, "_store", store),
          mock.patch.object(peers, "_barrier", barrier)):
        yield
