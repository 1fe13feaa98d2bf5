"""Recurrent layers: LSTM, GRU and SimpleRNN, RNN over one or several cells, and the cuDNN variants."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from edgelstm_converters.keras import cells
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
SEQUENCE_KEYS = "return_sequences return_state go_backwards stateful zero_output_for_mask"
_ARGUMENTS = "initial_state mask training constants"
_CELL_KEYS = "units use_bias reset_after"


@layer(
    "LSTM",
    "GRU",
    "SimpleRNN",
    "CuDNNLSTM",
    "CuDNNGRU",
    honours=f"{SEQUENCE_KEYS} {_CELL_KEYS} time_major",
    arguments=_ARGUMENTS,
)
def recurrent(call: Call) -> list[Tensor]:
    return _outputs(call, [call])


@layer("RNN", honours=f"{SEQUENCE_KEYS} cell cells num_constants time_major", arguments=_ARGUMENTS)
def rnn(call: Call) -> list[Tensor]:
    return _outputs(call, _cells(call))


@layer("LSTMCell", "GRUCell", "SimpleRNNCell", honours=_CELL_KEYS)
@layer("StackedRNNCells", honours="cells", fixed={"reverse_state_order": (False,)})
def lone_cell(call: Call) -> list[Tensor]:
    raise call.refuse("a cell is supported inside an RNN layer only")


def direction(call: Call) -> tuple[str, list[str]]:
    """What a recurrent layer gives in the order of the input's time steps, and its final states.

    The first is y, a sequence as the input, with return_sequences, else the output of the last step run (batch, units).
    """
    return _run(call, _cells(call) if call.spec.kind == "RNN" else [call])


def time_axis(call: Call) -> int:
    """The axis of the time steps in the input and output sequences: the second one, or the first with time_major."""
    return 0 if call.flag("time_major") else 1


def _outputs(call: Call, members: Sequence[Call]) -> list[Tensor]:
    y, states = _run(call, members)
    sequences = call.flag("return_sequences")
    if sequences and call.flag("go_backwards"):
        y = call.add("flip", y, suffix="/reversed", axes=(time_axis(call),))
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
    walk = Walk(
        "btf" if time_axis(call) else "tbf",
        call.flag("go_backwards"),
        _batch_major_mask(call),
        zero,
        final_states=call.flag("return_state") or not sequences,
    )
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


def _batch_major_mask(call: Call) -> str | None:
    """The mask as the ops take it, (batch, time); that of a time-major sequence is (time, batch)."""
    if call.mask is None or time_axis(call):
        return None if call.mask is None else call.mask.value
    return call.add("transpose", call.mask.value, suffix="/mask", perm=(1, 0))


def _last_step(call: Call, y: str, reverse: bool) -> str:
    index = call.constant(np.array(0 if reverse else -1, np.int64), "last")
    return call.add("gather", y, index, suffix="/last", axis=time_axis(call))


def _initial_states(call: Call, members: Sequence[Call]) -> list[list[str]]:
    """Initial states given in the call, for each cell; empty lists where it starts at zero."""
    given = call.kwargs.get("initial_state") or call.inputs[1 : len(call.inputs) - _constants(call)]
    states = [tensor.value for tensor in states_in(given)]
    counts = [_STATES.get(member.spec.kind, 1) for member in members]
    if states and len(states) != sum(counts):
        raise call.bad(f"is given {len(states)} initial states; it has {sum(counts)}")
    ends = np.cumsum(counts)
    return [states[end - count : end] for end, count in zip(ends, counts, strict=True)]


def _constants(call: Call) -> int:
    """How many of the inputs are constants for the cells.

    The cells of Keras take none: a stack of them passes constants to custom cells only, and a single one refuses them.
    """
    count = call.integer("num_constants", 0)
    if count > len(call.inputs) - 1:
        raise call.bad(f"is called with {len(call.inputs) - 1} states and constants; its num_constants is {count}")
    if (count or call.kwargs.get("constants")) and "StackedRNNCells" not in [spec.kind for spec in call.spec.children.values()]:
        raise call.refuse("it is given constants, which only cells of a class of one's own take; the cells of Keras have none")
    return count


def states_in(value: Any) -> Iterator[Tensor]:
    """The tensors of nested lists."""
    if isinstance(value, Tensor):
        yield value
    for item in value if isinstance(value, list) else ():
        yield from states_in(item)
