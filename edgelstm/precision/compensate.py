"""Rounding that makes up for its own errors: what one weight's rounding adds to the outputs, weights rounded later take away.

The inputs of a matrix are rounded in turn, those of most energy first. How far a later input can stand in for an earlier one
follows from their second moments over calibration data (Frantar et al. 2022, GPTQ).
"""

from collections.abc import Callable

import numpy as np

DAMPING = 0.01  # of the mean variance of the inputs, added to each
_BLOCK = 64  # inputs whose errors are passed on to all later ones at once

Row = tuple[np.ndarray, np.ndarray]  # the numbers of one input's weights, and what they stand for


def compensated(matrix: np.ndarray, covariance: np.ndarray, dtype: str,
                rounded: Callable[[int, np.ndarray], Row]) -> np.ndarray:
    """The numbers of a matrix (n_in, n_out). `rounded(i, weights)` rounds the weights of input i.

    `covariance` (n_in, n_in) are the second moments of the inputs that the matrix is multiplied with.
    """
    values = np.zeros(matrix.shape, dtype)
    if not values.size:
        return values
    order = np.argsort(-np.diag(covariance), kind="stable")
    upper = _inverse_factor(covariance[np.ix_(order, order)])
    rest = matrix[order].astype(np.float64)
    for first in range(0, len(order), _BLOCK):
        end = min(first + _BLOCK, len(order))
        errors = np.zeros((end - first, matrix.shape[1]))
        for i in range(first, end):
            values[order[i]], widened = rounded(order[i], rest[i])
            errors[i - first] = (rest[i] - widened) / upper[i, i]
            rest[i + 1:end] -= np.outer(upper[i, i + 1:end], errors[i - first])
        rest[end:] -= upper[first:end, end:].T @ errors
    return values


def _inverse_factor(covariance: np.ndarray) -> np.ndarray:
    """The upper triangular factor of the inverse of the damped covariance."""
    damped = np.array(covariance, np.float64)
    mean = float(np.mean(np.diag(damped)))
    damped[np.diag_indices_from(damped)] += DAMPING * mean if mean > 0 else 1.0
    return np.linalg.cholesky(np.linalg.inv(damped)).T
