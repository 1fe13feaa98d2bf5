"""Recurrent layers: LSTM, GRU and SimpleRNN, RNN over one or several cells, the cuDNN variants, and ConvLSTM1D."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from edgelstm_converters.keras import cells
from edgelstm_converters.keras.activations import cell_activation
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.cells import Walk
from edgelstm_converters.keras.registry import layer

_CELLS = {
    "LSTM": cells.lstm,
    "LSTMCell": cells.lstm,
    "CuDNNLSTM": cells.lstm,
    "GRU": cells.gru,
    "GRUCell": cells.gru,
    "CuDNNGRU": cells.gru,
    "SimpleRNN": cells.simple_rnn,
    "SimpleRNNCell": cells.simple_rnn,
}
_STATES = {"LSTM": 2, "LSTMCell": 2, "CuDNNLSTM": 2}
_SEQUENCE_KEYS = "return_sequences return_state go_backwards stateful zero_output_for_mask"
_CELL_KEYS = "units use_bias reset_after"
MAX_TOEPLITZ = 1 << 24  # numbers in the matrices that a convolutional cell is written out to


@layer(
    "LSTM",
    "GRU",
    "SimpleRNN",
    "CuDNNLSTM",
    "CuDNNGRU",
    honours=f"{_SEQUENCE_KEYS} {_CELL_KEYS}",
    fixed={"time_major": (False, None)},
)
def recurrent(call: Call) -> list[Tensor]:
    return _outputs(call, [call])


@layer("RNN", honours=f"{_SEQUENCE_KEYS} cell cells", fixed={"time_major": (False, None)})
def rnn(call: Call) -> list[Tensor]:
    return _outputs(call, _cells(call))


@layer("LSTMCell", "GRUCell", "SimpleRNNCell", honours=_CELL_KEYS)
@layer("StackedRNNCells", honours="cells", fixed={"reverse_state_order": (False,)})
def lone_cell(call: Call) -> list[Tensor]:
    raise call.refuse("a cell is supported inside an RNN layer only")


def direction(call: Call) -> tuple[str, list[str]]:
    """What a recurrent layer gives in the order of the input's time steps, and its final states.

    The first is y (batch, time, units) with return_sequences, else the output of the last step run (batch, units).
    """
    return _run(call, _cells(call) if call.spec.kind == "RNN" else [call])


def _outputs(call: Call, members: Sequence[Call]) -> list[Tensor]:
    y, states = _run(call, members)
    sequences = call.flag("return_sequences")
    if sequences and call.flag("go_backwards"):
        y = call.add("flip", y, suffix="/reversed", axes=(1,))
    listed = [Tensor(y, call.mask if sequences else None)]
    return [*listed, *map(Tensor, states)] if call.flag("return_state") else listed


def _cells(call: Call) -> list[Call]:
    """The cells of an RNN layer, the one that reads the input first."""

    def leaves(member: Call) -> Iterator[Call]:
        if member.spec.kind in _CELLS:
            yield member
        elif member.spec.kind not in ("RNN", "StackedRNNCells"):
            raise member.refuse(f"this class is not a supported cell; supported are {', '.join(sorted(_CELLS))}")
        for key in member.spec.children:
            yield from leaves(member.child(key, ()))

    found = list(leaves(call))
    if not found:
        raise call.bad("has no cell")
    return found


def _run(call: Call, members: Sequence[Call]) -> tuple[str, list[str]]:
    """The cells of one layer, each over the whole sequence that the one before it gives."""
    initial = _initial_states(call, members)
    sequences, zero = call.flag("return_sequences"), call.flag("zero_output_for_mask") and call.mask is not None
    mask = None if call.mask is None else call.mask.value
    walk = Walk(call.flag("go_backwards"), mask, zero, final_states=call.flag("return_state") or not sequences)
    x, final = call.inputs[0].value, []
    for member, states in zip(members, initial, strict=True):
        last = member is members[-1]
        here = replace(walk, states=states, sequences=not last or sequences or zero)
        y, states = _CELLS[member.spec.kind](member, x, here)
        if member is not call and member.left():
            raise member.bad(f"has {member.left()} weights too many in the file")
        x = y or ""
        final.append(states)
    if not sequences:
        x = _last_step(call, x, walk.reverse) if zero else final[-1][0]
    return x, [state for states in final for state in states]


def _last_step(call: Call, y: str, reverse: bool) -> str:
    index = call.constant(np.array(0 if reverse else -1, np.int64), "last")
    return call.add("gather", y, index, suffix="/last", axis=1)


def _initial_states(call: Call, members: Sequence[Call]) -> list[list[str]]:
    """Initial states given in the call, for each cell; empty lists where it starts at zero."""
    if call.kwargs.get("constants"):
        raise call.refuse("constants given to a recurrent layer are not supported")
    given = call.kwargs.get("initial_state") or (call.args[0] if call.args else None) or call.inputs[1:]
    states = [tensor.value for tensor in _flat(given)]
    counts = [_STATES.get(member.spec.kind, 1) for member in members]
    if states and len(states) != sum(counts):
        raise call.bad(f"is given {len(states)} initial states; it has {sum(counts)}")
    ends = np.cumsum(counts)
    return [states[end - count : end] for end, count in zip(ends, counts, strict=True)]


def _flat(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for item in value if isinstance(value, list) else ():
        yield from _flat(item)


@layer(
    "ConvLSTM1D",
    honours=f"{_SEQUENCE_KEYS} filters kernel_size strides padding dilation_rate use_bias",
    fixed={"data_format": ("channels_last", None), "time_major": (False, None)},
)
def conv_lstm(call: Call) -> list[Tensor]:
    """A convolutional LSTM over (batch, time, rows, channels): an LSTM whose matrices are the convolutions written out."""
    x = call.inputs[0].value
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
    return _conv_outputs(call, x, W, R, np.tile(bias.reshape(4, 1, filters), (1, out_rows, 1)).reshape(-1), (out_rows, filters))


def _conv_outputs(call: Call, x: str, W: np.ndarray, R: np.ndarray, b: np.ndarray, cell_shape: tuple[int, int]) -> list[Tensor]:
    activation = cell_activation(call, "activation", "tanh")
    if call.args or call.kwargs.get("initial_state") or len(call.inputs) > 1 or call.mask is not None:
        raise call.refuse("initial states and masks of a convolutional LSTM are not supported")
    flat = call.add("reshape", x, call.integers(0, 0, W.shape[0]), suffix="/flat")
    y, h, c = call.builder.add_many(
        "lstm",
        flat,
        call.constant(W, "kernel"),
        call.constant(R, "recurrent_kernel"),
        call.constant(b, "bias"),
        name=call.path,
        used=3,
        reverse=call.flag("go_backwards"),
        activation=activation,
        cell_activation=activation,
        recurrent_activation=cell_activation(call, "recurrent_activation", "hard_sigmoid"),
    )
    sequences = call.flag("return_sequences")
    if sequences and call.flag("go_backwards"):
        y = call.add("flip", y, suffix="/reversed", axes=(1,))
    shape = (0, 0, *cell_shape) if sequences else (0, *cell_shape)
    result = [Tensor(call.add("reshape", y if sequences else h, call.integers(*shape), suffix="/rows"))]
    if call.flag("return_state"):
        result += [Tensor(call.add("reshape", state, call.integers(0, *cell_shape), suffix="/state")) for state in (h, c)]
    return result


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
