"""Blocks that share the units of some rows of the batch: one launch for all steps, or one for each phase of a step.

All run the same time step. In two forms the states are in `work`, in global memory, and a block reads all of h before its
product. In the first the blocks of the same rows meet at a barrier when h is written, which works only where all blocks of the
launch are resident at once; in the second the end of a launch is where they meet.

In the third the blocks of the same rows are a cluster. Each has the states in its own shared memory, whole, and sends what it
computes of h to the others. They meet once a phase, which is enough as h is read at `now` and written at `other`: between two
meetings a block reads one of the two and is sent the other. What was read is sent anew only behind a meeting, to which all come
when they have read it, and what was sent is read only behind one, at which it has arrived. r h of a GRU with the reset gate
before the product is sent in the first phase and read in the second, with a meeting behind each. The first meeting is before
anything is sent, since a block may be sent to only once it runs; the last is behind what is sent in the last step, since a
block may not end while it is sent to.
"""

from functools import cache
from typing import Any

from edgelstm.cuda.driver import cuda, on_element, types
from edgelstm.cuda.launching import RECURRENT_THREADS, jit
from edgelstm.cuda.recurrence import onchip, peers, states
from edgelstm.cuda.recurrence.arguments import sequence
from edgelstm.cuda.recurrence.cells import all_cells
from edgelstm.cuda.recurrence.shares import sharing
from edgelstm.cuda.recurrence.sweeps import BYTES, Access, Block, width
from edgelstm.cuda.scalars import device
from edgelstm.kernels.recurrent import Step

LINE = 16  # int64 of a cache line: the counters of different groups of rows lie apart


@cache
def persistent(name: str, form: str, rows: int, resident: bool) -> Any:
    """All steps in one launch. `counters`: LINE words for each group of rows, zero before the first launch."""
    cell = all_cells()[name]
    opened, divided = onchip.opener(cell, form, resident), _divided(rows, resident)
    walk = _walk([_turns(phase, rows) for phase in cell.phases(form, rows, Access(True, resident))], meet)
    read, write = (_all(copy(cell, rows), rows) for copy in (states.reader, states.writer))

    def grid(arrays, starts, ends, weights, options, scale, counters, sizes):
        block, q = divided(sizes), sequence(arrays, arrays.work, sizes.batch, sizes, scale)
        panels = opened(block, q.units, weights, sizes.weights)
        read(block, q, 0, starts, sizes.turns)
        meet(counters)
        now = walk(q, block, panels, options, sizes.turns, counters)
        write(block, q, now, ends, sizes.turns)

    return jit(grid, RECURRENT_THREADS)


@cache
def clustered(name: str, form: str, rows: int) -> Any:
    """All steps in one launch of clusters, whose blocks take their rows at once and have their weights in shared memory."""
    cell = all_cells()[name]
    opened, divided = onchip.opener(cell, form, True), _divided(rows, True)
    walk = _walk([_once(phase) for phase in cell.phases(form, rows, Access(False, True, True))], peers.meet)
    read, write = states.reader(cell, rows), states.writer(cell, rows)

    def cluster(arrays, starts, ends, weights, options, scale, sizes):
        work, block = cuda.shared.array(0, types.float32, BYTES), divided(sizes)
        block = Block(block.thread, block.threads, block.batch, block.first, 0, block.begin, block.end, block.partial,
                      work[sizes.prepared:], block.share)
        q = sequence(arrays, work, rows, sizes, scale)
        panels = opened(block, q.units, weights, sizes.weights)
        read(_of_all_units(block, q.units), q, 0, starts)
        peers.meet(0)
        now = walk(q, block, panels, options, 1, 0)
        peers.meet(0)
        write(block, q, now, ends)

    return jit(cluster, RECURRENT_THREADS)


@device
def _of_all_units(block, units):
    """The block as if it had no other beside it."""
    return Block(block.thread, block.threads, block.batch, block.first, block.local, 0, width(units), block.partial,
                 block.staged, block.share)


def _walk(phases: list[Any], meet: Any) -> Any:
    """`walk(sequence, block, panels, options, turns, counters) -> now`: all steps, h from 0 on to `now`. Blocks meet between
    phases.
    """
    first, last, several = phases[0], phases[-1], len(phases) == 2

    def walk(q, block, panels, options, turns, counters):
        now, other = 0, q.batch * width(q.units)
        for s in range(q.steps):
            step = Step(q.steps - 1 - s if q.reverse else s, s == 0, now, other, 0, q.units, 0)
            first(q, step, block, panels, options, turns)
            if several:
                meet(counters)
                last(q, step, block, panels, options, turns)
            if s + 1 < q.steps:
                meet(counters)
            now, other = other, now
        return now

    return device(walk)


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


def _once(phase: Any) -> Any:
    """A phase for blocks that take all their rows at once: the loop over turns would cost registers."""
    return device(lambda q, step, block, weights, options, turns: phase(q, step, block, weights, options))


def _all(copy: Any, rows: int) -> Any:
    """The copy of states for all rows of a block."""
    def run(block, q, now, arrays, turns):
        for turn in range(turns):
            copy(_turn(block, turn * rows), q, now, arrays)

    return device(run)


_acquire = on_element("ld.acquire.gpu.global.s64 $0, [$1];", 64, lambda array, i: array[i])


_TURN = 1 << 31


@device
def meet(counters):
    """Returns when all blocks of these rows have come, and what they wrote before can be read past the first cache.

    A counter only grows, by the number of blocks at every meeting, so that it need not be reset between launches.
    """
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        at, blocks = cuda.blockIdx.y * LINE, cuda.gridDim.x
        cuda.threadfence()
        before = cuda.atomic.add(counters, at, _TURN - blocks + 1 if cuda.blockIdx.x == 0 else 1)
        while (_acquire(counters, at) ^ before) & _TURN == 0:
            pass
        cuda.threadfence()
    cuda.syncthreads()
