"""One time step of a recurrent cell by a block of threads: recurrent products, then the CPU's code of the cell.

The units of a block are whole vectors, or a power-of-two part S of one vector. A thread sums every so-many-th chunk of the
inputs for one unit, all gates and `rows` rows of the batch, so that a warp reads whole lines of a panel and every weight
serves several rows. The parts meet in shared memory, and a thread finishes each unit of each row.

Panels lie in global memory, or the block has copied those of its units into its shared memory (`onchip.py`). There, where S is
less than LANES, K = LANES / S chunks lie side by side, [chunk / K][row][K chunks x S units], so that a warp still reads lines.
"""

from typing import Any, NamedTuple

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, SIMULATED, cuda, on_element
from edgelstm.cuda.recurrence import chunks
from edgelstm.cuda.recurrence.chunks import Chunk
from edgelstm.cuda.recurrence.peers import send
from edgelstm.cuda.recurrence.shares import PARTS, Share, unpacked, width
from edgelstm.cuda.scalars import anew, device, written_out
from edgelstm.cuda.tiled import rounding
from edgelstm.cuda.tiled.rounding import Floats, Prepared
from edgelstm.kernels.recurrent import Place, Sequence

# Bytes of shared memory, and words where rows begin: for loads of four words.
BYTES, ALIGNED = (None, -1) if SIMULATED else (16, -4)


class Block(NamedTuple):
    """What a block of threads works on: rows of the batch from `first` on, which are rows `local` and so on of the states,
    and the units from begin to end. `partial` and `staged` lie in shared memory.
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
    share: Share


class Panels(NamedTuple):
    """The recurrent weights of one product: `words[at:]` begins with those of the block's first unit; `source` is all of them
    in global memory. `held`: the words of this thread's first chunks, where some are in its registers; the copy begins behind
    the last of them.
    """

    words: Any
    at: int
    source: Any
    held: Any


class Weights(NamedTuple):
    """The panels of one or two products, and the recurrent bias."""

    first: Any
    second: Any
    bias: Any


class Access(NamedTuple):
    """Where a step reads: `exchanged` where other blocks may have written the state, `resident` where the panels are the
    block's copy in shared memory, all but the first `held` chunks of every thread, which are in its registers. Where
    `clustered`, each block of a cluster has all states in its shared memory, and what it writes of them goes to the others as
    well.
    """

    exchanged: bool
    resident: bool
    clustered: bool = False
    held: int = 0


def sweep(form: str, gates: int, rows: int, cell: Any, access: Access, *, biased: bool = False, projected: int = 0,
          written: Any = lambda q, step: step.other) -> Any:
    """`sweep(sequence, step, block, at, panels, rb, options)`: for every row and unit of the block the products of the state at
    work[at:] with the panels, rb added where `biased`, then `cell`. `written(sequence, step)`: where in work it writes what a
    next product reads.
    """
    chunk, projected = chunks.get(form, gates, rows), projected or gates
    count, ready, stage = rows * gates * chunk.sums, _ready(chunk, rows, access), _stage(rows)
    multiply, fold = _multiply(chunk, count, access, _held(form, gates, rows, access.held)), _fold(chunk, count)
    ask = _each(rows, _ask(projected))
    finish = _each(rows, _finish(cell, _sums(chunk, gates, rows, access, biased), projected, _sent(access, written)))
    units_of, block_of = _afresh(chunk.prepared > 0 or access.held > 0)

    def run(q, step, block, x, at, panels, rb, options):
        ask(units_of(q), step, block_of(block), panels, rb, options)
        x, at, stride = ready(units_of(q), block_of(block), x, at)
        multiply(units_of(q), block_of(block), x, at, stride, panels)
        cuda.syncthreads()
        fold(block_of(block))
        finish(units_of(q), step, block_of(block), panels, rb, options)
        cuda.syncthreads()

    run = device(run)

    def run_own(q, step, block, at, panels, rb, options):
        run(q, step, block, q.work, (at & ALIGNED) + block.local * width(q.units), panels, rb, options)

    def run_exchanged(q, step, block, at, panels, rb, options):
        q, block = units_of(q), block_of(block)
        stage(q, block, at + block.local * width(q.units))
        cuda.syncthreads()
        run(q, step, block, block.staged, 0, panels, rb, options)

    return device(run_exchanged if access.exchanged else run_own)


def _afresh(wanted: bool) -> tuple[Any, Any]:
    """`units_of(sequence)` and `block_of(block)`: the same, but where that is `wanted` nothing that a part of a step computes
    from them is kept for another part: that takes more registers than there are where rows are prepared or weights held.
    """
    if not wanted:
        return device(lambda q: q), device(lambda block: block)
    new = anew()
    return (device(lambda q: Sequence(q.p, q.y, q.work, q.mask, q.batch, q.steps, new(q.units), q.p_t, q.p_b, q.y_t, q.y_b,
                                      q.reverse, q.hold, q.h_scale)),
            device(lambda block: Block(new(block.thread), new(block.threads), block.batch, new(block.first), new(block.local),
                                       new(block.begin), new(block.end), block.partial, block.staged, block.share)))


def staged_words(chunk: Chunk, rows: int, units: int, exchanged: bool) -> int:
    """The 32-bit words of block.staged: the rows of a state where they are exchanged, then as the product reads them."""
    return rows * ((-(-units // LANES) * LANES if exchanged else 0) + chunk.row_words(units))


def partial_words(chunk: Chunk, gates: int, rows: int, threads: int, span: int) -> int:
    """The 32-bit words of block.partial, for a block of `span` units."""
    return rows * gates * chunk.sums * max(span, threads)


def _stage(rows: int) -> Any:
    """The rows of a state into shared memory, past the cache that does not see what others wrote."""
    read = device(lambda p, i: p[i]) if SIMULATED else cuda.ldcg

    def stage(q, block, at):
        count, i = min(rows, block.batch - block.first) * width(q.units), block.thread
        while i < rows * width(q.units):
            block.staged[np.uint64(i)] = read(q.work, at + i) if i < count else 0.0
            i += block.threads

    return device(scalars.narrowed(stage))


def _each(rows: int, visit: Any) -> Any:
    """`visit(sequence, step, block, m, unit, panels, rb, options)` for all units of the rows m; LANES neighbouring threads
    have the lanes of a vector.
    """
    def each(q, step, block, panels, rb, options):
        base, share = block.begin // LANES * LANES, unpacked(block.share)
        across, m, lane = width(block.end) - base, share.row, share.column
        while m < rows:
            if block.first + m < block.batch and block.begin <= base + lane < block.end:
                visit(q, step, block, m, base + lane, panels, rb, options)
            m, lane = m + share.rows, lane + share.columns
            if lane >= across:
                m, lane = m + 1, lane - across

    return device(each)


def _ask(projected: int) -> Any:
    """Prefetches what the cell will read of p."""
    prefetch = on_element("prefetch.global.L1 [$0];", 0, lambda array, i: None)

    def ask(q, step, block, m, unit, panels, rb, options):
        at = step.t * q.p_t + (block.first + m) * q.p_b + unit // LANES * LANES * projected + unit % LANES
        for g in range(projected):
            prefetch(q.p, at + g * LANES)

    return device(ask)


def _ready(chunk: Chunk, rows: int, access: Access) -> Any:
    """`ready(q, block, x, at) -> (x, at, stride)`: where the product reads the rows of x[at:], which are `width` apart."""
    if not chunk.prepared:
        return device(lambda q, block, x, at: (x, at, width(q.units)))
    parts, prepare = chunk.prepared, rounding.prepare(chunk.prepared == 2)
    words, start = _part_words(chunk), _prepared_at(rows, access)

    def ready(q, block, x, at):
        last = words(q.units) - 1
        stride = (last + 1) * parts
        target = Prepared(block.staged, start(q.units), stride, last, last)
        source = Floats(min(rows, block.batch - block.first), x, at, width(q.units), q.units)
        prepare(block.thread, block.threads, source, target, block.partial, q.h_scale)
        cuda.syncthreads()
        return block.staged, start(q.units), stride

    return device(ready)


def _part_words(chunk: Chunk) -> Any:
    """`words(n_in)`: those of a part of a prepared row, for kernels."""
    inputs, numbers = chunk.inputs, chunk.numbers
    return device(lambda n_in: (n_in + inputs - 1) // inputs * numbers + 1)


def _prepared_at(rows: int, access: Access) -> Any:
    """`at(units)`: where prepared rows begin in block.staged."""
    return device((lambda units: rows * width(units)) if access.exchanged else (lambda units: 0))


def _multiply(chunk: Chunk, count: int, access: Access, begin: Any) -> Any:
    panel, held = _panel(chunk, access), access.held
    inputs, numbers, add, kept, line, kind = chunk.inputs, chunk.numbers, chunk.add, chunk.kept, chunk.rows * LANES, chunk.kind
    needed = 1 if chunk.prepared else inputs  # of a chunk that is taken as a whole

    def multiply(q, block, x, at, stride, panels):
        span, share = block.end - block.begin, unpacked(block.share)
        unit = share.unit
        first = panels.at + share.line * line + share.lane
        while share.part < share.parts and unit < span:
            sums = cuda.local.array(count, kind)
            for e in range(count):
                sums[e] = 0
            begin(sums, x, at + share.part * numbers, share.parts * numbers, stride, panels.held)
            base, part = first + unit // LANES * panel(q.units, share.parts) + unit % LANES, share.part + held * share.parts
            element, k = at + part * numbers, part * inputs
            while k + needed <= q.units:
                add(sums, x, element, stride, panels.words, base, inputs)
                base, element, k = base + share.lines * line, element + share.parts * numbers, k + share.parts * inputs
            if inputs == needed and k < q.units:
                add(sums, x, element, stride, panels.words, base, q.units - k)
            for e in range(count):
                block.partial[np.uint64((e * share.parts + share.part) * span + unit)] = kept(sums[e])
            unit += block.threads

    return device(multiply)


def _panel(chunk: Chunk, access: Access) -> Any:
    """`panel(n_in, parts)`: the words of the panel of a vector; a copy has whole chunks and no tail."""
    inputs, line, stored, held = chunk.inputs, chunk.rows * LANES, device(chunk.stored), access.held
    copied = device(lambda n_in, parts: ((n_in + inputs - 1) // inputs - held * parts) * line)
    return copied if access.resident else device(lambda n_in, parts: stored(n_in) * LANES)


def _held(form: str, gates: int, rows: int, count: int) -> Any:
    """`begin(sums, x, at, step, stride, words)`: the sums of `count` chunks whose words are in registers, of x[at:] and every
    `step` elements further on. Written out one by one, so that all indices into words are constants.
    """
    if count == 0:
        return device(lambda sums, x, at, step, stride, words: None)
    chunk = chunks.get(form, gates, rows, 1)
    add, inputs, line = chunk.add, chunk.inputs, chunk.rows
    return written_out(count, lambda i: device(lambda sums, x, at, step, stride, words: add(
        sums, x, at + i * step, stride, words, i * line, inputs)))


def _fold(chunk: Chunk, count: int) -> Any:
    """Adds the sums of all parts to those of the first PARTS."""
    plus = chunk.plus

    def fold(block):
        span, share = block.end - block.begin, unpacked(block.share)
        e = share.sum
        if share.parts > PARTS:
            while e < count and share.sum < share.sums:
                at = e * share.parts * span + share.element
                found, other = block.partial[np.uint64(at)], share.element + PARTS * span
                while other < share.parts * span:
                    found = plus(found, block.partial[np.uint64(at - share.element + other)])
                    other += PARTS * span
                block.partial[np.uint64(at)] = found
                e += share.sums
            cuda.syncthreads()

    return device(fold)


def _finish(cell: Any, sums: Any, projected: int, sent: Any) -> Any:
    """The cell for a row and a unit."""
    cell = device(cell)

    def finish(q, step, block, m, unit, panels, rb, options):
        row, first = block.first + m, unit // LANES * LANES
        place = Place(row, first, step.t * q.p_t + row * q.p_b + first * projected,
                      (block.local + m) * width(q.units) + first)
        cell(q, step, place, sums(q, block, m, unit, panels, rb), options)
        sent(q, step, place.state + unit - first)

    return device(finish)


def _sent(access: Access, written: Any) -> Any:
    """`sent(q, step, at)`: what the cell has written at `at` of a state, to the other blocks of a cluster."""
    written = device(written)
    if not access.clustered:
        return device(lambda q, step, at: None)
    return device(lambda q, step, at: send(q.work, written(q, step) + at))


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
    total, start = _total(chunk), _start(gates, biased)
    if not chunk.prepared:
        plain = device(lambda q, block, m, unit, g, panels, rb: total(block, m * gates + g, unit))
        added = device(lambda q, block, m, unit, g, panels, rb: total(block, m * gates + g, unit) + start(unit, g, rb))
        return added if biased else plain
    stored, words, first, finished = device(chunk.stored), _part_words(chunk), _prepared_at(rows, access), chunk.finished
    parts = chunk.prepared

    def one(q, block, m, unit, g, panels, part, added):
        column = unit // LANES * stored(q.units) * LANES + unit % LANES
        scale = block.staged[np.uint64(first(q.units) + (m * parts + part + 1) * words(q.units) - 1)]
        kept = total(block, (part * rows + m) * gates + g, unit)
        return finished(kept, added, scale, panels.source, column, q.units, g)

    one = device(one)

    def gate(q, block, m, unit, g, panels, rb):
        found = one(q, block, m, unit, g, panels, 0, start(unit, g, rb))
        for part in range(1, parts):
            found += one(q, block, m, unit, g, panels, part, np.float32(0.0))
        return found

    return device(gate)


def _start(gates: int, biased: bool) -> Any:
    """`start(unit, g, rb)`: what the products of a gate are added to."""
    if not biased:
        return device(lambda unit, g, rb: np.float32(0.0))

    def start(unit, g, rb):
        return rb[np.uint64(unit // LANES * gates * LANES + g * LANES + unit % LANES)] if rb.shape[0] > 0 else np.float32(0.0)

    return device(start)


def _total(chunk: Chunk) -> Any:
    """`total(block, e, unit)`: sum e of a unit over all parts that are left."""
    plus = chunk.plus

    def total(block, e, unit):
        span, parts = block.end - block.begin, unpacked(block.share).parts
        at = e * parts * span + unit - block.begin
        found = block.partial[np.uint64(at)]
        for part in range(1, PARTS):
            if part < parts:
                found = plus(found, block.partial[np.uint64(at + part * span)])
        return found

    return device(total)
