"""One launch for all steps, by blocks that have some rows of the batch and all their units: states in shared memory."""

from functools import cache
from typing import Any

from edgelstm.cuda.driver import cuda, types
from edgelstm.cuda.launching import HOLDING_THREADS, RECURRENT_THREADS, jit
from edgelstm.cuda.recurrence import chunks, onchip, states
from edgelstm.cuda.recurrence.arguments import sequence
from edgelstm.cuda.recurrence.cells import all_cells
from edgelstm.cuda.recurrence.shares import sharing
from edgelstm.cuda.recurrence.sweeps import BYTES, Access, Block, width
from edgelstm.cuda.scalars import device
from edgelstm.kernels.recurrent import Step


@cache
def kernel(name: str, form: str, rows: int, resident: bool, held: int = 0) -> Any:
    """The kernel for blocks of `rows` rows; the first `held` chunks of a thread are in its registers."""
    cell = all_cells()[name]
    advance = _advance(cell.phases(form, rows, Access(False, resident, held=held)))
    opened, hold = onchip.opener(cell, form, resident, held), onchip.holder(cell, form, held)
    registers, kind = max(1, held * chunks.get(form, cell.products[0], 1).rows), chunks.word(form)
    share = sharing(False)  # whole vectors: no chunks lie side by side
    read, write = states.reader(cell, rows), states.writer(cell, rows)

    def whole(arrays, starts, ends, weights, options, scale, sizes):
        work, units = cuda.shared.array(0, types.float32, BYTES), sizes.units
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        block = Block(thread, threads, sizes.batch, cuda.blockIdx.x * rows, 0, 0, width(units), work[sizes.sums:],
                      work[sizes.prepared:], share(thread, threads, 0, width(units)))
        q, now, other = sequence(arrays, work, rows, sizes, scale), 0, rows * width(units)
        panels = hold(block, units, opened(block, units, weights, sizes.weights), cuda.local.array(registers, kind))
        read(block, q, now, starts)
        cuda.syncthreads()
        for s in range(q.steps):
            step = Step(q.steps - 1 - s if q.reverse else s, s == 0, now, other, 0, units, 0)
            advance(q, step, block, panels, options)
            now, other = other, now
        write(block, q, now, ends)

    return jit(whole, HOLDING_THREADS if held else RECURRENT_THREADS)


def _advance(phases: tuple[Any, ...]) -> Any:
    if len(phases) == 1:
        return phases[0]
    first, second = phases

    def advance(q, step, block, weights, options):
        first(q, step, block, weights, options)
        second(q, step, block, weights, options)

    return device(advance)
