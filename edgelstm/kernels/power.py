"""Powers and remainders of single numbers. Floats are worked out in float64, so that the float32 result is rounded once."""

from collections.abc import Callable
from typing import Any

Formula = Callable[..., Any]

LOG_SERIES = 12  # terms of atanh's series: below 1e-16 of its first term for |t| < 0.172
EXP_SERIES = 13  # terms of exp's series: below 1e-16 for |x| < 0.35


def integer_power(v: Any) -> Formula:
    """a ** b for integers, by repeated squaring; a negative exponent truncates toward zero, and 0 gives 0 there."""

    def power(a, b):
        if b < 0:
            if a == 1 or (a == -1 and b % 2 == 0):
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
    truncated = v.inline(_remainder64)

    def fmod(a, b):
        return truncated(a * 1.0, b * 1.0)

    return fmod


def modulo(v: Any) -> Formula:
    """a - b * floor(a / b), with the sign of b. Exact while |a / b| < 2 ** 29."""
    truncated = v.inline(_remainder64)

    def mod(a, b):
        r = truncated(a * 1.0, b * 1.0)
        if r != 0.0 and (r < 0.0) != (b < 0.0):
            r += b * 1.0
        return r

    return mod


def _remainder64(a, b):
    if not abs(a) < 4e38 or b == 0.0 or b != b:
        return a * 0.0 / 0.0
    quotient = a / b
    if abs(quotient) < 1.0:
        return a
    if not abs(quotient) < 9e15:
        return a * 0.0
    return a - (quotient // 1.0 if quotient > 0.0 else -(-quotient // 1.0)) * b


def float_power(v: Any) -> Formula:
    """a ** b with the special cases of C's pow; an exact result rounded once, 2 ** (b log2 |a|)."""
    log2, exp2 = v.outline(_log2), v.outline(_exp2)
    whole = v.inline(_is_whole)

    def power(a, b):
        if b == 0.0 or a == 1.0:
            return 1.0
        if a != a or b != b:
            return a * 1.0 + b
        magnitude = abs(a * 1.0)
        odd = whole(b * 0.5 + 0.5) and whole(b * 1.0)
        if a < 0.0 and not whole(b * 1.0) and magnitude < 4e38:
            return a * 0.0 / 0.0
        if magnitude == 1.0:
            y = 1.0
        elif magnitude == 0.0 or magnitude > 4e38:
            y = 0.0 if (magnitude == 0.0) == (b > 0.0) else 1e300
        else:
            y = exp2(b * log2(magnitude))
        negative = a < 0.0 or (magnitude == 0.0 and 1.0 / a < 0.0)
        return -y if odd and negative else y

    return power


def _is_whole(x):
    """Whether a float64 has no fraction."""
    return abs(x) >= 1e15 or x // 1.0 == x


def _log2(x):
    """log2 of a positive finite float64 that a float32 can hold: the exponent, and the series of atanh for the mantissa."""
    exponent = 0.0
    step, factor = 128.0, 3.402823669209385e38
    while step >= 1.0:
        if x >= factor:
            x /= factor
            exponent += step
        if x * factor < 1.5:
            x *= factor
            exponent -= step
        step *= 0.5
        factor = _ROOTS_NEXT(factor)
    return exponent + x


