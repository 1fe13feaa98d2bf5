"""One launch for all steps, by blocks that have some rows of the batch and all their units: states in shared memory."""

from functools import cache
from typing import Any

from edgelstm.cuda import onchip, states
from edgelstm.cuda.cells import all_cells
from edgelstm.cuda.driver import cuda, types
from edgelstm.cuda.launching import RECURRENT_THREADS, jit
from edgelstm.cuda.scalars import device
from edgelstm.cuda.sweeps import BYTES, Access, Block, sharing, width
from edgelstm.kernels.recurrent import Sequence, Step


@cache
def kernel(name: str, form: str, rows: int, resident: bool) -> Any:
    """The kernel for blocks of `rows` rows. sizes: batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold; memory: where in
    shared memory weights, sums and prepared rows begin, behind the states.
    """
    cell = all_cells()[name]
    advance = _advance(cell.phases(form, rows, Access(False, resident)))
    opened = onchip.opener(cell, form, resident)
    share = sharing(resident)
    read, write = states.reader(cell, rows), states.writer(cell, rows)

    def whole(p, y, mask, starts, ends, weights, options, scale, sizes, memory):
        work, units, steps = cuda.shared.array(0, types.float32, BYTES), sizes[2], sizes[1]
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        block = Block(thread, threads, sizes[0], cuda.blockIdx.x * rows, 0, 0, width(units), work[memory[1]:],
                      work[memory[2]:], share(thread, threads, 0, width(units)))
        q = Sequence(p, y, work, mask, rows, steps, units, sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], scale)
        now, other = 0, rows * width(units)
        panels = opened(block, units, weights, memory[0])
        read(block, q, now, starts)
        cuda.syncthreads()
        for s in range(steps):
            t = steps - 1 - s if sizes[7] else s
            advance(q, Step(t, s == 0, now, other, 0, units, 0), block, panels, options)
            now, other = other, now
        write(block, q, now, ends)

    return jit(whole, RECURRENT_THREADS)


def _advance(phases: tuple[Any, ...]) -> Any:
    if len(phases) == 1:
        return phases[0]
    first, second = phases

    def advance(q, step, block, weights, options):
        first(q, step, block, weights, options)
        second(q, step, block, weights, options)

    return device(advance)
