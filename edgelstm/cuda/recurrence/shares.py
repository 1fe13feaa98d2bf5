"""What a thread of a block has of the products and units of a recurrent layer."""

from typing import Any, NamedTuple

import numpy as np

from edgelstm.cuda.driver import LANES, SIMULATED
from edgelstm.cuda.scalars import device

PARTS = 2 if SIMULATED else 4  # sums of a unit that are left for the thread which finishes it
_word, _number = device(lambda n: np.uint32(n)), device(lambda n: np.int64(n))


@device
def width(units):
    """Units rounded up to whole vectors."""
    return (units + LANES - 1) // LANES * LANES


@device
def quotient(a, b):
    """a // b of numbers from 0 to 2**32: a few instructions, where 64 bits are a call that scatters the registers."""
    return np.int64(np.uint32(a) // np.uint32(b))


class Share(NamedTuple):
    """What a thread has, worked out once, because divisions are slow.

    Of the products it has one of `parts` parts of the inputs, and the units `unit` and every so many threads further on. Its
    first chunk is `line` chunks and `lane` words into the panel, the next `lines` chunks further on. Of the vectors of units of
    every row it finishes that at (row, column), and then those that are `rows` rows and `columns` units further on. Of the sums
    it adds up element `element` of the first PARTS parts, in sum number `sum` and every `sums` further on.
    """

    parts: int
    part: int
    unit: int
    line: int
    lane: int
    lines: int
    row: int
    column: int
    rows: int
    columns: int
    element: int
    sum: int
    sums: int


def sharing(resident: bool) -> Any:
    """`share(thread, threads, begin, end)`: the share of a thread in the units from begin to end."""
    def share(thread, threads, begin, end):
        span, across = end - begin, width(end) - begin // LANES * LANES
        parts, part, row = max(1, quotient(threads, span)), quotient(thread, span), quotient(thread, across)
        beside = max(1, quotient(LANES, span)) if resident else 1
        line, number, rows = quotient(part, beside), quotient(thread, PARTS * span), quotient(threads, across)
        lane, element, sums = (part - line * beside) * span, thread - number * PARTS * span, quotient(threads, PARTS * span)
        return packed(Share(parts, part, thread - part * span, line, lane, quotient(parts, beside), row, thread - row * across,
                            rows, threads - rows * across, element, number, sums))

    return device(share)


@device
def packed(share):
    """A share as it is kept through all steps: in 32 bits each."""
    return _all_of(share, _word)


@device
def unpacked(share):
    """A share as it is counted with."""
    return _all_of(share, _number)


@device
def _all_of(share, kind):
    return Share(kind(share.parts), kind(share.part), kind(share.unit), kind(share.line), kind(share.lane), kind(share.lines),
                 kind(share.row), kind(share.column), kind(share.rows), kind(share.columns), kind(share.element),
                 kind(share.sum), kind(share.sums))
