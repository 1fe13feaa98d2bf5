"""The integer-only LSTM: int8 x, weights and h, a 16-bit c, gates i f g o; see edgelstm.ops.integer_formulas.

columns: int32 [unit][gate][4], the words of W and R, the bias in Q12, and a filler.
"""

from typing import Any, NamedTuple

from edgelstm.kernels import integer
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.integer import ONE, SUM_FRACTION, Crew, Sequence, i32


class Cell(NamedTuple):
    """The states as the caller gives and wants them, c while a row is worked on, and its bits after the point."""

    h0: Any
    c0: Any
    hn: Any
    cn: Any
    c: Any
    fraction: int


@kernel("integer_lstm", "x:i8* w:i8* r:i8* columns:i32* h0:i8* c0:i16* y:i8* hn:i8* cn:i16* h:i8* c:i16* fraction:int "
                        f"{integer.COMMON}")
def integer_lstm(v: Any) -> Any:
    """h0, c0, hn, cn: (batch, units), null for zeros and for not wanted; they may alias. h, c: work for 2 and 1 rows."""
    run = integer.every_row(v, row(v, integer.alone(v)))

    def integer_lstm(
        x, w, r, columns, h0, c0, y, hn, cn, h, c, fraction,
        mask, batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, table,
    ):  # fmt: skip
        q = Sequence(x, w, r, columns, y, h, mask, batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, table)
        run(q, Cell(h0, c0, hn, cn, c, fraction))

    return integer_lstm


def row(v: Any, crew: Crew) -> Any:
    """`run(sequence, cell, b)`: all steps of a row."""
    return integer.walk(v, crew, _begin(v, crew), (_update(v),), _end(v, crew))


def _begin(v: Any, crew: Crew) -> Any:
    move = integer.move(v, crew)

    @v.inline
    def begin(q, cell, b):
        move(cell.h0, b * q.units, q.h, 0, q.units)
        move(cell.c0, b * q.units, cell.c, 0, q.units)

    return begin


def _end(v: Any, crew: Crew) -> Any:
    move = integer.move(v, crew)

    @v.inline
    def end(q, cell, b):
        move(q.h, 0, cell.hn, b * q.units, q.units)
        move(cell.c, 0, cell.cn, b * q.units, q.units)

    return end


def _update(v: Any) -> Any:
    a, sums = integer.arithmetic(v), integer.sums(v)
    tanh, sigmoid, rescale, limited, shifted = a.tanh, a.sigmoid, a.rescale, a.limited, a.shifted

    @v.inline
    def update(q, cell, x_at, u):
        i, f = sigmoid(q.table, sums(q, x_at, 4 * u)), sigmoid(q.table, sums(q, x_at, 4 * u + 1))
        g, o = tanh(q.table, sums(q, x_at, 4 * u + 2), SUM_FRACTION), sigmoid(q.table, sums(q, x_at, 4 * u + 3))
        fresh = shifted(i32(i * g), 15 - cell.fraction)
        c = limited(shifted(i32(i32(f * i32(cell.c[u])) + fresh), 15), ONE - 1)
        cell.c[u] = c
        out = shifted(i32(o * tanh(q.table, c, cell.fraction)), 15)
        q.h[q.units + u] = limited(rescale(out, q.h_word), 127)

    return update
