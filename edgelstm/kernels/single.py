"""One step of one row, from the frame to the states in place: what a stream runs, without projected inputs kept between.

Every cell has a kernel of this kind: x (n_in,); w and r panels of the format; bias [block][gates * lanes] or null; the
states (units,) are read and replaced; y (units,) gets the new h. Formats that prepare rows take the fixed scales x_scale and
h_scale of their numbers, or 0, and need room for the rows of x and h in work; after them every format has one word there that
tells one step from the next: see `turning`. What else others keep there between steps does no harm.
"""

import functools
from typing import Any, NamedTuple

from edgelstm.kernels import turning
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


def walk(v: Any, form: Format, gates: int, block: Any) -> Any:
    """`step(frame, weights)`: h of every block of units by `block(frame, rows, weights, unit, left)`, `left` units being valid.

    All blocks read the old h, so the new one waits in y until the last block is done.
    """
    ready = _as_they_are(v) if form.prepare is None else _prepared(v, form)
    load, store, store_part, words, lanes = v.load, v.store, v.store_part, v.words, v.lanes
    back = turning.back(v, form, gates)

    @v.inline
    def step(q, weights):
        rows = ready(q)
        turn = words(q.work, rows.after)
        turn[0] = ~turn[0]
        goes_back = back(turn[0], q.n_in + q.units, q.units)
        last = (q.units - 1) // lanes * lanes if q.units > 0 else 0
        for k in range(0, last, lanes):
            unit = last - lanes - k if goes_back else k
            store(q.y, unit, block(q, rows, weights, unit, lanes))
        left = q.units - last
        h = block(q, rows, weights, last, left)
        store_part(q.y, last, left, h)
        store_part(q.h, last, left, h)
        for unit in range(0, last, lanes):
            store(q.h, unit, load(q.y, unit))

    return step


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


@functools.cache
def start(v: Any, gates: int) -> Any:
    """`start(bias, unit)`: the bias of a block of units as a block of `gates` vectors, zeros where it is null."""
    zero_block, load_block, is_null = v.zero_block, v.load_block, v.is_null

    @v.inline
    def start(bias, unit):
        return zero_block(gates) if is_null(bias) else load_block(bias, unit * gates, 0, 1, gates)

    return start
