"""What integer-only kernels share: sums of products, rescaling, tanh and sigmoid by table, and the walk of a cell over time.

Nothing here is a floating-point number, and every number fits 32 bits: i32 around every operation says so to the
compiler, which would else compute in 64. The arithmetic is that of edgelstm.ops.integer_formulas, bit for bit.
"""

import functools
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

i32 = np.int32

STEP_BITS = 5  # the tanh table has 32 steps to 1, and 256 of them
TABLE_STEPS = 256
ONE = 1 << 15  # of what tanh and sigmoid give
SUM_FRACTION = 12  # bits after the point of a gate sum

COMMON = ("mask:u8* batch:int steps:int n_in:int units:int x_t:int x_b:int y_t:int y_b:int reverse:int hold:int "
          "h_word:int table:u16*")


class Sequence(NamedTuple):
    """What the steps of a run have in common.

    x: rows of n_in at t * x_t + b * x_b; y: rows of `units`, or null; w, r: weights [unit][gate][n_in or units]; h: work,
    [2][units], what the products read and what the next step will read. hold: 0 gives zeros at masked steps, 1 the
    previous output, 2 the same with h before the first step.
    """

    x: Any
    w: Any
    r: Any
    columns: Any
    y: Any
    h: Any
    mask: Any
    batch: int
    steps: int
    n_in: int
    units: int
    x_t: int
    x_b: int
    y_t: int
    y_b: int
    reverse: int
    hold: int
    h_word: int
    table: Any


@functools.cache
def arithmetic(v: Any) -> SimpleNamespace:
    """The functions of integer_formulas on single numbers, and `dot`."""

    @v.inline
    def dot(x, i, w, j, n):
        total = i32(0)
        for k in range(n):
            total = i32(total + i32(x[i + k]) * i32(w[j + k]))
        return total

    @v.inline
    def rescale(a, word):
        word = i32(word)
        v = i32(i32(a) << ((word >> 16) & 31))
        m = i32(word & 0x7FFF)
        p = i32(i32(i32(v >> 16) * m) + i32(i32(i32(v & 0xFFFF) * m) >> 16))
        return i32(i32(i32(p >> ((word >> 24) & 31)) + 1) >> 1)

    @v.inline
    def magnitude(table, z, shift):
        shift = i32(shift) & 15
        limit = i32((TABLE_STEPS << shift) - 1)
        u = i32(-z if z < 0 else z)
        u = limit if u > limit else u
        i = i32(u >> shift)
        low = i32(table[i])
        rise = i32(i32(i32(table[i + 1]) - low) * i32(u & i32((1 << shift) - 1)))
        return i32(low + i32(i32(rise + i32((1 << shift) >> 1)) >> shift))

    @v.inline
    def tanh(table, z, fraction):
        t = magnitude(table, z, fraction - STEP_BITS)
        return i32(-t if z < 0 else t)

    @v.inline
    def sigmoid(table, z):
        half = i32(i32(magnitude(table, z, SUM_FRACTION + 1 - STEP_BITS) + 1) >> 1)
        return i32(ONE // 2 - half if z < 0 else ONE // 2 + half)

    @v.inline
    def limited(x, limit):
        limit = i32(limit)
        return i32(-limit if x < -limit else limit if x > limit else x)

    @v.inline
    def shifted(x, bits):
        bits = i32(bits) & 31
        return i32(i32(x + i32((1 << bits) >> 1)) >> bits)

    return SimpleNamespace(dot=dot, rescale=rescale, tanh=tanh, sigmoid=sigmoid, limited=limited, shifted=shifted)


@functools.cache
def terms(v: Any) -> Any:
    """`terms(sequence, x_at, h_at, gate)`: both parts of a gate's sum in Q12, without bias; `gate` counts over all units."""
    a = arithmetic(v)
    dot, rescale = a.dot, a.rescale

    @v.inline
    def terms(q, x_at, h_at, gate):
        at = 4 * gate
        x_part = rescale(dot(q.x, x_at, q.w, gate * q.n_in, q.n_in), q.columns[at])
        return x_part, rescale(dot(q.h, h_at, q.r, gate * q.units, q.units), q.columns[at + 1])

    return terms


@functools.cache
def sums(v: Any) -> Any:
    """`sums(sequence, x_at, gate)`: a gate's whole sum in Q12."""
    parts = terms(v)

    @v.inline
    def sums(q, x_at, gate):
        x_part, h_part = parts(q, x_at, 0, gate)
        return i32(x_part + h_part + q.columns[4 * gate + 2])

    return sums


class Crew(NamedTuple):
    """Who shares the units of a row: everyone takes units first(), first() + step(), ..., and meets the others after each part.

    A processor does all of them alone; on a GPU a crew is a block of threads.
    """

    first: Any
    step: Any
    meet: Any


@functools.cache
def alone(v: Any) -> Crew:
    """A crew of one."""
    return Crew(v.inline(lambda: 0), v.inline(lambda: 1), v.inline(lambda: None))


@functools.cache
def move(v: Any, crew: Crew) -> Any:
    """`move(x, i, y, j, n)`: y[j : j + n] = x[i : i + n], zeros where x is null, nothing where y is."""
    is_null, first, step = v.is_null, crew.first, crew.step

    @v.inline
    def move(x, i, y, j, n):
        if not is_null(y):
            for k in range(first(), n, step()):
                y[j + k] = 0 if is_null(x) else x[i + k]

    return move


def walk(v: Any, crew: Crew, begin: Any, parts: tuple[Any, ...], end: Any) -> Any:
    """`run(sequence, cell, b)`: all steps of row b.

    `begin(sequence, cell, b)` loads the states of the row, `end` stores them; each of `parts`, one after the other, is called
    as `part(sequence, cell, x_at, u)` for every unit u: together they make one step, which writes the new h behind the old one.
    """
    emit, copy, is_null, meet = _emit(v, crew), move(v, crew), v.is_null, crew.meet
    update = _update(v, crew, parts)

    @v.inline
    def run(q, cell, b):
        begin(q, cell, b)
        meet()
        known = q.hold == 2
        for s in range(q.steps):
            t = q.steps - 1 - s if q.reverse else s
            if is_null(q.mask) or q.mask[b * q.steps + t] != 0:
                update(q, cell, t * q.x_t + b * q.x_b)
                copy(q.h, q.units, q.h, 0, q.units)
                meet()
                known = True
                emit(q, t * q.y_t + b * q.y_b, True)
            else:
                emit(q, t * q.y_t + b * q.y_b, known and q.hold != 0)
        end(q, cell, b)

    return run


def _update(v: Any, crew: Crew, parts: tuple[Any, ...]) -> Any:
    """`update(sequence, cell, x_at)`: all parts of a step, each for all units."""
    part, first, step, meet = parts[0], crew.first, crew.step, crew.meet

    @v.inline
    def one(q, cell, x_at):
        for u in range(first(), q.units, step()):
            part(q, cell, x_at, u)
        meet()

    if len(parts) == 1:
        return one
    others = _update(v, crew, parts[1:])

    @v.inline
    def update(q, cell, x_at):
        one(q, cell, x_at)
        others(q, cell, x_at)

    return update


def _emit(v: Any, crew: Crew) -> Any:
    """`emit(sequence, at, shown)`: h as the output at y[at:], or zeros."""
    is_null, first, step = v.is_null, crew.first, crew.step

    @v.inline
    def emit(q, at, shown):
        if not is_null(q.y):
            for u in range(first(), q.units, step()):
                q.y[at + u] = q.h[u] if shown else 0

    return emit


def every_row(v: Any, run: Any) -> Any:
    """`run_all(sequence, cell)`: `run` for all rows, one after the other."""
    @v.inline
    def run_all(q, cell):
        for b in range(q.batch):
            run(q, cell, b)

    return run_all
