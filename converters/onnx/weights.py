"""Parameters of recurrent ONNX nodes: shapes checked, 8-bit weights widened, gates reordered, biases summed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgelstm_converters.onnx.call import Call

from edgelstm.errors import FormatError

LSTM_ORDER = (0, 2, 3, 1)  # i o f c -> i f g o
PEEPHOLE_ORDER = (0, 2, 1)  # i o f -> i f o


@dataclass(frozen=True)
class Weights:
    """Parameters of all directions D: W (D, G*H, F), R (D, G*H, H), b (D, 2*G*H) or None; G gates, H units."""

    W: np.ndarray
    R: np.ndarray
    b: np.ndarray | None
    gates: int

    @property
    def units(self) -> int:
        return self.R.shape[2]


def reordered(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """An array (G*H, ...) with its blocks of H rows, one for each gate, in another order."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[gate] for gate in order])


def read_weights(call: Call, directions: int, gates: int) -> Weights:
    """W, R and B as arrays. Raises FormatError when their shapes do not fit together."""
    W, R = call.array(1, "weights W"), call.array(2, "recurrent weights R")
    if call.op_type == "DynamicQuantizeLSTM":
        W, R = _dequantized(call, W, 8), _dequantized(call, R, 10)
    if W.ndim != 3 or R.ndim != 3 or R.shape != (directions, gates * R.shape[2], R.shape[2]):
        raise FormatError(f"R has the shape {R.shape}; expected ({directions}, {gates} * hidden_size, hidden_size)")
    if W.shape[:2] != R.shape[:2]:
        raise FormatError(f"W has the shape {W.shape}, which does not fit R {R.shape}")
    b = call.array(3, "biases B") if call.has(3) else None
    if b is not None and b.shape != (directions, 2 * R.shape[1]):
        raise FormatError(f"B has the shape {b.shape}; expected ({directions}, {2 * R.shape[1]})")
    return Weights(W, R, b, gates)


def summed(b: np.ndarray, gates: int) -> np.ndarray:
    """The input and the recurrent bias (2*G*H,) of one direction added up in float64."""
    return b.astype(np.float64).reshape(2, -1).sum(axis=0)


def _dequantized(call: Call, weights: np.ndarray, i: int) -> np.ndarray:
    """8-bit weights (D, n, G*H) as floats (D, G*H, n); input `i` is their scale, the next one their zero point."""
    if weights.ndim != 3:
        raise FormatError(f"its weights have the shape {weights.shape}; expected three axes")
    scale, zero = call.array(i, "scale").astype(np.float64), call.array(i + 1, "zero point").astype(np.float64)
    per_row = [array.reshape(weights.shape[0], 1, -1) for array in (scale, zero)]
    return ((weights - per_row[1]) * per_row[0]).astype(np.float32).transpose(0, 2, 1)
