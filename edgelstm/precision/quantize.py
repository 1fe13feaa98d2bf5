"""From a matrix of floats to stored weights: rounding, and the choice of scales.

Scales by `max` let the largest weight of a column be the largest number; those by `mse` leave the least mean-square error of
those tried, `max` among them for int8. A scale of int4 may be negative, so that the weight of largest size can become -8.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from edgelstm.errors import PrecisionError
from edgelstm.ops.stored import GROUP, MOST_INPUTS, Stored, bfloat16_widened, pack_nibbles
from edgelstm.precision.compensate import Row, compensated

Rounded = tuple[np.ndarray, np.ndarray]  # numbers and their scales

SCALES = ("mse", "max")
INT8_LIMITS, INT4_LIMITS = (-127, 127), (-8, 7)

_INT8_RANGES = np.linspace(0.7, 1.0, 13)  # of the largest weight, tried as ends of the range
_INT4_RANGES = np.concatenate([np.linspace(0.6, 1.15, 12), -np.linspace(0.6, 1.15, 12)])
_CHUNK = 1 << 20  # weights that are searched at once
_FAINT, _DROWNED = 1e-20, 0.25  # the energy of a column that is almost nothing; the part of it that rounding may change
_LARGE = 1e12  # the squares of weights up to this, and from its inverse on, can be summed in float32
_SMALLEST = float(np.finfo(np.float32).tiny)


def bfloat16(array: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16 numbers, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def quantize(matrix: np.ndarray, precision: str, *, scales: str = "mse", covariance: np.ndarray | None = None) -> Stored:
    """A matrix (n_in, n_out) in a reduced precision.

    `covariance` (n_in, n_in), the second moments of the inputs it is multiplied with, lets rounding make up for its own errors;
    see compensate. Raises PrecisionError for weights that are not finite; bfloat16 keeps those.
    """
    matrix = np.asarray(matrix, np.float32)
    if precision == "bfloat16":
        return _as_bfloat16(matrix, covariance)
    _check(matrix, precision)
    if precision == "int4":
        values, scale = _int4(matrix, scales)
        if covariance is not None:
            values = compensated(matrix, covariance, "int8", lambda i, row: _row(row, scale[i // GROUP], INT4_LIMITS))
        return Stored(precision, pack_nibbles(values), bfloat16(scale), matrix.shape)
    values, scale = _in_chunks(matrix, lambda part: _int8(part, scales))
    if covariance is not None:
        values = compensated(matrix, covariance, "int8", lambda _, row: _row(row, scale, INT8_LIMITS))
    return Stored(precision, values, scale, matrix.shape)


def quantize_with_factors(matrix: np.ndarray, *, scales: str = "mse", covariance: np.ndarray | None = None) -> Stored:
    """The same in int8x16 with a factor for each input: its largest weight, over the largest of all.

    So the weights of an input are rounded in steps that fit them, however large those of others are. Without factors where
    these would add to the noise of the outputs, or drown a column whose weights are much smaller than those of others. Where
    nothing is known of the inputs, all are thought to add alike to the outputs: training gives small ones large weights.
    """
    matrix = np.asarray(matrix, np.float32)
    _check(matrix, "int8x16")
    largest = np.max(np.abs(matrix), axis=1, initial=0.0)
    factor = _usable(largest / max(np.max(largest, initial=0.0), _SMALLEST))
    inverse = np.divide(1.0, factor, out=np.zeros(len(factor)), where=factor > 0)
    even = (matrix * inverse[:, None]).astype(np.float32)
    plain, evened = quantize(matrix, "int8x16", scales=scales), replace(quantize(even, "int8x16", scales=scales), factor=factor)
    alike = np.square(inverse) if covariance is None else covariance
    if _drowns(matrix, evened) or _noise(matrix, plain, alike) <= _noise(matrix, evened, alike):
        return plain if covariance is None else quantize(matrix, "int8x16", scales=scales, covariance=covariance)
    if covariance is None:
        return evened
    seen = covariance * np.outer(factor, factor)
    return replace(quantize(even, "int8x16", scales=scales, covariance=seen), factor=factor)


def _noise(matrix: np.ndarray, found: Stored, covariance: np.ndarray) -> float:
    """The energy of what rounding adds to the outputs, given the second moments of the inputs, or their energies alone."""
    errors = matrix - found.widened(np.float64)
    return float(np.sum(errors * (covariance[:, None] * errors if covariance.ndim == 1 else covariance @ errors)))


def _drowns(matrix: np.ndarray, found: Stored) -> bool:
    """Whether rounding changes any column that is not almost nothing by more than a part of its energy."""
    errors = np.sum(np.square(matrix - found.widened(np.float64)), axis=0)
    energy = np.sum(np.square(matrix, dtype=np.float64), axis=0)
    return bool(np.any(errors[energy > _FAINT] > _DROWNED * energy[energy > _FAINT]))


def _check(matrix: np.ndarray, precision: str) -> None:
    """Raise PrecisionError for what integers cannot stand for, or sum."""
    if not np.all(np.isfinite(matrix)):
        raise PrecisionError("the weights hold NaN or infinity, which integers cannot; use float32 or bfloat16 there")
    if len(matrix) > MOST_INPUTS and precision != "int4":
        raise PrecisionError(f"it sums {len(matrix)} products, and {precision} at most {MOST_INPUTS}; use another one there")


def _as_bfloat16(matrix: np.ndarray, covariance: np.ndarray | None) -> Stored:
    """Errors can be made up for only where all of them are finite."""
    values = bfloat16(matrix)
    if covariance is not None and np.all(np.isfinite(bfloat16_widened(values))):
        values = compensated(matrix, covariance, "uint16", _bfloat16_row)
    return Stored("bfloat16", values, None, matrix.shape)


def _bfloat16_row(_: int, row: np.ndarray) -> Row:
    bits = bfloat16(row)
    return bits, bfloat16_widened(bits)


def _row(row: np.ndarray, scale: np.ndarray, limits: tuple[int, int]) -> Row:
    numbers = _rounded(row, scale, limits)
    return numbers, numbers * scale.astype(np.float64)


def _int8(matrix: np.ndarray, scales: str) -> Rounded:
    """Numbers and one scale per column."""
    largest = np.max(np.abs(matrix), axis=0, initial=0.0) / INT8_LIMITS[1]
    ranges = (1.0,) if scales == "max" else _INT8_RANGES
    scale = _best_scale(matrix, (largest * r for r in ranges), INT8_LIMITS, _usable)
    return _rounded(matrix, scale, INT8_LIMITS), scale


def _int4(matrix: np.ndarray, scales: str) -> Rounded:
    """Numbers (n_in, n_out), and scales (groups, n_out) that are bfloat16 numbers."""
    parts = [_in_chunks(matrix[first:first + GROUP], lambda part: _int4_group(part, scales))
             for first in range(0, len(matrix), GROUP)]
    if not parts:
        return np.zeros(matrix.shape, np.int8), np.zeros((0, matrix.shape[1]), np.float32)
    return np.concatenate([values for values, _ in parts]), np.stack([scale for _, scale in parts])


def _int4_group(group: np.ndarray, scales: str) -> Rounded:
    """Numbers and scales of up to 32 inputs."""
    if scales == "max":
        candidates = [np.max(np.abs(group), axis=0, initial=0.0) / INT4_LIMITS[1]]
    else:
        extreme = np.take_along_axis(group, np.argmax(np.abs(group), axis=0)[None], axis=0)[0]
        candidates = [extreme * r / INT4_LIMITS[0] for r in _INT4_RANGES]
    scale = _best_scale(group, candidates, INT4_LIMITS, _usable_bfloat16)
    return _rounded(group, scale, INT4_LIMITS), scale


def _best_scale(matrix: np.ndarray, candidates: Iterator[np.ndarray] | list[np.ndarray], limits: tuple[int, int],
                usable: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Of scales per column the ones with the least square error; each is also tried as its numbers would like it best."""
    best, least = np.zeros(matrix.shape[1], np.float32), np.full(matrix.shape[1], np.inf)
    unit = _unit(matrix)
    matrix = matrix / unit
    for number, candidate in enumerate(candidates):
        first = usable(candidate / unit)
        for scale in (first, usable(_least_squares(matrix, first, limits))) if number else (first,):
            error = np.sum(np.square(matrix - _rounded(matrix, scale, limits) * scale), axis=0)
            better = error < least
            best, least = np.where(better, scale, best), np.where(better, error, least)
    return usable(best * unit)


def _unit(matrix: np.ndarray) -> np.ndarray:
    """A power of two for each column, with which squares of its weights stay within float32; 1 for almost all."""
    largest = np.max(np.abs(matrix), axis=0, initial=0.0)
    extreme = (largest > _LARGE) | ((largest < 1 / _LARGE) & (largest > _SMALLEST))
    return np.exp2(np.where(extreme, np.floor(np.log2(np.where(extreme, largest, 1.0))), 0)).astype(np.float32)


def _least_squares(matrix: np.ndarray, scale: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """The scale that fits a column best once its numbers are chosen."""
    numbers = _rounded(matrix, scale, limits).astype(np.float32)
    energy = np.sum(np.square(numbers), axis=0)
    return np.where(energy > 0, np.sum(numbers * matrix, axis=0) / np.maximum(energy, 1), scale)


def _usable(scale: np.ndarray) -> np.ndarray:
    """Scales as float32; those that would be denormal become 0, and with them their weights."""
    return np.where(np.abs(scale) < _SMALLEST, 0.0, scale).astype(np.float32)


def _usable_bfloat16(scale: np.ndarray) -> np.ndarray:
    return _usable(bfloat16_widened(bfloat16(scale.astype(np.float32))))


def _rounded(matrix: np.ndarray, scale: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """The nearest numbers within the limits; 0 where the scale is 0."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(scale == 0, 0, 1 / scale.astype(np.float64))
    return np.clip(np.rint(matrix * inverse), *limits).astype(np.int8)


def _in_chunks(matrix: np.ndarray, work: Callable[[np.ndarray], Rounded]) -> Rounded:
    """The work done on some columns after others, so that what it needs on the way stays small."""
    columns = max(1, _CHUNK // max(1, len(matrix)))
    found = [work(matrix[:, first:first + columns]) for first in range(0, max(1, matrix.shape[1]), columns)]
    return np.concatenate([values for values, _ in found], axis=1), np.concatenate([scale for _, scale in found])
