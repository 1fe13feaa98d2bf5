"""One step of one row, from the frame to the states in place: what a stream runs, without projected inputs kept between.

Every cell has a kernel of this kind: x (n_in,); w, bias and r as panels, [block][n_in][gates * lanes], [block][gates *
lanes] or null, [block][units][gates * lanes]; the states (units,) are read and replaced; y (units,) gets the new h.
"""

import functools
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """What the blocks of one step share; `cell` is the cell state, or h again where the cell has none."""

    x: Any
    h: Any
    cell: Any
    y: Any
    n_in: int
    units: int


def walk(v: Any, block: Any) -> Any:
    """`step(frame, weights)`: h of every block of units by `block(frame, weights, unit, left)`, `left` units being valid.

    All blocks read the old h, so the new one waits in y until the last block is done.
    """
    load, store, store_part, lanes = v.load, v.store, v.store_part, v.lanes

    @v.inline
    def step(q, weights):
        last = 0
        while last + lanes < q.units:
            store(q.y, last, block(q, weights, last, lanes))
            last += lanes
        left = q.units - last
        h = block(q, weights, last, left)
        store_part(q.y, last, left, h)
        store_part(q.h, last, left, h)
        for unit in range(0, last, lanes):
            store(q.h, unit, load(q.y, unit))

    return step


@functools.cache
def start(v: Any, gates: int) -> Any:
    """`start(bias, unit)`: the bias of a block of units as a block of `gates` vectors, zeros where it is null."""
    zero_block, load_block, is_null = v.zero_block, v.load_block, v.is_null

    @v.inline
    def start(bias, unit):
        return zero_block(gates) if is_null(bias) else load_block(bias, unit * gates, 0, 1, gates)

    return start
