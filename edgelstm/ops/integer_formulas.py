"""The arithmetic of integer-only ops: what their references compute and their kernels repeat bit for bit.

All of it fits 32-bit integers; `>>` rounds towards minus infinity, Qn is an integer in units of 2**-n.

    rescale  A factor M > 0 is stored as m 2**-s with 2**14 <= m < 2**15, and k more bits than the sum a needs are used:
             v = a << k; p = floor(v m / 2**16); result = ((p >> q) + 1) >> 1, which is a m 2**-s rounded half up,
             where q = s + k - 17. A word holds m | k << 16 | q << 24.
    tanh     of z in Qn: u = min(|z|, 8 - 2**-n), i = u >> (n - 5), f the n - 5 bits below,
             t = T[i] + (((T[i + 1] - T[i]) f + 2**(n - 6)) >> (n - 5)) in Q15, with the sign of z;
             T[i] = tanh(i / 32) rounded to Q15, i = 0 .. 256.
    sigmoid  of z in Qn: 1/2 + tanh(z / 2) / 2, that is 2**14 +- ((t + 1) >> 1), t taken from z as if it were in Q(n + 1).

Gate sums are in Q12, weights of gates and values of tanh and sigmoid in Q15, where 2**15 is exactly 1.
"""

from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError

SUM_FRACTION = 12  # bits after the point of a gate sum
ONE = 1 << 15  # of what tanh and sigmoid give
LARGEST_TERM = 1 << 28  # of a bias, so that sums stay within 32 bits
MOST_INPUTS = 1 << 16  # of one sum: 65536 * 128 * 128 fits 31 bits
KINDS = {"int8": "i8", "int16": "i16"}  # dtypes of activations and states, and what kernels call them
LIMITS = {"int8": 127, "int16": 32767}
BOUNDS = {"int8": 1 << 7, "int16": 1 << 15}  # no integer of the dtype is larger
TABLE_STEPS = 256
_STEP_BITS = 5  # the table has 32 steps to 1
_MANTISSA = 15
_WORD_BITS = 31

TANH_TABLE = np.rint(ONE * np.tanh(np.arange(TABLE_STEPS + 1) / (1 << _STEP_BITS))).astype(np.uint16)


def rescale_words(factors: Any, bounds: Any) -> np.ndarray:
    """The int32 words of factors >= 0 for sums of at most |bounds|. Raises UnsupportedError where a result may not fit."""
    factors, bounds = np.broadcast_arrays(np.asarray(factors, np.float64), np.asarray(bounds, np.int64))
    if not np.all((factors >= 0) & (factors < np.inf)):
        raise UnsupportedError("its scales give a negative, infinite or NaN factor; numbers from 0 on are supported")
    mantissa, exponent = np.frexp(factors)
    m = np.rint(np.ldexp(mantissa, _MANTISSA)).astype(np.int64)
    carried = m == 1 << _MANTISSA
    m, exponent = np.where(carried, m >> 1, m), exponent + carried
    spare = _WORD_BITS - np.frexp(np.maximum(bounds, 1).astype(np.float64))[1]
    shift = _MANTISSA - exponent
    k = np.minimum(spare, 46 - shift)
    q = shift + k - 17
    tiny = (k < 0) | (m == 0)
    if np.any((q < 0) & ~tiny):
        largest = np.max(factors * bounds)
        raise UnsupportedError(f"its scales make sums of up to {largest:.3g} steps; at most {2**28} are supported")
    return np.where(tiny, 29 << 24, m | k << 16 | q << 24).astype(np.int32)


def rescaled(a: np.ndarray, words: Any) -> np.ndarray:
    """Sums times the factors that the words stand for, in int64."""
    words = np.asarray(words, np.int64)
    m, k, q = words & 0x7FFF, words >> 16 & 31, words >> 24 & 31
    return ((np.asarray(a, np.int64) << k) * m >> 16 >> q) + 1 >> 1


def fixed(x: Any, fraction: int) -> np.ndarray:
    """Floats in Q`fraction`, rounded to nearest and limited to what a sum can take; NaN becomes 0."""
    steps = np.nan_to_num(np.rint(np.ldexp(np.asarray(x, np.float64), fraction)))
    return np.clip(steps, -LARGEST_TERM, LARGEST_TERM).astype(np.int64)


def saturated(x: np.ndarray, limit: int) -> np.ndarray:
    """Numbers limited to -limit .. limit."""
    return np.clip(x, -limit, limit)


def tanh_magnitude(z: np.ndarray, fraction: int) -> np.ndarray:
    """|tanh| of z in Q`fraction`, in Q15."""
    shift, table = fraction - _STEP_BITS, TANH_TABLE.astype(np.int64)
    u = np.minimum(np.abs(z), (TABLE_STEPS << shift) - 1)
    i, f = u >> shift, u & ((1 << shift) - 1)
    return table[i] + ((table[i + 1] - table[i]) * f + (1 << shift - 1) >> shift)


def tanh(z: np.ndarray, fraction: int = SUM_FRACTION) -> np.ndarray:
    """tanh of z in Q`fraction`, in Q15."""
    t = tanh_magnitude(z, fraction)
    return np.where(z < 0, -t, t)


def sigmoid(z: np.ndarray, fraction: int = SUM_FRACTION) -> np.ndarray:
    """The logistic function of z in Q`fraction`, in Q15."""
    half = tanh_magnitude(z, fraction + 1) + 1 >> 1
    return np.where(z < 0, ONE // 2 - half, ONE // 2 + half)


def rounded_shift(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2**bits, rounded half up; bits may be 0."""
    return x if not bits else x + (1 << bits - 1) >> bits


def sum_bounds(weights: np.ndarray) -> np.ndarray:
    """How large the sums of each column of an int8 matrix (n_in, n_out) can become."""
    return 128 * np.abs(weights.astype(np.int64)).sum(axis=0)


def check_inputs(n_in: int) -> None:
    """Raise ShapeError where a sum of so many products might leave 32 bits."""
    if n_in > MOST_INPUTS:
        raise ShapeError(f"it sums {n_in} products; integer-only ops take at most {MOST_INPUTS} inputs")


def check_scale(name: str, scale: float) -> None:
    """Raise ShapeError unless a scale is a finite number above 0."""
    if not (np.isfinite(scale) and scale > 0):
        raise ShapeError(f"{name} is {scale}; a number above 0 is needed")
