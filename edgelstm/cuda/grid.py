"""Blocks that share the units of some rows of the batch: one launch for all steps, or one for each phase of a step.

Both run the same time step. The states are in `work`, in global memory, and a block reads all of h before its product. In the
first form the blocks of the same rows meet at a barrier when h is written, which works only where all blocks of the launch are
resident at once; in the second the end of a launch is where they meet.
"""

from functools import cache
from typing import Any

from edgelstm.cuda import onchip, states
from edgelstm.cuda.arguments import sequence
from edgelstm.cuda.cells import all_cells
from edgelstm.cuda.driver import cuda, on_element, types
from edgelstm.cuda.launching import RECURRENT_THREADS, jit
from edgelstm.cuda.scalars import device
from edgelstm.cuda.sweeps import BYTES, Access, Block, sharing, width
from edgelstm.kernels.recurrent import Step

LINE = 16  # int64 of a cache line: the counters of different groups of rows lie apart


@cache
def persistent(name: str, form: str, rows: int, resident: bool) -> Any:
    """All steps in one launch. `counters`: LINE words for each group of rows, zero before the first launch."""
    cell = all_cells()[name]
    phases = tuple(_turns(phase, rows) for phase in cell.phases(form, rows, Access(True, resident)))
    first, last, several = phases[0], phases[-1], len(phases) == 2
    opened, divided = onchip.opener(cell, form, resident), _divided(rows, resident)
    read, write = (_all(copy(cell, rows), rows) for copy in (states.reader, states.writer))

    def grid(arrays, starts, ends, weights, options, scale, counters, sizes):
        block, q = divided(sizes), sequence(arrays, arrays.work, sizes.batch, sizes, scale)
        panels = opened(block, q.units, weights, sizes.weights)
        now, other = 0, sizes.batch * width(sizes.units)
        read(block, q, now, starts, sizes.turns)
        meet(counters)
        for s in range(q.steps):
            step = Step(q.steps - 1 - s if q.reverse else s, s == 0, now, other, 0, q.units, 0)
            first(q, step, block, panels, options, sizes.turns)
            if several:
                meet(counters)
                last(q, step, block, panels, options, sizes.turns)
            if s + 1 < q.steps:
                meet(counters)
            now, other = other, now
        write(block, q, now, ends, sizes.turns)

    return jit(grid, RECURRENT_THREADS)


@cache
def stepwise(name: str, form: str, rows: int) -> tuple[Any, tuple[Any, ...], Any]:
    """Kernels that read the states, run a phase of step s, and write the states."""
    cell, divided = all_cells()[name], _divided(rows, False)
    opened, phases = onchip.opener(cell, form, False), cell.phases(form, rows, Access(True, False))
    copies = [_copier(_all(copy(cell, rows), rows), divided) for copy in (states.reader, states.writer)]
    return copies[0], tuple(_one_phase(_turns(phase, rows), opened, divided) for phase in phases), copies[1]


def _copier(copy: Any, divided: Any) -> Any:
    def copier(arrays, carried, now, scale, sizes):
        copy(divided(sizes), sequence(arrays, arrays.work, sizes.batch, sizes, scale), now, carried, sizes.turns)

    return jit(copier)


def _one_phase(phase: Any, opened: Any, divided: Any) -> Any:
    def one_phase(arrays, weights, options, s, now, other, scale, sizes):
        block, q = divided(sizes), sequence(arrays, arrays.work, sizes.batch, sizes, scale)
        step = Step(q.steps - 1 - s if q.reverse else s, s == 0, now, other, 0, q.units, 0)
        phase(q, step, block, opened(block, q.units, weights, sizes.weights), options, sizes.turns)

    return jit(one_phase, RECURRENT_THREADS)


def _divided(rows: int, resident: bool) -> Any:
    """`block(sizes)`: the part of the rows and units of this block of threads: its first `rows` rows."""
    share = sharing(resident)

    def block(sizes):
        shared = cuda.shared.array(0, types.float32, BYTES)
        first, begin = cuda.blockIdx.y * rows * sizes.turns, cuda.blockIdx.x * sizes.span
        thread, threads, end = cuda.threadIdx.x, cuda.blockDim.x, min(begin + sizes.span, width(sizes.units))
        return Block(thread, threads, sizes.batch, first, first, begin, end, shared[sizes.sums:], shared,
                     share(thread, threads, begin, end))

    return device(block)


@device
def _turn(block, ahead):
    """The block for the rows that many further on."""
    return Block(block.thread, block.threads, block.batch, block.first + ahead, block.local + ahead, block.begin, block.end,
                 block.partial, block.staged, block.share)


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
