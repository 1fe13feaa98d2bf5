"""Layers around layers: Bidirectional and TimeDistributed."""

import numpy as np
from edgelstm_converters.keras.call import Call, Tensor, run_layer
from edgelstm_converters.keras.conv_lstm import conv_direction
from edgelstm_converters.keras.network import run_model
from edgelstm_converters.keras.recurrent import direction, time_axis
from edgelstm_converters.keras.registry import layer

_POSITION_WISE = ("Dense", "Activation", "Dropout", "LeakyReLU", "ReLU", "ELU", "Embedding")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU", "ConvLSTM1D")


@layer(
    "Bidirectional",
    honours="layer backward_layer",
    fixed={"merge_mode": ("concat", "sum", "mul", "ave", None)},
    arguments="initial_state mask training",
)
def bidirectional(call: Call) -> list[Tensor]:
    """A layer over the sequence and one over its reverse; the second's output is put back in order, then merged."""
    forward, backward = _directions(call)
    sequences = forward.flag("return_sequences")
    (y, states), (y_back, states_back) = map(_direction, (forward, backward))
    if sequences and forward.flag("go_backwards"):
        y = forward.add("flip", y, suffix="/reversed", axes=(time_axis(forward),))
    if sequences and not backward.flag("go_backwards"):
        y_back = backward.add("flip", y_back, suffix="/reversed", axes=(time_axis(forward),))
    mask = call.mask if sequences else None
    merged = _merged(call, y, y_back)
    listed = [Tensor(value, mask) for value in merged]
    return [*listed, *map(Tensor, (*states, *states_back))] if forward.flag("return_state") else listed


def _directions(call: Call) -> tuple[Call, Call]:
    """The calls of the forward and the backward layer; each gets half of the initial states."""
    given = call.kwargs.get("initial_state") or call.inputs[1:]
    states = [state for state in given if isinstance(state, Tensor)] if isinstance(given, list) else []
    half = len(states) // 2
    calls = []
    for key, name, part in (("forward_layer", "forward", states[:half]), ("backward_layer", "backward", states[half:])):
        if key not in call.spec.children:
            raise call.bad("wraps no layer")
        member = call.child(key, call.inputs[:1], initial_state=list(part), mask=_explicit(call))
        member.path = f"{call.path}/{name}"
        if member.spec.kind not in _RECURRENT:
            raise member.refuse(f"only recurrent layers are supported inside Bidirectional: {', '.join(_RECURRENT)}")
        if "zero_output_for_mask" not in member.config and "time_major" in member.config:
            member.config = member.config | {"zero_output_for_mask": member.flag("return_sequences")}
        calls.append(member)
    return calls[0], calls[1]


def _direction(call: Call) -> tuple[str, list[str]]:
    return conv_direction(call) if call.spec.kind == "ConvLSTM1D" else direction(call)


def _explicit(call: Call) -> Tensor | None:
    given = call.kwargs.get("mask")
    return given if isinstance(given, Tensor) else None


def _merged(call: Call, forward: str, backward: str) -> list[str]:
    mode = call.config.get("merge_mode", "concat")
    if mode is None:
        return [forward, backward]
    if mode == "concat":
        return [call.add("concat", forward, backward, axis=-1)]
    if mode == "ave":
        total = call.add("add", forward, backward, suffix="/sum")
        return [call.add("mul", total, call.constant(np.float32(0.5), "half"))]
    return [call.add({"sum": "add", "mul": "mul"}[mode], forward, backward)]


@layer("TimeDistributed", honours="layer", keeps_mask=True)
def time_distributed(call: Call) -> str:
    """A layer applied to each time step of (batch, time, ...) by itself: the steps become part of the batch."""
    if "layer" not in call.spec.children:
        raise call.bad("wraps no layer")
    inner = call.child("layer", [Tensor(call.x)])
    if inner.spec.kind in _POSITION_WISE:
        return _only(call, run_layer(inner))
    x = call.x
    rest = [call.dim(x, axis) for axis in range(2, call.rank(x))]
    if any(length is None for length in rest):
        raise call.refuse("the axes behind time must have fixed lengths")
    steps = call.add("reshape", x, call.integers(-1, *[n for n in rest if n is not None]), suffix="/steps")
    inner.inputs = [Tensor(steps)]
    results = run_model(call.context, inner.spec, inner.inputs, f"{inner.path}/") if inner.spec.model else run_layer(inner)
    if results is None:
        raise call.refuse("the layer inside cannot be converted")
    y = _only(call, results)
    kept = [call.features(y) if axis == call.rank(y) - 1 else call.dim(y, axis) for axis in range(1, call.rank(y))]
    if any(length is None for length in kept):
        raise call.refuse("the layer inside must give outputs of fixed length")
    lead = call.add("shape", x, suffix="/shape", start=0, end=2)
    whole = call.add("concat", lead, call.integers(*[n for n in kept if n is not None]), suffix="/whole", axis=0)
    return call.add("reshape", y, whole)


def _only(call: Call, results: list[Tensor]) -> str:
    if len(results) != 1:
        raise call.refuse("the layer inside must have one output")
    return results[0].value
