"""States between the arrays of a call and `work`: what a block of threads reads at the start and writes at the end."""

from typing import Any

import numpy as np

from edgelstm.cuda.recurrence.cells import Cell
from edgelstm.cuda.recurrence.sweeps import width
from edgelstm.cuda.scalars import device


def reader(cell: Cell, rows: int) -> Any:
    """`read(block, sequence, now, arrays)`: states of the block's rows and units into work, h at `now`, zeros where null."""
    return _carried(cell, rows, _read)


def writer(cell: Cell, rows: int) -> Any:
    """`write(block, sequence, now, arrays)`: the reverse, nothing where null."""
    return _carried(cell, rows, _write)


@device
def _read(block, rows, units, work, at, source):
    for m in range(rows):
        unit, row, to = block.begin + block.thread, block.first + m, at + (block.local + m) * width(units)
        while row < block.batch and unit < block.end:
            value = np.float32(0.0)
            if source.shape[0] > 0 and unit < units:
                value = source[np.uint64(row * units + unit)]
            work[np.uint64(to + unit)] = value
            unit += block.threads


@device
def _write(block, rows, units, work, at, target):
    for m in range(rows if target.shape[0] > 0 else 0):
        unit, row, found = block.begin + block.thread, block.first + m, at + (block.local + m) * width(units)
        while row < block.batch and unit < min(block.end, units):
            target[np.uint64(row * units + unit)] = work[np.uint64(found + unit)]
            unit += block.threads


def _carried(cell: Cell, rows: int, copy: Any) -> Any:
    """`copy` for h, which is in work at `now`, and for the cell state where there is one."""
    if len(cell.carried) == 1:
        return device(lambda block, q, now, arrays: copy(block, rows, q.units, q.work, now, arrays[0]))
    index = cell.carried[1][1]

    def both(block, q, now, arrays):
        copy(block, rows, q.units, q.work, now, arrays[0])
        copy(block, rows, q.units, q.work, index * q.batch * width(q.units), arrays[1])

    return device(both)
