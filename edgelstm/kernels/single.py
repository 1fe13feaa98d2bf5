"""One step of one row, from the frame to the states in place: what a stream runs, without projected inputs kept between.

Every cell has a kernel of this kind: x (n_in,); w and r panels of the format; bias [block][gates * lanes] or null; the
states (units,) are read and replaced; y (units,) gets the new h. Formats that prepare rows need room for those of x and h in
work, and take the fixed scales x_scale and h_scale of their numbers, or 0.
"""

import functools
from typing import Any, NamedTuple

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
    """Where the products of a step read: x[i:] and h[k:]."""

    x: Any
    i: int
    h: Any
    k: int


SCRATCH = "work:f32* x_scale:f32 h_scale:f32"


def walk(v: Any, form: Format, block: Any) -> Any:
    """`step(frame, weights)`: h of every block of units by `block(frame, rows, weights, unit, left)`, `left` units being valid.

    All blocks read the old h, so the new one waits in y until the last block is done.
    """
    ready = _as_they_are(v) if form.prepare is None else _prepared(v, form)
    load, store, store_part, lanes = v.load, v.store, v.store_part, v.lanes

    @v.inline
    def step(q, weights):
        last, rows = 0, ready(q)
        while last + lanes < q.units:
            store(q.y, last, block(q, rows, weights, last, lanes))
            last += lanes
        left = q.units - last
        h = block(q, rows, weights, last, left)
        store_part(q.y, last, left, h)
        store_part(q.h, last, left, h)
        for unit in range(0, last, lanes):
            store(q.h, unit, load(q.y, unit))

    return step


def _as_they_are(v: Any) -> Any:
    return v.inline(lambda q: Rows(q.x, 0, q.h, 0))


def _prepared(v: Any, form: Format) -> Any:
    prepare, row_words = form.prepare(v), form.row_words(v)

    @v.inline
    def ready(q):
        second = row_words(q.n_in)
        prepare(q.work, 0, q.x, 0, q.n_in, q.x_scale)
        prepare(q.work, second, q.h, 0, q.units, q.h_scale)
        return Rows(q.work, 0, q.work, second)

    return ready


@functools.cache
def start(v: Any, gates: int) -> Any:
    """`start(bias, unit)`: the bias of a block of units as a block of `gates` vectors, zeros where it is null."""
    zero_block, load_block, is_null = v.zero_block, v.load_block, v.is_null

    @v.inline
    def start(bias, unit):
        return zero_block(gates) if is_null(bias) else load_block(bias, unit * gates, 0, 1, gates)

    return start
