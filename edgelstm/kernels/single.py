"""One step of one row, from the frame to the states in place: what a stream runs, without projected inputs kept between.

Every cell has a kernel of this kind: x (n_in,); w and r panels of the format; bias [block][gates * lanes] or null; the
states (units,) are read and replaced; y (units,) gets the new h. Formats that prepare rows take the fixed scales x_scale and
h_scale of their numbers, or 0, and need room for the rows of x and h in work; after them every format has one word there that
tells one step from the next: see `turning`. What else others keep there between steps does no harm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from edgelstm.kernels import halves, pairs, turning
from edgelstm.kernels.formats import Format


class Frame(NamedTuple):
    """What the blocks of one step share; `cell` is the cell state, or h again where the cell has none."""

    x: Any
    h: Any
    cell: Any
    y: Any
    n_in: int
    units: int
    work: Any
    x_scale: float
    h_scale: float


class Rows(NamedTuple):
    """Where the products of a step read: x[i:] and h[k:], and which word of work is the one after them."""

    x: Any
    i: int
    h: Any
    k: int
    after: int


SCRATCH = "work:f32* x_scale:f32 h_scale:f32"


class Cell(NamedTuple):
    """What tells the cells apart: `one(frame, rows, weights, unit)` sums for a block of units, `two` for it and the next, where
    that is possible, and `finish(frame, sums, unit, left)` gives the new h of a block, `left` units being valid.
    """

    one: Any
    two: Any
    finish: Any


def walk(v: Any, form: Format, gates: int, make: Callable[[Any, Format], Cell]) -> Any:
    """`step(frame, weights)` of the cell that `make` gives for a vector set.

    All blocks read the old h, so the new one waits in y until the last block is done.
    """
    ready = _as_they_are(v) if form.prepare is None else _prepared(v, form)
    cell, never = make(v, form), v.inline(lambda q, rows, weights: False)
    narrow = halves.made(v, form, lambda half: _narrow(half, make(half, form._replace(twin=None, near=None)))) or never
    paired, alone = _paired(v, form, gates, cell) if cell.two else never, _blocks(v, form, gates, cell)

    @v.inline
    def step(q, weights):
        rows = ready(q)
        if not narrow(q, rows, weights) and not paired(q, rows, weights):
            alone(q, rows, weights)

    return step


def _narrow(v: Any, cell: Cell) -> Any:
    """`run(...) -> bool`: the only block, where its units fit half a vector."""
    one, finish, store_part, most = cell.one, cell.finish, v.store_part, v.lanes // 2

    @v.inline
    def run(q, rows, weights):
        if q.units > most:
            return False
        h = finish(q, one(q, rows, weights, 0), 0, q.units)
        store_part(q.y, 0, q.units, h)
        store_part(q.h, 0, q.units, h)
        return True

    return run


def _blocks(v: Any, form: Format, gates: int, cell: Cell) -> Any:
    """One block after another, in turns from either end."""
    store, store_part, words, lanes = v.store, v.store_part, v.words, v.lanes
    sums, finish, back, replace = cell.one, cell.finish, turning.back(v, form, gates), _replace(v)

    @v.inline
    def run(q, rows, weights):
        turn = words(q.work, rows.after)
        turn[0] = ~turn[0]
        goes_back = back(turn[0], q.n_in + q.units, q.units)
        last = (q.units - 1) // lanes * lanes if q.units > 0 else 0
        for k in range(0, last, lanes):
            unit = last - lanes - k if goes_back else k
            store(q.y, unit, finish(q, sums(q, rows, weights, unit), unit, lanes))
        left = q.units - last
        h = finish(q, sums(q, rows, weights, last), last, left)
        store_part(q.y, last, left, h)
        replace(q, last, h)

    return run


def _paired(v: Any, form: Format, gates: int, cell: Cell) -> Any:
    """`run(...) -> bool`: two blocks at once where that pays."""
    zero, store, store_part, lanes, replace = v.zero, v.store, v.store_part, v.lanes, _replace(v)
    one, two, finish, near = cell.one, cell.two, cell.finish, pairs.near(v, form, gates)

    @v.inline
    def run(q, rows, weights):
        if q.units <= lanes or not near(q.n_in + q.units, q.units):
            return False
        unit, h = 0, zero()
        while unit + lanes < q.units:
            here, there = two(q, rows, weights, unit)
            store(q.y, unit, finish(q, here, unit, lanes))
            unit += lanes
            h = finish(q, there, unit, q.units - unit)
            store_part(q.y, unit, q.units - unit, h)
            unit += lanes
        if unit < q.units:
            h = finish(q, one(q, rows, weights, unit), unit, q.units - unit)
            store_part(q.y, unit, q.units - unit, h)
            unit += lanes
        replace(q, unit - lanes, h)
        return True

    return run


def _replace(v: Any) -> Any:
    """`replace(frame, last, h)`: the state by the new one: by y up to the last block, there by h, which is still at hand."""
    load, store, store_part, lanes = v.load, v.store, v.store_part, v.lanes

    @v.inline
    def replace(q, last, h):
        store_part(q.h, last, q.units - last, h)
        for unit in range(0, last, lanes):
            store(q.h, unit, load(q.y, unit))

    return replace


def joint(v: Any, form: Format, gates: int, finish: Any) -> Cell:
    """A cell with sums of both products together, and the bias."""
    start, product, panel = _start(v, gates), form.pair(v, gates), form.panel(v, gates)

    @v.inline
    def one(q, rows, weights, unit):
        sums, w_at, r_at = start(weights.bias, unit), panel(unit, q.n_in), panel(unit, q.units)
        return product(sums, rows.x, rows.i, weights.w, w_at, q.n_in, rows.h, rows.k, weights.r, r_at, q.units)

    if not pairs.possible(v, form, gates) or form.prepare is not None:  # exact sums are added in the order of a sequence
        return Cell(one, None, finish)
    begin, neighbours = _start(v, gates, 2), _neighbours(v, form, gates)

    @v.inline
    def two(q, rows, weights, unit):
        sums = neighbours(begin(weights.bias, unit), rows.x, rows.i, weights.w, unit, q.n_in)
        sums = neighbours(sums, rows.h, rows.k, weights.r, unit, q.units)
        return sums[:gates], sums[gates:]

    return Cell(one, two, finish)


def apart(v: Any, form: Format, gates: int, finish: Any) -> Cell:
    """A cell with sums of the product of the inputs and of that of h, each with its bias, one behind the other."""
    start, product, panel = _start(v, gates), form.product(v, gates, 1), form.panel(v, gates)

    @v.inline
    def one(q, rows, weights, unit):
        p = product(start(weights.bias, unit), rows.x, rows.i, 0, weights.w, panel(unit, q.n_in), q.n_in)
        return p + product(start(weights.rb, unit), rows.h, rows.k, 0, weights.r, panel(unit, q.units), q.units)

    if not pairs.possible(v, form, gates):
        return Cell(one, None, finish)
    begin, neighbours = _start(v, gates, 2), _neighbours(v, form, gates)

    @v.inline
    def two(q, rows, weights, unit):
        p = neighbours(begin(weights.bias, unit), rows.x, rows.i, weights.w, unit, q.n_in)
        sums = neighbours(begin(weights.rb, unit), rows.h, rows.k, weights.r, unit, q.units)
        return p[:gates] + sums[:gates], p[gates:] + sums[gates:]

    return Cell(one, two, finish)


def _neighbours(v: Any, form: Format, gates: int) -> Any:
    """`product(sums, x, i, weights, unit, n_in)`: a row times the panel of a block and that of the next."""
    twin, panel, lanes = form.twin(v, gates), form.panel(v, gates), v.lanes

    @v.inline
    def product(sums, x, i, weights, unit, n_in):
        at = panel(unit, n_in)
        return twin(sums, x, i, weights, at, panel(unit + lanes, n_in) - at, n_in)

    return product


def _as_they_are(v: Any) -> Any:
    return v.inline(lambda q: Rows(q.x, 0, q.h, 0, 0))


def _prepared(v: Any, form: Format) -> Any:
    prepare, row_words = form.prepare(v), form.row_words(v)

    @v.inline
    def ready(q):
        second = row_words(q.n_in)
        prepare(q.work, 0, q.x, 0, q.n_in, q.x_scale)
        prepare(q.work, second, q.h, 0, q.units, q.h_scale)
        return Rows(q.work, 0, q.work, second, second + row_words(q.units))

    return ready


def _start(v: Any, gates: int, blocks: int = 1) -> Any:
    """`start(bias, unit)`: the bias of blocks of units as `gates` vectors each, zeros where it is null."""
    zero_block, load_block, is_null, count = v.zero_block, v.load_block, v.is_null, gates * blocks

    @v.inline
    def start(bias, unit):
        return zero_block(count) if is_null(bias) else load_block(bias, unit * gates, 0, 1, count)

    return start
