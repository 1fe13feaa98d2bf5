"""ConvLSTM1D as an LSTM whose matrices are the convolutions written out."""

from dataclasses import dataclass

import numpy as np
from edgelstm_converters.keras.activations import cell_activation
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.recurrent import SEQUENCE_KEYS, states_in
from edgelstm_converters.keras.registry import layer

MAX_TOEPLITZ = 1 << 24  # numbers in the matrices that a convolutional cell is written out to


@dataclass(frozen=True)
class _Cell:
    """The matrices and the bias of the cell as an LSTM; its states are (rows, filters)."""

    W: np.ndarray
    R: np.ndarray
    b: np.ndarray
    rows: int
    filters: int


@layer(
    "ConvLSTM1D",
    honours=f"{SEQUENCE_KEYS} filters kernel_size strides padding dilation_rate use_bias",
    fixed={"data_format": ("channels_last", None), "time_major": (False, None)},
    arguments="initial_state mask training",
)
def conv_lstm(call: Call) -> list[Tensor]:
    """A convolutional LSTM over (batch, time, rows, channels): an LSTM whose matrices are the convolutions written out."""
    y, states = conv_direction(call)
    sequences = call.flag("return_sequences")
    if sequences and call.flag("go_backwards"):
        y = call.add("flip", y, suffix="/reversed", axes=(1,))
    listed = [Tensor(y, call.mask if sequences else None)]
    return [*listed, *map(Tensor, states)] if call.flag("return_state") else listed


def conv_direction(call: Call) -> tuple[str, list[str]]:
    """As `recurrent.direction`: the sequence in the order of the input's time steps, or the last output; and h and c."""
    x = call.inputs[0].value
    if call.rank(x) != 4:
        raise call.bad(f"is called with an input of {call.rank(x)} axes; it takes (batch, time, rows, channels)")
    cell, mask = _cell(call, x), None if call.mask is None else call.mask.value
    if mask is not None and call.rank(mask) != 2:
        raise call.refuse(f"a mask with {call.rank(mask)} axes; supported is one of (batch, time)")
    sequences, zero = call.flag("return_sequences"), call.flag("zero_output_for_mask")
    activation = cell_activation(call, "activation", "tanh")
    y, h, c = call.builder.add_many(
        "lstm",
        call.add("reshape", x, call.integers(0, 0, cell.W.shape[0]), suffix="/flat"),
        call.constant(cell.W, "kernel"),
        call.constant(cell.R, "recurrent_kernel"),
        call.constant(cell.b, "bias"),
        *_initial_states(call, cell),
        mask,
        name=call.path,
        used=3,
        reverse=call.flag("go_backwards"),
        masked_output="zero" if zero else "hold",
        activation=activation,
        cell_activation=activation,
        recurrent_activation=cell_activation(call, "recurrent_activation", "hard_sigmoid"),
    )
    states = [_as_rows(call, state, cell, "/state") for state in (h, c)]
    if not sequences and not (zero and mask is not None):
        return states[0], states
    y = call.add("reshape", y, call.integers(0, 0, cell.rows, cell.filters), suffix="/rows")
    if sequences:
        return y, states
    index = call.constant(np.array(0 if call.flag("go_backwards") else -1, np.int64), "last")
    return call.add("gather", y, index, suffix="/last", axis=1), states


def _initial_states(call: Call, cell: _Cell) -> list[str | None]:
    given = [tensor.value for tensor in states_in(call.kwargs.get("initial_state") or call.inputs[1:])]
    if len(given) not in (0, 2):
        raise call.bad(f"is given {len(given)} initial states; it has 2")
    units = call.integers(0, cell.rows * cell.filters)
    return [call.add("reshape", state, units, suffix="/initial") for state in given] or [None, None]


def _as_rows(call: Call, state: str, cell: _Cell, suffix: str) -> str:
    return call.add("reshape", state, call.integers(0, cell.rows, cell.filters), suffix=suffix)


def _cell(call: Call, x: str) -> _Cell:
    """The matrices of the cell; raises where the rows are not fixed or too many."""
    rows, channels = call.dim(x, 2), call.features(x)
    if rows is None:
        raise call.refuse("the number of rows must be fixed in the file")
    filters, size, stride, dilation = (
        call.integer("filters"),
        call.integer("kernel_size"),
        call.integer("strides", 1),
        call.integer("dilation_rate", 1),
    )
    kernel, recurrent_kernel = (
        call.take("kernel", size, channels, 4 * filters),
        call.take("recurrent", size, filters, 4 * filters),
    )
    bias = call.take("bias", 4 * filters) if call.flag("use_bias", True) else np.zeros(4 * filters, np.float32)
    same = call.config.get("padding", "valid") == "same"
    reach = (size - 1) * dilation + 1
    out_rows = -(-rows // stride) if same else -(-(rows - reach + 1) // stride)
    if out_rows < 1 or rows * channels * out_rows * filters * 4 > MAX_TOEPLITZ or (out_rows * filters) ** 2 * 4 > MAX_TOEPLITZ:
        raise call.refuse(f"{rows} rows with {filters} filters are too many for a convolutional LSTM")
    left = max((out_rows - 1) * stride + reach - rows, 0) // 2 if same else 0
    W = _written_out(kernel, rows, out_rows, stride, dilation, left)
    R = _written_out(recurrent_kernel, out_rows, out_rows, 1, 1, (size - 1) // 2)
    return _Cell(W, R, np.tile(bias.reshape(4, 1, filters), (1, out_rows, 1)).reshape(-1), out_rows, filters)


def _written_out(kernel: np.ndarray, rows: int, out_rows: int, stride: int, dilation: int, left: int) -> np.ndarray:
    """A convolution over rows as one matrix (rows * channels, 4 * out_rows * filters), the gates kept side by side."""
    size, channels, gates = kernel.shape
    matrix = np.zeros((rows, channels, 4, out_rows, gates // 4), np.float32)
    for out_row in range(out_rows):
        for tap in range(size):
            row = out_row * stride + tap * dilation - left
            if 0 <= row < rows:
                matrix[row, :, :, out_row, :] += kernel[tap].reshape(channels, 4, gates // 4)
    return matrix.reshape(rows * channels, -1)
