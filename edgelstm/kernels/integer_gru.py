"""The integer-only GRU: int8 x, weights and the h that is multiplied, a 16-bit h that is carried, gates z r n.

columns: int32 [unit][gate][4], the words of W and R, the bias in Q12, and what is added to h R before r multiplies it. See
edgelstm.ops.integer_formulas.
"""

from typing import Any, NamedTuple

from edgelstm.kernels import integer
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.integer import ONE, SUM_FRACTION, Crew, Sequence, i32

PARAMS = f"x:i8* w:i8* r:i8* columns:i32* h0:i16* y:i8* hn:i16* h:i8* carried:i16* fraction:int {integer.COMMON}"


class Cell(NamedTuple):
    """The state as the caller gives and wants it, while a row is worked on, and its bits after the point."""

    h0: Any
    hn: Any
    carried: Any
    fraction: int


@kernel("integer_gru", PARAMS)
def integer_gru(v: Any) -> Any:
    """The form that resets after the product. h0, hn: (batch, units), null for zeros and for not wanted; they may alias.

    h, carried: work for 2 rows and 1.
    """
    return _kernel(v, row(v, integer.alone(v)))


@kernel("integer_gru_before", PARAMS)
def integer_gru_before(v: Any) -> Any:
    """The form that resets before the product; h has 3 rows, the last for r h."""
    return _kernel(v, row_before(v, integer.alone(v)))


def row(v: Any, crew: Crew) -> Any:
    """`run(sequence, cell, b)`: all steps of a row, the reset after the product."""
    return _row(v, crew, (_reset_after(v),))


def row_before(v: Any, crew: Crew) -> Any:
    """The same, the reset before the product."""
    return _row(v, crew, (_reset(v), _reset_before(v)))


def _row(v: Any, crew: Crew, parts: tuple[Any, ...]) -> Any:
    a, move, first, step = integer.arithmetic(v), integer.move(v, crew), crew.first, crew.step
    rescale, limited = a.rescale, a.limited

    @v.inline
    def begin(q, cell, b):
        move(cell.h0, b * q.units, cell.carried, 0, q.units)
        for u in range(first(), q.units, step()):
            q.h[u] = limited(rescale(cell.carried[u], q.h_word), 127)

    @v.inline
    def end(q, cell, b):
        move(cell.carried, 0, cell.hn, b * q.units, q.units)

    return integer.walk(v, crew, begin, parts, end)


def _kernel(v: Any, of_row: Any) -> Any:
    run = integer.every_row(v, of_row)

    def gru(
        x, w, r, columns, h0, y, hn, h, carried, fraction,
        mask, batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, table,
    ):  # fmt: skip
        q = Sequence(x, w, r, columns, y, h, mask, batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, table)
        run(q, Cell(h0, hn, carried, fraction))

    return gru


def _reset_after(v: Any) -> Any:
    a, sums, terms, mix = integer.arithmetic(v), integer.sums(v), integer.terms(v), _mix(v)
    tanh, sigmoid, shifted = a.tanh, a.sigmoid, a.shifted

    @v.inline
    def update(q, cell, x_at, u):
        z, r = sigmoid(q.table, sums(q, x_at, 3 * u)), sigmoid(q.table, sums(q, x_at, 3 * u + 1))
        at = 4 * (3 * u + 2)
        x_part, h_part = terms(q, x_at, 0, 3 * u + 2)
        h_part = i32(h_part + q.columns[at + 3])
        reset = i32(i32(i32(h_part >> 15) * r) + shifted(i32(i32(h_part & 0x7FFF) * r), 15))
        mix(q, cell, u, z, tanh(q.table, i32(x_part + q.columns[at + 2] + reset), SUM_FRACTION))

    return update


def _reset(v: Any) -> Any:
    """r h of a unit, behind the new h."""
    a, sums = integer.arithmetic(v), integer.sums(v)
    sigmoid, rescale, limited, shifted = a.sigmoid, a.rescale, a.limited, a.shifted

    @v.inline
    def reset(q, cell, x_at, u):
        r = sigmoid(q.table, sums(q, x_at, 3 * u + 1))
        kept = shifted(i32(r * i32(cell.carried[u])), 15)
        q.h[2 * q.units + u] = limited(rescale(kept, q.h_word), 127)

    return reset


def _reset_before(v: Any) -> Any:
    a, sums, terms, mix = integer.arithmetic(v), integer.sums(v), integer.terms(v), _mix(v)
    tanh, sigmoid = a.tanh, a.sigmoid

    @v.inline
    def update(q, cell, x_at, u):
        x_part, h_part = terms(q, x_at, 2 * q.units, 3 * u + 2)
        n = tanh(q.table, i32(x_part + h_part + q.columns[4 * (3 * u + 2) + 2]), SUM_FRACTION)
        mix(q, cell, u, sigmoid(q.table, sums(q, x_at, 3 * u)), n)

    return update


def _mix(v: Any) -> Any:
    """`mix(sequence, cell, u, z, n)`: h' = n + z (h - n) of one unit."""
    a = integer.arithmetic(v)
    rescale, limited, shifted = a.rescale, a.limited, a.shifted

    @v.inline
    def mix(q, cell, u, z, n):
        n = limited(shifted(n, 15 - cell.fraction), ONE - 1)
        h = i32(n + shifted(i32(i32(i32(cell.carried[u]) - n) * z), 15))
        cell.carried[u] = h
        q.h[q.units + u] = limited(rescale(h, q.h_word), 127)

    return mix
