"""One time step of a recurrent cell by a block of threads: recurrent products, then the CPU's code of the cell.

A thread sums part of the inputs for one unit, all gates and `rows` rows of the batch, so that a warp reads whole lines of a
panel and every weight serves several rows. The parts meet in shared memory, and a thread finishes each unit of each row.
Weights that are read at every step stay in the caches of the multiprocessor as far as they fit.
"""

from typing import Any, NamedTuple

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, SIMULATED, cuda, types
from edgelstm.cuda.products import panel_rows, weight
from edgelstm.cuda.scalars import device
from edgelstm.kernels.recurrent import Place


class Block(NamedTuple):
    """What a block of threads works on: rows of the batch from `first` on, which are rows `local` and so on of the states,
    and the units from begin to end, whole vectors. `partial` and `staged` lie in shared memory.
    """

    thread: int
    threads: int
    batch: int
    first: int
    local: int
    begin: int
    end: int
    partial: Any
    staged: Any


class Weights(NamedTuple):
    """The panels of one or two products, and the recurrent bias."""

    first: Any
    second: Any
    bias: Any


def sweep(form: str, gates: int, rows: int, cell: Any, *, staged: bool, biased: bool = False, projected: int = 0) -> Any:
    """`sweep(sequence, step, block, at, r, rb, options)`: for every row and unit of the block the products of the state at
    work[at:] with the panels r, rb added where `biased`, then `cell`. With `staged` other blocks may have written that state.
    """
    multiply, finish, stage = _multiply(form, gates, rows), _finish(gates, rows, cell, biased, projected or gates), _stage(rows)

    if not staged:
        def run(q, step, block, at, r, rb, options):
            multiply(q, block, q.work, at + block.local * _width(q.units), r)
            cuda.syncthreads()
            finish(q, step, block, rb, options)
            cuda.syncthreads()

        return device(run)

    def run_staged(q, step, block, at, r, rb, options):
        stage(q, block, at + block.local * _width(q.units))
        cuda.syncthreads()
        multiply(q, block, block.staged, 0, r)
        cuda.syncthreads()
        finish(q, step, block, rb, options)
        cuda.syncthreads()

    return device(run_staged)


@device
def _width(units):
    return (units + LANES - 1) // LANES * LANES


def _stage(rows: int) -> Any:
    """The rows of a state into shared memory, past the cache that does not see what others wrote."""
    read = device(lambda p, i: p[i]) if SIMULATED else cuda.ldcg

    def stage(q, block, at):
        width = _width(q.units)
        count = min(rows, block.batch - block.first) * width
        for i in range(block.thread, rows * width, block.threads):
            block.staged[i] = read(q.work, at + i) if i < count else 0.0

    return device(scalars.narrowed(stage))


def _multiply(form: str, gates: int, rows: int) -> Any:
    value, stored = weight(form), panel_rows(form)
    panel, count, f32 = gates * LANES, rows * gates, types.float32

    def multiply(q, block, x, at, r):
        span, width = block.end - block.begin, _width(q.units)
        parts = max(1, block.threads // span)
        share = (q.units + parts - 1) // parts
        for i in range(block.thread, span * parts, block.threads):
            part = i // span
            unit = block.begin + i - part * span
            column = unit // LANES * stored(q.units) * panel + unit % LANES
            sums = cuda.local.array(count, f32)
            for e in range(count):
                sums[e] = 0.0
            for k in range(part * share, min(q.units, (part + 1) * share)):
                for g in range(gates):
                    factor = value(r, column + g * LANES, panel, k, q.units)
                    for m in range(rows):
                        sums[m * gates + g] += x[np.uint64(at + m * width + k)] * factor
            for e in range(count):
                block.partial[(part * count + e) * span + unit - block.begin] = sums[e]

    return device(multiply)


def _finish(gates: int, rows: int, cell: Any, biased: bool, projected: int) -> Any:
    """The cell for every row and unit; LANES neighbouring threads finish the units of a vector."""
    sums, cell = _sums(gates, rows, biased), device(cell)

    def finish(q, step, block, rb, options):
        span, width = block.end - block.begin, _width(q.units)
        for i in range(block.thread, rows * span, block.threads):
            m = i // span
            unit, row = block.begin + i - m * span, block.first + m
            if row < block.batch:
                base = unit // LANES * LANES
                place = Place(row, base, step.t * q.p_t + row * q.p_b + base * projected, (block.local + m) * width + base)
                cell(q, step, place, sums(block, m, unit, rb), options)

    return device(finish)


def _sums(gates: int, rows: int, biased: bool) -> Any:
    """`sums(block, m, unit, rb)`: the complete sums of the gates, as a tuple."""
    total = _total(gates, rows, biased)
    return device({
        1: lambda block, m, unit, rb: (total(block, m, unit, 0, rb),),
        2: lambda block, m, unit, rb: (total(block, m, unit, 0, rb), total(block, m, unit, 1, rb)),
        3: lambda block, m, unit, rb: (total(block, m, unit, 0, rb), total(block, m, unit, 1, rb),
                                       total(block, m, unit, 2, rb)),
        4: lambda block, m, unit, rb: (total(block, m, unit, 0, rb), total(block, m, unit, 1, rb), total(block, m, unit, 2, rb),
                                       total(block, m, unit, 3, rb)),
    }[gates])


def _total(gates: int, rows: int, biased: bool) -> Any:
    """`total(block, m, unit, g, rb)`: the sum of gate g of row m over all parts."""
    def total(block, m, unit, g, rb):
        span = block.end - block.begin
        at, stride = (m * gates + g) * span + unit - block.begin, rows * gates * span
        found = block.partial[at]
        for part in range(1, max(1, block.threads // span)):
            found += block.partial[at + part * stride]
        if biased and rb.shape[0] > 0:
            found += rb[unit // LANES * gates * LANES + g * LANES + unit % LANES]
        return found

    return device(total)
