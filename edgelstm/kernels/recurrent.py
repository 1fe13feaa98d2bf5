"""What all recurrent kernels share: the walk over time, blocks of units and rows, masks, and the states.

States live in `work` as arrays [batch][padded], padded being units rounded up to whole vectors: h twice, read at
`now` and written at `other`, then whatever the cell needs. Formats that prepare rows have those of h after them, for each
member of a team; h_scale is the fixed scale of their numbers, or 0. Outputs y have rows of `units` floats.
"""

import functools
from typing import Any, NamedTuple

from edgelstm.kernels import pairs, team, turning
from edgelstm.kernels.formats import Format

COMMON = "mask:u8* batch:int steps:int units:int p_t:int p_b:int y_t:int y_b:int reverse:int hold:int h_scale:f32"


class Sequence(NamedTuple):
    """What the steps of a run have in common; the strides p_t, p_b, y_t, y_b and the size of a state are in floats."""

    p: Any
    y: Any
    work: Any
    mask: Any
    batch: int
    steps: int
    units: int
    p_t: int
    p_b: int
    y_t: int
    y_b: int
    reverse: int
    hold: int
    h_scale: float


class Step(NamedTuple):
    """One step: the time it works on, whether it is the first to be processed, where h is read and written, for which units.

    `member` is the number of the thread.
    """

    t: int
    first: bool
    now: int
    other: int
    begin: int
    end: int
    member: int


class Place(NamedTuple):
    """One row of one block: its batch row b, first unit, and offsets into p and into any state."""

    b: int
    unit: int
    p: int
    state: int


@functools.cache
def padded(v: Any) -> Any:
    """`padded(sequence)`: the units rounded up to whole vectors."""
    lanes = v.lanes
    return v.inline(lambda q: (q.units + lanes - 1) // lanes * lanes)


@functools.cache
def state_at(v: Any) -> Any:
    """`state_at(sequence, index)`: where in work the state of this index begins."""
    width = padded(v)
    return v.inline(lambda q, index: index * q.batch * width(q))


@functools.cache
def load_state(v: Any) -> Any:
    """`load(sequence, at, source)`: a state (batch, units) into work[at:], zeros where source is null."""
    load_part, store, zero, is_null = v.load_part, v.store, v.zero, v.is_null
    lanes, width = v.lanes, padded(v)

    @v.inline
    def load(q, at, source):
        for b in range(q.batch):
            for unit in range(0, q.units, lanes):
                left = q.units - unit
                state = zero() if is_null(source) else load_part(source, b * q.units + unit, left)
                store(q.work, at + b * width(q) + unit, state)

    return load


@functools.cache
def save_state(v: Any) -> Any:
    """`save(sequence, at, destination)`: the reverse of load_state, nothing where destination is null."""
    load, store_part, is_null = v.load, v.store_part, v.is_null
    lanes, width = v.lanes, padded(v)

    @v.inline
    def save(q, at, destination):
        if not is_null(destination):
            for b in range(q.batch):
                for unit in range(0, q.units, lanes):
                    state = load(q.work, at + b * width(q) + unit)
                    store_part(destination, b * q.units + unit, q.units - unit, state)

    return save


def walk(v: Any, step: Any) -> Any:
    """`run(sequence, h0, hn, weights, options)`: all steps, each by `step(sequence, Step, weights, options)`.

    h starts as h0 and ends in hn.
    """
    load, save, at = load_state(v), save_state(v), state_at(v)

    @v.inline
    def run(q, h0, hn, weights, options):
        now, other = 0, at(q, 1)
        load(q, now, h0)
        for s in range(q.steps):
            t = q.steps - 1 - s if q.reverse else s
            step(q, Step(t, s == 0, now, other, 0, q.units, 0), weights, options)
            now, other = other, now
        save(q, now, hn)

    return run


def sweep(v: Any, form: Format, gates: int, apply: Any, *, states: int, biased: bool = False,
          projected: int | None = None, half: Any = None) -> Any:
    """`sweep(sequence, step, at, r, rb, options)`: all recurrent products of a step.

    For each block of units and each row it sums rb + work[at of the row] @ r, r being panels of the format and rb [block][gates
    * lanes], ignored unless `biased`, and calls `apply(sequence, step, place, sums, options)` with the `gates` sums as a tuple
    of vectors. A block of p holds `projected` vectors, as many as gates by default. The cell has `states` in work. `half` is
    what is applied to half vectors where units fit those, or None.
    """
    ready = _as_they_are(v) if form.prepare is None else _prepared(v, form, states)
    finish = _finish_row(v, apply, projected or gates)
    several, lanes, back = form.row_block(v, gates), v.lanes, turning.back(v, form, gates)
    sweep_one = _rows(v, form, gates, 1, finish, biased, projected or gates)
    sweep_several, sweep_two = (_rows(v, form, gates, rows, finish, biased, projected or gates) for rows in (several, 2))
    sweep_half = _half(v, form, gates, half, biased, projected or gates)
    sweep_row = _row(v, form, gates, finish, biased, projected or gates, sweep_one)

    @v.inline
    def sweep(q, step, at, r, rb, options):
        at, stride = ready(q, step, at)
        if sweep_half(q, step, at, stride, r, rb, options) or sweep_row(q, step, at, stride, r, rb, options):
            return
        whole = q.batch - q.batch % several
        goes_back = back(step.t, q.units, step.end - step.begin)
        ends = step.begin + step.begin + (step.end - step.begin - 1) // lanes * lanes
        for k in range(step.begin, step.end, lanes):
            unit = ends - k if goes_back else k
            for b in range(0, whole, several):
                sweep_several(q, step, at, stride, r, rb, b, unit, options)
            for b in range(whole, q.batch - 1, 2):
                sweep_two(q, step, at, stride, r, rb, b, unit, options)
            if (q.batch - whole) % 2 == 1:
                sweep_one(q, step, at, stride, r, rb, q.batch - 1, unit, options)

    return sweep


def _as_they_are(v: Any) -> Any:
    """`ready(sequence, step, at) -> (at, stride)`: where the product reads the rows of the state at `at`."""
    width = padded(v)
    return v.inline(lambda q, step, at: (at, width(q)))


def _prepared(v: Any, form: Format, states: int) -> Any:
    """The same, as prepared rows of this member."""
    prepare, row_words, width = form.prepare(v), form.row_words(v), padded(v)
    start = state_at(v)

    @v.inline
    def ready(q, step, at):
        words = row_words(q.units)
        first = start(q, states) + step.member * q.batch * words
        for b in range(q.batch):
            prepare(q.work, first + b * words, q.work, at + b * width(q), q.units, q.h_scale)
        return first, words

    return ready


def _rows(v: Any, form: Format, gates: int, rows: int, finish_row: Any, biased: bool, projected: int) -> Any:
    """The product and the cell for `rows` rows of one block; what the cell reads of p comes from far: it is fetched first."""
    product, panel, begin = form.product(v, gates, rows), form.panel(v, gates), _start(v, rows, gates, biased)
    finish, ask = _each_row(v, gates, rows, finish_row), _ask(v, projected * v.lanes)

    @v.inline
    def run(q, step, at, stride, r, rb, b, unit, options):
        for row in range(b, b + rows):
            ask(q, step.t * q.p_t + row * q.p_b + unit * projected)
        sums = begin(rb, unit * gates)
        sums = product(sums, q.work, at + b * stride, stride, r, panel(unit, q.units), q.units)
        finish(q, step, b, unit, sums, options)

    return run


def _half(v: Any, form: Format, gates: int, apply: Any, biased: bool, projected: int) -> Any:
    """`run(...) -> bool`: the only block, row by row, where its units fit half a vector."""
    if apply is None:
        return v.inline(lambda q, step, at, stride, r, rb, options: False)
    one = _rows(v.half, form, gates, 1, _finish_row(v.half, apply, projected), biased, projected)
    most = v.lanes // 2

    @v.inline
    def run(q, step, at, stride, r, rb, options):
        if q.units > most or q.units == 0:
            return False
        for b in range(q.batch):
            one(q, step, at, stride, r, rb, b, 0, options)
        return True

    return run


def _row(v: Any, form: Format, gates: int, finish: Any, biased: bool, projected: int, one: Any) -> Any:
    """`run(...) -> bool`: all blocks of a single row, where two at once pay: the latency of one cell hides behind the other."""
    in_pairs = _in_pairs(v, form, gates)
    if form.twin is None:
        return v.inline(lambda q, step, at, stride, r, rb, options: False)
    product, panel, begin = form.twin(v, gates), form.panel(v, gates), _start(v, 1, 2 * gates, biased)
    lanes, ask = v.lanes, _ask(v, 2 * projected * v.lanes)

    @v.inline
    def two(q, step, at, r, rb, unit, options):
        ask(q, step.t * q.p_t + unit * projected)
        first = panel(unit, q.units)
        apart = panel(unit + lanes, q.units) - first
        sums = product(begin(rb, unit * gates), q.work, at, r, first, apart, q.units)
        finish(q, step, 0, unit, sums[:gates], options)
        finish(q, step, 0, unit + lanes, sums[gates:], options)

    @v.inline
    def run(q, step, at, stride, r, rb, options):
        if q.batch != 1 or not in_pairs(q):
            return False
        unit = step.begin
        while unit + lanes < step.end:
            two(q, step, at, r, rb, unit, options)
            unit += 2 * lanes
        if unit < step.end:
            one(q, step, at, stride, r, rb, 0, unit, options)
        return True

    return run


def _in_pairs(v: Any, form: Format, gates: int) -> Any:
    """`pairs(sequence)`: whether a single row takes two blocks at once; see `pairs`."""
    near = pairs.near(v, form, gates)
    return v.inline(lambda q: near(q.units, q.units))


def _start(v: Any, rows: int, vectors: int, biased: bool) -> Any:
    """`start(rb, at)`: the block that the products are added to."""
    load_block, zero_block, is_null, count = v.load_block, v.zero_block, v.is_null, rows * vectors
    if not biased:
        return v.inline(lambda rb, at: zero_block(count))
    return v.inline(lambda rb, at: zero_block(count) if is_null(rb) else load_block(rb, at, 0, rows, vectors))


def _ask(v: Any, width: int) -> Any:
    """`ask(sequence, place)`: prefetches `width` floats of p."""
    prefetch, line = v.prefetch, team.LINE

    @v.inline
    def ask(q, place):
        for i in range(place, place + width, line):
            prefetch(q.p, i)

    return ask


def _finish_row(v: Any, apply: Any, projected: int) -> Any:
    width = padded(v)

    @v.inline
    def finish_row(q, step, b, unit, sums, options):
        place = Place(b, unit, step.t * q.p_t + b * q.p_b + unit * projected, b * width(q) + unit)
        apply(q, step, place, sums, options)

    return finish_row


def _each_row(v: Any, gates: int, rows: int, finish_row: Any) -> Any:
    """`finish_row` for every row of a block of sums."""
    if rows == 1:
        return finish_row
    half = rows // 2
    upper, lower = _each_row(v, gates, half, finish_row), _each_row(v, gates, rows - half, finish_row)
    middle = half * gates

    @v.inline
    def finish_rows(q, step, b, unit, sums, options):
        upper(q, step, b, unit, sums[:middle], options)
        lower(q, step, b + half, unit, sums[middle:], options)

    return finish_rows


@functools.cache
def commit(v: Any) -> Any:
    """`commit(sequence, step, place, h) -> bool`: h into the state and the output; True where the step is not masked.

    A masked step keeps the state and puts out what `hold` says: 0 zeros, 1 the previous output, 2 the same but h0
    before there is one, where 1 puts out zeros.
    """
    load, load_part, store, store_part = v.load, v.load_part, v.store, v.store_part
    zero, is_null = v.zero, v.is_null

    @v.inline
    def held(q, step, place, left):
        if q.hold != 0 and not step.first:
            before = step.t + 1 if q.reverse else step.t - 1
            return load_part(q.y, before * q.y_t + place.b * q.y_b + place.unit, left)
        if q.hold == 2:
            return load(q.work, step.now + place.state)
        return zero()

    @v.inline
    def commit(q, step, place, h):
        left = q.units - place.unit
        at = step.t * q.y_t + place.b * q.y_b + place.unit
        if is_null(q.mask) or q.mask[place.b * q.steps + step.t] != 0:
            store(q.work, step.other + place.state, h)
            if not is_null(q.y):
                store_part(q.y, at, left, h)
            return True
        store(q.work, step.other + place.state, load(q.work, step.now + place.state))
        if not is_null(q.y):
            store_part(q.y, at, left, held(q, step, place, left))
        return False

    return commit
