"""One time step of a recurrent cell by a block of threads: recurrent products, then the CPU's code of the cell.

The units of a block are whole vectors, or a power-of-two part S of one vector. A thread sums every so-many-th chunk of the
inputs for one unit, all gates and `rows` rows of the batch, so that a warp reads whole lines of a panel and every weight
serves several rows. The parts meet in shared memory, and a thread finishes each unit of each row.

Panels lie in global memory, or the block has copied those of its units into its shared memory (`onchip.py`). There, where S is
less than LANES, K = LANES / S chunks lie side by side, [chunk / K][row][K chunks x S units], so that a warp still reads lines.
"""

from typing import Any, NamedTuple

import numpy as np

from edgelstm.cuda import chunks, rounding, scalars
from edgelstm.cuda.chunks import Chunk
from edgelstm.cuda.driver import LANES, SIMULATED, cuda, on_element, types
from edgelstm.cuda.rounding import Floats, Prepared
from edgelstm.cuda.scalars import device
from edgelstm.kernels.recurrent import Place

PARTS = 4  # sums of a unit that are left for the thread which finishes it


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


class Panels(NamedTuple):
    """The recurrent weights of one product: `words[at:]` begins with those of the block's first unit; `source` is all of them
    in global memory.
    """

    words: Any
    at: int
    source: Any


class Weights(NamedTuple):
    """The panels of one or two products, and the recurrent bias."""

    first: Any
    second: Any
    bias: Any


class Access(NamedTuple):
    """Where a step reads: `exchanged` where other blocks may have written the state, `resident` where the panels are the
    block's copy in shared memory.
    """

    exchanged: bool
    resident: bool


def sweep(form: str, gates: int, rows: int, cell: Any, access: Access, *, biased: bool = False, projected: int = 0) -> Any:
    """`sweep(sequence, step, block, at, panels, rb, options)`: for every row and unit of the block the products of the state at
    work[at:] with the panels, rb added where `biased`, then `cell`.
    """
    chunk, projected = chunks.get(form, gates, rows), projected or gates
    multiply, ask, ready = _multiply(chunk, gates, rows, access.resident), _ask(rows, projected), _ready(chunk, rows, access)
    fold, finish, stage = _fold(chunk, gates, rows), _finish(rows, cell, _sums(chunk, gates, rows, access, biased),
                                                             projected), _stage(rows)

    def run(q, step, block, x, at, panels, rb, options):
        ask(q, step, block)
        x, at, stride = ready(q, block, x, at)
        multiply(q, block, x, at, stride, panels)
        cuda.syncthreads()
        fold(block)
        finish(q, step, block, panels, rb, options)
        cuda.syncthreads()

    run = device(run)

    def run_own(q, step, block, at, panels, rb, options):
        run(q, step, block, q.work, at + block.local * width(q.units), panels, rb, options)

    def run_exchanged(q, step, block, at, panels, rb, options):
        stage(q, block, at + block.local * width(q.units))
        cuda.syncthreads()
        run(q, step, block, block.staged, 0, panels, rb, options)

    return device(run_exchanged if access.exchanged else run_own)


def staged_words(chunk: Chunk, rows: int, units: int, exchanged: bool) -> int:
    """The 32-bit words of block.staged: the rows of a state where they are exchanged, then as the product reads them."""
    return rows * ((-(-units // LANES) * LANES if exchanged else 0) + (chunk.row_words(units) if chunk.form else 0))


def partial_words(gates: int, rows: int, threads: int, span: int) -> int:
    """The 32-bit words of block.partial, for a block of `span` units."""
    return rows * gates * max(span, threads)


@device
def width(units):
    """Units rounded up to whole vectors."""
    return (units + LANES - 1) // LANES * LANES


@device
def parts_of(block):
    """How many threads share the inputs of a unit."""
    return max(1, block.threads // (block.end - block.begin))


def _stage(rows: int) -> Any:
    """The rows of a state into shared memory, past the cache that does not see what others wrote."""
    read = device(lambda p, i: p[i]) if SIMULATED else cuda.ldcg

    def stage(q, block, at):
        count = min(rows, block.batch - block.first) * width(q.units)
        for i in range(block.thread, rows * width(q.units), block.threads):
            block.staged[i] = read(q.work, at + i) if i < count else 0.0

    return device(scalars.narrowed(stage))


def _ask(rows: int, projected: int) -> Any:
    """Prefetches what this thread will read of p."""
    prefetch = on_element("prefetch.global.L1 [$0];", 0, lambda array, i: None)

    def ask(q, step, block):
        span = block.end - block.begin
        for i in range(block.thread, rows * span, block.threads):
            m = i // span
            unit, row = block.begin + i - m * span, block.first + m
            if row < block.batch:
                at = step.t * q.p_t + row * q.p_b + unit // LANES * LANES * projected + unit % LANES
                for g in range(projected):
                    prefetch(q.p, at + g * LANES)

    return device(ask)


def _ready(chunk: Chunk, rows: int, access: Access) -> Any:
    """`ready(q, block, x, at) -> (x, at, stride)`: where the product reads the rows of x[at:], which are `width` apart."""
    if not chunk.form:
        return device(lambda q, block, x, at: (x, at, width(q.units)))
    prepare, stride_of, start = rounding.prepare(rows), _row_words(chunk), _prepared_at(rows, access)

    def ready(q, block, x, at):
        stride = stride_of(q.units)
        target = Prepared(block.staged, start(q.units), stride, stride - 1, stride - 1)
        prepare(block.thread, block.threads, Floats(x, at, width(q.units), q.units), target, block.partial, q.h_scale)
        cuda.syncthreads()
        return block.staged, start(q.units), stride

    return device(ready)


def _row_words(chunk: Chunk) -> Any:
    """`Chunk.row_words` for kernels."""
    inputs, numbers = chunk.inputs, chunk.numbers
    return device(lambda n_in: (n_in + inputs - 1) // inputs * numbers + 1)


def _prepared_at(rows: int, access: Access) -> Any:
    """`at(units)`: where prepared rows begin in block.staged."""
    return device((lambda units: rows * width(units)) if access.exchanged else (lambda units: 0))


def _multiply(chunk: Chunk, gates: int, rows: int, resident: bool) -> Any:
    inputs, numbers, add, kept, count, kind = chunk.inputs, chunk.numbers, chunk.add, chunk.kept, rows * gates, chunk.kind
    line, panel = chunk.rows * LANES, _panel(chunk, resident)

    def multiply(q, block, x, at, stride, panels):
        span, parts = block.end - block.begin, parts_of(block)
        beside = max(1, LANES // span) if resident else 1
        for i in range(block.thread, span * parts, block.threads):
            part = i // span
            unit = i - part * span
            base = panels.at + unit // LANES * panel(q.units) + part // beside * line + part % beside * span + unit % LANES
            element = at + part * numbers
            sums = cuda.local.array(count, kind)
            for e in range(count):
                sums[e] = 0
            for k in range(part * inputs, q.units, parts * inputs):
                add(sums, x, element, stride, panels.words, base, q.units - k)
                base += parts // beside * line
                element += parts * numbers
            for e in range(count):
                block.partial[(part * count + e) * span + unit] = kept(sums[e])

    return device(multiply)


def _panel(chunk: Chunk, resident: bool) -> Any:
    """`panel(n_in)`: the words of the panel of a vector; a copy has whole chunks and no tail."""
    inputs, line, stored = chunk.inputs, chunk.rows * LANES, device(chunk.stored)
    return device((lambda n_in: (n_in + inputs - 1) // inputs * line) if resident else (lambda n_in: stored(n_in) * LANES))


def _fold(chunk: Chunk, gates: int, rows: int) -> Any:
    """Adds the sums of all parts to those of the first PARTS."""
    plus = chunk.plus

    def fold(block):
        size, parts = (block.end - block.begin) * rows * gates, parts_of(block)
        if parts > PARTS:
            for i in range(block.thread, size * PARTS, block.threads):
                found = block.partial[i]
                for other in range(i + size * PARTS, size * parts, size * PARTS):
                    found = plus(found, block.partial[other])
                block.partial[i] = found
            cuda.syncthreads()

    return device(fold)


def _finish(rows: int, cell: Any, sums: Any, projected: int) -> Any:
    """The cell for every row and unit; LANES neighbouring threads have the lanes of a vector."""
    cell = device(cell)

    def finish(q, step, block, panels, rb, options):
        base = block.begin // LANES * LANES
        across = width(block.end) - base
        for i in range(block.thread, rows * across, block.threads):
            m = i // across
            unit, row = base + i - m * across, block.first + m
            if row < block.batch and block.begin <= unit < block.end:
                first = unit // LANES * LANES
                place = Place(row, first, step.t * q.p_t + row * q.p_b + first * projected,
                              (block.local + m) * width(q.units) + first)
                cell(q, step, place, sums(q, block, m, unit, panels, rb), options)

    return device(finish)


def _sums(chunk: Chunk, gates: int, rows: int, access: Access, biased: bool) -> Any:
    """`sums(q, block, m, unit, panels, rb)`: the complete sums of the gates, as a tuple."""
    gate = _gate(chunk, gates, rows, access, biased)
    return device({
        1: lambda q, block, m, unit, r, rb: (gate(q, block, m, unit, 0, r, rb),),
        2: lambda q, block, m, unit, r, rb: (gate(q, block, m, unit, 0, r, rb), gate(q, block, m, unit, 1, r, rb)),
        3: lambda q, block, m, unit, r, rb: (gate(q, block, m, unit, 0, r, rb), gate(q, block, m, unit, 1, r, rb),
                                             gate(q, block, m, unit, 2, r, rb)),
        4: lambda q, block, m, unit, r, rb: (gate(q, block, m, unit, 0, r, rb), gate(q, block, m, unit, 1, r, rb),
                                             gate(q, block, m, unit, 2, r, rb), gate(q, block, m, unit, 3, r, rb)),
    }[gates])


def _gate(chunk: Chunk, gates: int, rows: int, access: Access, biased: bool) -> Any:
    """`gate(q, block, m, unit, g, panels, rb)`: the complete sum of gate g of row m."""
    total, start = _total(chunk, gates, rows), _start(gates, biased)
    if not chunk.form:
        plain = device(lambda q, block, m, unit, g, panels, rb: total(block, m, unit, g))
        added = device(lambda q, block, m, unit, g, panels, rb: total(block, m, unit, g) + start(unit, g, rb))
        return added if biased else plain
    stored, words, first, finished = device(chunk.stored), _row_words(chunk), _prepared_at(rows, access), chunk.finished

    def gate(q, block, m, unit, g, panels, rb):
        scale = block.staged[first(q.units) + (m + 1) * words(q.units) - 1]
        column = unit // LANES * stored(q.units) * LANES + unit % LANES
        return finished(total(block, m, unit, g), start(unit, g, rb), scale, panels.source, column, q.units, g)

    return device(gate)


def _start(gates: int, biased: bool) -> Any:
    """`start(unit, g, rb)`: what the products of a gate are added to."""
    if not biased:
        return device(lambda unit, g, rb: np.float32(0.0))

    def start(unit, g, rb):
        return rb[unit // LANES * gates * LANES + g * LANES + unit % LANES] if rb.shape[0] > 0 else np.float32(0.0)

    return device(start)


def _total(chunk: Chunk, gates: int, rows: int) -> Any:
    """`total(block, m, unit, g)`: the sum of gate g of row m over all parts that are left."""
    plus = chunk.plus

    def total(block, m, unit, g):
        span = block.end - block.begin
        at, stride = (m * gates + g) * span + unit - block.begin, rows * gates * span
        found = block.partial[at]
        for part in range(1, min(PARTS, parts_of(block))):
            found = plus(found, block.partial[at + part * stride])
        return found

    return device(total)
