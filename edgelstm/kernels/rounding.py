"""Rows of floats rounded to small integers with one scale each: what formats that multiply bytes do first.

Of a row x: m = max |x|, scale = m / 127, numbers = x * (127 / m) rounded half to even. Where m is below 2 ** -100, scale and
numbers are 0; where it is infinite, so is the scale, and all but the infinities is (almost) 0. A fixed scale s takes the
place of m / 127: numbers = x * (1 / s), bounded by +-127, rounded half to even. NaN anywhere makes the scale NaN.

Finer rows have a second byte for each number, what rounding left of it in steps of a 254th: 16 bits together.
"""

import functools
from typing import Any

INFINITE = float("inf")

_NOTHING = 2.0**-100
_LEAST = 2.0**-126  # times any finite number at most 4, but infinities stay


@functools.cache
def make(v: Any) -> Any:
    """`round_row(to, x, i, n, scale, offset) -> scale`: the numbers of x[i : i + n], plus a constant, as bytes from to[0] on.

    `to` is u8* with room for whole vectors; bytes beyond n are those of zeros. `scale` is the fixed one, or 0.
    """
    largest, numbers, factors, f32 = _largest(v), _numbers(v), factors_of(v), v.f32

    @v.inline
    def round_row(to, x, i, n, scale, offset):
        if scale > 0.0:
            top = numbers(to, x, i, n, f32(1.0) / scale, offset)
            return scale if top == top else top
        inverse, found = factors(largest(x, i, n))
        numbers(to, x, i, n, inverse, offset)
        return found

    return round_row


@functools.cache
def factors_of(v: Any) -> Any:
    """`factors(top) -> (inverse, scale)` of a row whose largest |x| is `top`: numbers = x * inverse, x is numbers * scale."""
    f32 = v.f32

    @v.inline
    def factors(top):
        if top < f32(_NOTHING):
            return f32(0.0), f32(0.0)
        inverse = f32(127.0) / top
        return inverse if inverse > f32(_LEAST) else f32(_LEAST), top / f32(127.0)

    return factors


def _largest(v: Any) -> Any:
    load, load_part, largest, greatest, zero, lanes = v.load, v.load_part, v.largest, v.greatest, v.zero, v.lanes

    @v.inline
    def find(x, i, n):
        m, whole = zero(), n - n % lanes
        for k in range(0, whole, lanes):
            m = largest(m, load(x, i + k))
        if whole < n:
            m = largest(m, load_part(x, i + whole, n - whole))
        return greatest(m)

    return find


def _numbers(v: Any) -> Any:
    """`numbers(to, x, i, n, inverse, offset)` writes them and returns the largest |x|."""
    load, load_part, store_octets, lanes = v.load, v.load_part, v.store_octets, v.lanes
    largest, greatest, zero, least, most = v.largest, v.greatest, v.zero, v.max, v.min

    @v.inline
    def numbers(to, x, i, n, inverse, offset):
        m, whole = zero(), n - n % lanes
        for k in range(0, whole, lanes):
            row = load(x, i + k)
            m = largest(m, row)
            store_octets(to, k, least(most(row * inverse, 127.0), -127.0), offset)
        if whole < n:
            row = load_part(x, i + whole, n - whole)
            m = largest(m, row)
            store_octets(to, whole, least(most(row * inverse, 127.0), -127.0), offset)
        return greatest(m)

    return numbers


@functools.cache
def make_finer(v: Any) -> Any:
    """`round_row(to, rest, x, i, n, scale, offset) -> scale`: the same, and what it leaves, in 254ths, as bytes into `rest`."""
    largest, numbers, factors, f32 = _largest(v), _finer_numbers(v), factors_of(v), v.f32

    @v.inline
    def round_row(to, rest, x, i, n, scale, offset):
        top = largest(x, i, n)
        if scale > 0.0:
            numbers(to, rest, x, i, n, f32(1.0) / scale, offset)
            return scale if top == top else top
        inverse, found = factors(top)
        numbers(to, rest, x, i, n, inverse, offset)
        return found

    return round_row


def _finer_numbers(v: Any) -> Any:
    """`numbers(to, rest, x, i, n, inverse, offset)` writes both bytes of each."""
    load_part, store_octets, nearest, least, most, lanes = v.load_part, v.store_octets, v.round_small, v.max, v.min, v.lanes

    @v.inline
    def numbers(to, rest, x, i, n, inverse, offset):
        for k in range(0, n, lanes):
            row = least(most(load_part(x, i + k, n - k) * inverse, 127.0), -127.0)
            whole = nearest(row)
            store_octets(to, k, whole, offset)
            store_octets(rest, k, (row - whole) * 254.0, offset)

    return numbers
