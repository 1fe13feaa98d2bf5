"""The integer-only SimpleRNN: h' = tanh(x W + h R + b), all int8; see integer_lstm."""

from typing import Any, NamedTuple

from edgelstm.kernels import integer
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.integer import SUM_FRACTION, Crew, Sequence


class Cell(NamedTuple):
    """The state as the caller gives and wants it."""

    h0: Any
    hn: Any


@kernel("integer_simple_rnn", f"x:i8* w:i8* r:i8* columns:i32* h0:i8* y:i8* hn:i8* h:i8* {integer.COMMON}")
def integer_simple_rnn(v: Any) -> Any:
    """h0, hn: (batch, units), null for zeros and for not wanted; they may alias. h: work for 2 rows."""
    run = integer.every_row(v, row(v, integer.alone(v)))

    def integer_simple_rnn(
        x, w, r, columns, h0, y, hn, h,
        mask, batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, table,
    ):  # fmt: skip
        q = Sequence(x, w, r, columns, y, h, mask, batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, table)
        run(q, Cell(h0, hn))

    return integer_simple_rnn


def row(v: Any, crew: Crew) -> Any:
    """`run(sequence, cell, b)`: all steps of a row."""
    a, sums, move = integer.arithmetic(v), integer.sums(v), integer.move(v, crew)
    tanh, rescale, limited = a.tanh, a.rescale, a.limited

    @v.inline
    def begin(q, cell, b):
        move(cell.h0, b * q.units, q.h, 0, q.units)

    @v.inline
    def end(q, cell, b):
        move(q.h, 0, cell.hn, b * q.units, q.units)

    @v.inline
    def update(q, cell, x_at, u):
        q.h[q.units + u] = limited(rescale(tanh(q.table, sums(q, x_at, u), SUM_FRACTION), q.h_word), 127)

    return integer.walk(v, crew, begin, (update,), end)
