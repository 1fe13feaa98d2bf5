"""The three recurrent cells with the weights as each Keras stored them, and the ops they become.

Keras keeps the gates side by side in the order i f c o (LSTM) and z r h (GRU), which are the orders of the ops as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgelstm_converters.keras.activations import cell_activation
from edgelstm_converters.keras.call import Call

SERIAL_LSTM = ("i", "c", "f", "o")  # the order in which Keras 1 stores the gates of an LSTM one by one
STORED_LSTM = ("i", "f", "c", "o")
STORED_GRU = ("z", "r", "h")


@dataclass(frozen=True)
class Walk:
    """How a cell is run over a sequence of the layout "btf" or "tbf"; `mask` and the initial `states` are graph values."""

    layout: str
    reverse: bool
    mask: str | None
    zero_masked: bool
    states: Sequence[str] = ()
    sequences: bool = True
    final_states: bool = True


def lstm(cell: Call, x: str, walk: Walk) -> tuple[str | None, list[str | None]]:
    """An LSTM over x: y with `units` for the features, and the final h and c (batch, units)."""
    units = cell.integer("units")
    W, R, b = _lstm_weights(cell, cell.features(x), units)
    activation = cell_activation(cell, "activation", "tanh")
    h0, c0 = walk.states or (None, None)
    inputs = (
        x,
        cell.constant(W, "kernel"),
        cell.constant(R, "recurrent_kernel"),
        None if b is None else cell.constant(b, "bias"),
        h0,
        c0,
        walk.mask,
    )
    return _emit(
        cell,
        "lstm",
        inputs,
        walk,
        2,
        activation=activation,
        cell_activation=activation,
        recurrent_activation=cell_activation(cell, "recurrent_activation", "sigmoid"),
    )


def gru(cell: Call, x: str, walk: Walk) -> tuple[str | None, list[str | None]]:
    """A GRU over x: y with `units` for the features, and the final h (batch, units)."""
    units = cell.integer("units")
    W, R, b, rb = _gru_weights(cell, cell.features(x), units)
    reset_after = cell.flag("reset_after", rb is not None or (b is None and cell.context.major >= 3))
    if (rb is None and reset_after and b is not None) or (rb is not None and not reset_after):
        raise cell.bad(f"has reset_after = {reset_after}, which does not fit the shape of its bias")
    h0 = walk.states[0] if walk.states else None
    inputs = (
        x,
        cell.constant(W, "kernel"),
        cell.constant(R, "recurrent_kernel"),
        None if b is None else cell.constant(b, "bias"),
        None if rb is None else cell.constant(rb, "recurrent_bias"),
        h0,
        walk.mask,
    )
    return _emit(
        cell,
        "gru",
        inputs,
        walk,
        1,
        activation=cell_activation(cell, "activation", "tanh"),
        reset_after=reset_after,
        recurrent_activation=cell_activation(cell, "recurrent_activation", "sigmoid"),
    )


def simple_rnn(cell: Call, x: str, walk: Walk) -> tuple[str | None, list[str | None]]:
    """A fully connected recurrent layer over x: y with `units` for the features, and the final h (batch, units)."""
    units = cell.integer("units")
    W = cell.take("kernel", cell.features(x), units)
    R = cell.take("recurrent_kernel", units, units)
    b = cell.take("bias", units) if cell.flag("use_bias", True) else None
    h0 = walk.states[0] if walk.states else None
    inputs = (
        x,
        cell.constant(W, "kernel"),
        cell.constant(R, "recurrent_kernel"),
        None if b is None else cell.constant(b, "bias"),
        h0,
        walk.mask,
    )
    return _emit(cell, "simple_rnn", inputs, walk, 1, activation=cell_activation(cell, "activation", "tanh"))


def _emit(cell: Call, op: str, inputs: Sequence[str | None], walk: Walk, states: int, **attrs) -> tuple:
    used = [walk.sequences, *[walk.final_states] * states]
    if not walk.final_states and not walk.sequences:
        used[1] = True
    masked_output = "zero" if walk.zero_masked else "hold"
    y, *final = cell.builder.add_many(
        op, *inputs, name=cell.path, used=used, layout=walk.layout, reverse=walk.reverse, masked_output=masked_output, **attrs
    )
    return y, final


def _lstm_weights(cell: Call, n_in: int, units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """W (F, 4H), R (H, 4H) and b (4H,) or None."""
    if cell.left() == 12:
        return _serial_weights(cell, n_in, units, SERIAL_LSTM, STORED_LSTM)
    W, R = cell.take("kernel", n_in, 4 * units), cell.take("recurrent_kernel", units, 4 * units)
    if not cell.flag("use_bias", True):
        return W, R, None
    b = cell.take("bias", None)
    if b.shape == (8 * units,):
        return *from_cudnn(W, R, 4), b.reshape(2, 4 * units).sum(axis=0)
    if b.shape != (4 * units,):
        raise cell.bad(f"has a bias of the shape {b.shape}; {units} units need ({4 * units},)")
    return W, R, b


def _gru_weights(cell: Call, n_in: int, units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """W (F, 3H), R (H, 3H), the input bias and the recurrent bias (3H,), None where the layer has none."""
    if cell.left() == 9:
        return *_serial_weights(cell, n_in, units, STORED_GRU, STORED_GRU), None
    W, R = cell.take("kernel", n_in, 3 * units), cell.take("recurrent_kernel", units, 3 * units)
    if not cell.flag("use_bias", True):
        return W, R, None, None
    b = cell.spec.weights[-1]
    if b.shape == (6 * units,):
        b = cell.take("bias", 6 * units).reshape(2, 3 * units)
        return *from_cudnn(W, R, 3), b[0], b[1]
    if b.ndim == 2:
        b = cell.take("bias", 2, 3 * units)
        return W, R, b[0], b[1]
    return W, R, cell.take("bias", 3 * units), None


def _serial_weights(
    cell: Call, n_in: int, units: int, stored: Sequence[str], wanted: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernels and biases that Keras 1 stored gate by gate, side by side in the order `wanted`."""
    gates = {
        gate: (cell.take(f"W_{gate}", n_in, units), cell.take(f"U_{gate}", units, units), cell.take(f"b_{gate}", units))
        for gate in stored
    }
    W, R, b = (np.concatenate([gates[gate][part] for gate in wanted], axis=-1) for part in range(3))
    return W, R, b


def from_cudnn(W: np.ndarray, R: np.ndarray, gates: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernels in the layout of cuDNN as plain ones: each gate's block is transposed (Keras 2.2, preprocess_weights)."""
    blocks = [block.T.reshape(block.shape, order="F") for block in np.hsplit(W, gates)]
    return np.hstack(blocks), np.hstack([block.T for block in np.hsplit(R, gates)])
