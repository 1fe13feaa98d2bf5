"""How far two signals are from each other: signal-to-noise ratio, largest error, and the error at growing numbers of steps.

What is not finite counts as right where both signals have the same, and as an infinite error where they do not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

STEPS = (1, 10, 100, 1000)  # the time steps at which the error is told
DEFAULT_SHARE = 0.01  # of the largest output: the error allowed where the user gives no limit


@dataclass(frozen=True, eq=False)
class Distance:
    """How far a signal is from its reference. `curve` has the largest absolute error of each time step, where there are any."""

    snr_db: float
    max_error: float
    curve: np.ndarray | None = None

    @property
    def drift(self) -> dict[int, float]:
        """The largest absolute error at time steps 1, 10, 100 and 1000, as far as the signal goes."""
        return {} if self.curve is None else {t: float(self.curve[t - 1]) for t in STEPS if t <= len(self.curve)}


def distance(reference: np.ndarray, found: np.ndarray, time: int | None = None) -> Distance:
    """Of a signal of the same shape as its reference; `time` is the axis of its time steps."""
    if reference.shape != found.shape:
        return Distance(-np.inf, np.inf)
    errors = absolute_errors(reference, found)
    curve = None
    if time is not None:
        others = tuple(axis for axis in range(errors.ndim) if axis != time)
        curve = np.max(errors, axis=others, initial=0.0)
    return Distance(_snr_db(reference, errors), float(np.max(errors, initial=0.0)), curve)


def absolute_errors(reference: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The absolute error of every element in float64: 0 where both are the same infinity or NaN, infinite where one is."""
    same = (found == reference) | (_is_nan(found) & _is_nan(reference))
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(np.asarray(found, np.float64) - np.asarray(reference, np.float64))
    return np.where(same, 0.0, np.where(np.isnan(errors), np.inf, errors))


def default_limit(outputs: Iterable[np.ndarray]) -> float:
    """A hundredth of the largest finite number among the outputs."""
    sizes = [np.abs(array[np.isfinite(array)].astype(np.float64)) for array in outputs]
    return DEFAULT_SHARE * max((float(np.max(size, initial=0.0)) for size in sizes), default=0.0)


def _is_nan(array: np.ndarray) -> np.ndarray:
    return np.not_equal(array, array)


def _snr_db(reference: np.ndarray, errors: np.ndarray) -> float:
    """10 log10 of the energy of the finite part of a signal over that of its error; infinite where there is no error."""
    wide = np.asarray(reference, np.float64)
    signal = float(np.sum(np.square(wide, where=np.isfinite(wide), out=np.zeros_like(wide))))
    noise = float(np.sum(np.square(errors)))
    if not noise:
        return np.inf
    return 10 * float(np.log10(signal / noise)) if signal and np.isfinite(noise) else -np.inf
