"""Powers and remainders of single numbers. Floats are worked out in float64, so that the result is rounded once."""

from collections.abc import Callable
from typing import Any

Formula = Callable[..., Any]

LN2 = 0.6931471805599453
SQRT2 = 1.4142135623730951
LOG_TERMS = 11  # of the series of atanh, enough for float64 where |t| < 0.172
EXP_TERMS = 13  # of the series of exp, enough for float64 where |x| < 0.35
FINITE = 4e38  # above every finite float32
COUNTABLE = 2.0**51  # from here on a float64 is taken to have no fraction
ROUNDING = 1.5 * 2.0**52  # adding it leaves no fraction bits


def integer_power(v: Any) -> Formula:
    """a ** b for integers, by repeated squaring; a negative exponent truncates toward zero, and 0 gives 0 there."""

    def power(a, b):
        if b < 0:
            if a == 1 or (a == -1 and b & 1 == 0):
                return 1
            return -1 if a == -1 else 0
        y = 1
        while b > 0:
            if b & 1:
                y *= a
            a *= a
            b >>= 1
        return y

    return power


def remainder(v: Any) -> Formula:
    """C's fmod: a - b * trunc(a / b), with the sign of a. Exact while |a / b| < 2 ** 29."""
    truncated = remainder64(v)

    def fmod(a, b):
        return truncated(a * 1.0, b * 1.0)

    return fmod


def modulo(v: Any) -> Formula:
    """a - b * floor(a / b), with the sign of b. Exact while |a / b| < 2 ** 29."""
    truncated = remainder64(v)

    def mod(a, b):
        r = truncated(a * 1.0, b * 1.0)
        return r + b if r != 0.0 and (r < 0.0) != (b < 0.0) else r

    return mod


def float_power(v: Any) -> Formula:
    """a ** b with the special cases of C's pow: 2 ** (b log2 |a|), rounded once."""
    log2, exp2, is_whole = v.outline(_log2), v.outline(_exp2), v.inline(_is_whole)

    def power(a, b):
        if b == 0.0 or a == 1.0:
            return 1.0
        if a != a or b != b:
            return a * 1.0 + b
        magnitude = a * 1.0 if a >= 0.0 else a * -1.0
        whole = is_whole(b * 1.0)
        if a < 0.0 and not whole and magnitude < FINITE:
            return (a - a) / 0.0
        if magnitude == 1.0:
            y = 1.0
        elif magnitude == 0.0 or magnitude > FINITE:
            y = 0.0 if (magnitude == 0.0) == (b > 0.0) else 1e300
        else:
            y = exp2(b * log2(magnitude))
        negative = a < 0.0 or (magnitude == 0.0 and 1.0 / a < 0.0)
        return -y if negative and whole and not is_whole(b * 0.5) else y

    return power


def remainder64(v: Any) -> Formula:
    """fmod of float64 numbers."""

    def fmod(a, b):
        dividend, divisor = (a if a >= 0.0 else -a), (b if b >= 0.0 else -b)
        if not dividend < FINITE or not divisor > 0.0:
            return (a - a) / 0.0
        quotient = dividend / divisor
        if quotient < 1.0:
            return a
        if quotient >= COUNTABLE:
            return 0.0
        whole = quotient + ROUNDING - ROUNDING
        r = dividend - (whole - 1.0 if whole > quotient else whole) * divisor
        return r if a >= 0.0 else -r

    return v.inline(fmod)


def _is_whole(x):
    """Whether a number has no fraction."""
    return x >= COUNTABLE or x <= -COUNTABLE or x + ROUNDING - ROUNDING == x


def _log2(x):
    """log2 of a positive number that a float32 can hold: its exponent, and ln m = 2 atanh((m - 1) / (m + 1))."""
    exponent = 0.0
    while x >= 16.0:
        x *= 0.0625
        exponent += 4.0
    while x < 1.0:
        x *= 16.0
        exponent -= 4.0
    while x >= SQRT2:
        x *= 0.5
        exponent += 1.0
    t = (x - 1.0) / (x + 1.0)
    series = 0.0
    for k in range(LOG_TERMS, -1, -1):
        series = series * t * t + 1.0 / (2 * k + 1)
    return exponent + 2.0 / LN2 * t * series


def _exp2(x):
    """2 ** x, within 1e60 and its reciprocal, beyond which no float32 lies."""
    x = 200.0 if x > 200.0 else -200.0 if x < -200.0 else x
    n = x + ROUNDING - ROUNDING
    fraction = (x - n) * LN2
    y = 1.0
    for k in range(EXP_TERMS, 0, -1):
        y = 1.0 + y * fraction * (1.0 / k)
    while n >= 16.0:
        y *= 65536.0
        n -= 16.0
    while n <= -16.0:
        y /= 65536.0
        n += 16.0
    while n >= 1.0:
        y *= 2.0
        n -= 1.0
    while n <= -1.0:
        y *= 0.5
        n += 1.0
    return y
