"""The activations a recurrent cell may use, in float64: by name, the formula of x, alpha and beta, and the defaults.

Sources: the Keras activations of the same name, and the ONNX operators LSTM, GRU and RNN (their activation list).
"""

import math
from collections.abc import Callable

import numpy as np

from edgelstm.errors import FormatError
from edgelstm.record import record

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017

Formula = Callable[[np.ndarray, float, float], np.ndarray]


@record()
class Activation:
    """One activation: `formula(x, alpha, beta)` in the dtype of x."""

    formula: Formula
    alpha: float = 0.0
    beta: float = 0.0


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), written so that no exponential overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return np.logaddexp(x, 0)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, element by element."""
    return np.vectorize(math.erf, otypes=[np.float64])(x) if np.size(x) else np.asarray(x, np.float64)


def gated(x: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """x times a gate that closes toward -inf: there the product is its limit 0, not NaN."""
    return np.where(x == -np.inf, 0.0, x * gate)


def softsign(x: np.ndarray) -> np.ndarray:
    """x / (1 + |x|), whose limits are 1 and -1."""
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution function of x (Hendrycks and Gimpel 2016)."""
    return gated(x, 0.5 * (1 + erf(x / math.sqrt(2))))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh approximation of gelu from the same paper."""
    return gated(x, 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda x, a, b: x),
    "relu": Activation(lambda x, a, b: np.maximum(x, 0)),
    "tanh": Activation(lambda x, a, b: np.tanh(x)),
    "sigmoid": Activation(lambda x, a, b: sigmoid(x)),
    "hard_sigmoid": Activation(lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "softsign": Activation(lambda x, a, b: softsign(x)),
    "softplus": Activation(lambda x, a, b: softplus(x)),
    "elu": Activation(lambda x, a, b: _elu(x, a), 1.0),
    "selu": Activation(lambda x, a, b: SELU_SCALE * _elu(x, SELU_ALPHA)),
    "gelu": Activation(lambda x, a, b: gelu(x)),
    "gelu_tanh": Activation(lambda x, a, b: gelu_tanh(x)),
    "silu": Activation(lambda x, a, b: gated(x, sigmoid(x))),
    "exponential": Activation(lambda x, a, b: np.exp(x)),
    "leaky_relu": Activation(lambda x, a, b: np.where(x >= 0, x, a * x), 0.01),
    "thresholded_relu": Activation(lambda x, a, b: np.where(x <= a, 0, x), 1.0),
    "scaled_tanh": Activation(lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "affine": Activation(lambda x, a, b: a * x + b, 1.0, 0.0),
    "relu6": Activation(lambda x, a, b: np.clip(x, 0, 6)),
    "mish": Activation(lambda x, a, b: gated(x, np.tanh(softplus(x)))),
    "hard_silu": Activation(lambda x, a, b: gated(x, np.clip(x / 6 + 0.5, 0, 1))),
    "log_sigmoid": Activation(lambda x, a, b: -softplus(-x)),
}


def resolve(activation: str | tuple[str, float, float]) -> tuple[str, float, float]:
    """Name, alpha and beta of an attribute of kind `activation`. Raises FormatError when the name is unknown."""
    name, *given = (activation,) if isinstance(activation, str) else activation
    if name not in ACTIVATIONS:
        raise FormatError(f"unknown activation {name!r}; known are {sorted(ACTIVATIONS)}")
    known = ACTIVATIONS[name]
    alpha, beta = given or (known.alpha, known.beta)
    return name, alpha, beta


def apply(activation: str | tuple[str, float, float], x: np.ndarray) -> np.ndarray:
    """The activation of x, in the dtype of x."""
    name, alpha, beta = resolve(activation)
    return ACTIVATIONS[name].formula(x, alpha, beta)
