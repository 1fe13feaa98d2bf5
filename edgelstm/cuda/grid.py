"""Blocks that share the units of some rows of the batch: one launch for all steps, or one for each phase of a step.

Both run the same time step. The states are in `work`, in global memory, and a block reads all of h before its product. In the
first form the blocks of the same rows meet at a barrier when h is written, which works only where all blocks of the launch are
resident at once; in the second the end of a launch is where they meet.
"""

from functools import cache
from typing import Any

from edgelstm.cuda import onchip, states
from edgelstm.cuda.cells import all_cells
from edgelstm.cuda.driver import cuda, on_element, types
from edgelstm.cuda.launching import RECURRENT_THREADS, jit
from edgelstm.cuda.scalars import device
from edgelstm.cuda.sweeps import BYTES, Access, Block, sharing, width
from edgelstm.kernels.recurrent import Sequence, Step

LINE = 16  # int64 of a cache line: the counters of different groups of rows lie apart


@cache
def persistent(name: str, form: str, rows: int, resident: bool) -> Any:
    """All steps in one launch. sizes: as of the whole form, then the units of a block and how often it takes `rows` rows; memory:
    where in shared memory weights and sums begin, behind a copy of the states; counters: LINE words for each group of rows, zero at first.
    """
    cell = all_cells()[name]
    phases = tuple(_turns(phase, rows) for phase in cell.phases(form, rows, Access(True, resident)))
    first, last, several = phases[0], phases[-1], len(phases) == 2
    opened, divided = onchip.opener(cell, form, resident), _divided(rows, resident)
    read, write = (_all(copy(cell, rows), rows) for copy in (states.reader, states.writer))

    def grid(p, y, work, mask, starts, ends, weights, options, scale, counters, sizes, memory):
        block, q = divided(sizes, memory), _sequence(p, y, work, mask, scale, sizes)
        panels = opened(block, q.units, weights, memory[0])
        now, other = 0, sizes[0] * width(sizes[2])
        read(block, q, now, starts, sizes[10])
        meet(counters)
        for s in range(q.steps):
            step = Step(q.steps - 1 - s if q.reverse else s, s == 0, now, other, 0, q.units, 0)
            first(q, step, block, panels, options, sizes[10])
            if several:
                meet(counters)
                last(q, step, block, panels, options, sizes[10])
            if s + 1 < q.steps:
                meet(counters)
            now, other = other, now
        write(block, q, now, ends, sizes[10])

    return jit(grid, RECURRENT_THREADS)


@cache
def stepwise(name: str, form: str, rows: int, resident: bool) -> tuple[Any, tuple[Any, ...], Any]:
    """Kernels that read the states, run a phase of step s, and write the states; sizes and memory as above."""
    cell = all_cells()[name]
    opened, phases = onchip.opener(cell, form, resident), cell.phases(form, rows, Access(True, resident))
    divided = _divided(rows, resident)
    copies = [_copier(_all(copy(cell, rows), rows), divided) for copy in (states.reader, states.writer)]
    return copies[0], tuple(_one_phase(_turns(phase, rows), opened, divided) for phase in phases), copies[1]


def _copier(copy: Any, divided: Any) -> Any:
    def copier(p, y, work, mask, arrays, now, scale, sizes, memory):
        copy(divided(sizes, memory), _sequence(p, y, work, mask, scale, sizes), now, arrays, sizes[10])

    return jit(copier)


def _one_phase(phase: Any, opened: Any, divided: Any) -> Any:
    def one_phase(p, y, work, mask, weights, options, s, now, other, scale, sizes, memory):
        block, q = divided(sizes, memory), _sequence(p, y, work, mask, scale, sizes)
        step = Step(q.steps - 1 - s if q.reverse else s, s == 0, now, other, 0, q.units, 0)
        phase(q, step, block, opened(block, q.units, weights, memory[0]), options, sizes[10])

    return jit(one_phase, RECURRENT_THREADS)


def _divided(rows: int, resident: bool) -> Any:
    """`block(sizes, memory)`: the part of the rows and units of this block of threads: its first `rows` rows."""
    share = sharing(resident)

    def block(sizes, memory):
        shared = cuda.shared.array(0, types.float32, BYTES)
        first, begin = cuda.blockIdx.y * rows * sizes[10], cuda.blockIdx.x * sizes[9]
        thread, threads, end = cuda.threadIdx.x, cuda.blockDim.x, min(begin + sizes[9], width(sizes[2]))
        return Block(thread, threads, sizes[0], first, first, begin, end, shared[memory[1]:], shared,
                     share(thread, threads, begin, end))

    return device(block)


@device
def _turn(block, ahead):
    """The block for the rows that many further on."""
    return Block(block.thread, block.threads, block.batch, block.first + ahead, block.local + ahead, block.begin, block.end,
                 block.partial, block.staged, block.share)


@device
def _sequence(p, y, work, mask, scale, sizes):
    return Sequence(p, y, work, mask, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7],
                    sizes[8], scale)


def _turns(phase: Any, rows: int) -> Any:
    """A phase for all rows of a block, `rows` of them at a time."""
    def run(q, step, block, weights, options, turns):
        for turn in range(turns):
            phase(q, step, _turn(block, turn * rows), weights, options)

    return device(run)


def _all(copy: Any, rows: int) -> Any:
    """The copy of states for all rows of a block."""
    def run(block, q, now, arrays, turns):
        for turn in range(turns):
            copy(_turn(block, turn * rows), q, now, arrays)

    return device(run)


_acquire = on_element("ld.acquire.gpu.global.s64 $0, [$1];", 64, lambda array, i: array[i])


@device
def meet(counters):
    """Returns when all blocks of these rows have come, and what they wrote before can be read past the first cache.

    A counter only grows, by the number of blocks at every meeting, so that it need not be reset between launches.
    """
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        at, blocks = cuda.blockIdx.y * LINE, cuda.gridDim.x
        cuda.threadfence()
        before = cuda.atomic.add(counters, at, 1)
        goal = (before // blocks + 1) * blocks
        while _acquire(counters, at) < goal:
            pass
        cuda.threadfence()
    cuda.syncthreads()
