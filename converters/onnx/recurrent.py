"""LSTM, GRU and RNN nodes: gates reordered, biases summed, one op for each direction.

Equations and attributes: https://onnx.ai/onnx/operators/onnx__LSTM.html, __GRU.html and __RNN.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgelstm_converters.onnx.activations import cell_activations
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node
from edgelstm_converters.onnx.weights import LSTM_ORDER, PEEPHOLE_ORDER, Weights, read_weights, reordered, summed

from edgelstm.errors import FormatError

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True)
class Common:
    """What the three node types share once their attributes and inputs are read."""

    x: str
    weights: Weights
    reverse: tuple[bool, ...]
    layout: str
    mask: str | None
    clip: float

    @property
    def attrs(self) -> dict[str, object]:
        return {"layout": self.layout, "clip": self.clip, "masked_output": "zero"}


@node("DynamicQuantizeLSTM", domain="com.microsoft", limits="weights constant; runs in float32")
@node("LSTM", limits="W, R, B and P constant")
def lstm(call: Call) -> list[str | None]:
    reverse = _direction(call)
    functions = cell_activations(call, ("Sigmoid", "Tanh", "Tanh"), len(reverse))
    input_forget = bool(call.only("input_forget", 0, 1))
    common = _common(call, reverse, 4)
    _refuse_projection(call, common)
    h0, c0 = _states(call, 5, common), _states(call, 6, common)
    peepholes = _peepholes(call, common)
    found = []
    for d, backwards in enumerate(reverse):
        gate, cell, out = functions[d]
        b = None if common.weights.b is None else summed(common.weights.b[d], 4)
        found.append(
            call.add_many(
                "lstm",
                common.x,
                _weight(call, common.weights.W[d], LSTM_ORDER, "W"),
                _weight(call, common.weights.R[d], LSTM_ORDER, "R"),
                _bias(call, b, LSTM_ORDER),
                h0[d],
                c0[d],
                common.mask,
                peepholes[d],
                used=_used(call, 3),
                reverse=backwards,
                recurrent_activation=gate,
                activation=cell,
                cell_activation=out,
                input_forget=input_forget,
                **common.attrs,
            )
        )
    return _joined(call, found, common)


@node("GRU", limits="W, R and B constant")
def gru(call: Call) -> list[str | None]:
    reverse = _direction(call)
    functions = cell_activations(call, ("Sigmoid", "Tanh"), len(reverse))
    reset_after = bool(call.only("linear_before_reset", 0, 1))
    common = _common(call, reverse, 3)
    h0 = _states(call, 5, common)
    order = (0, 1, 2)
    found = []
    for d, backwards in enumerate(reverse):
        b = rb = None
        if common.weights.b is not None:
            b, rb = np.split(common.weights.b[d], 2) if reset_after else (summed(common.weights.b[d], 3), None)
        gate, cell = functions[d]
        found.append(
            call.add_many(
                "gru",
                common.x,
                _weight(call, common.weights.W[d], order, "W"),
                _weight(call, common.weights.R[d], order, "R"),
                _bias(call, b, order),
                _bias(call, rb, order),
                h0[d],
                common.mask,
                used=_used(call, 2),
                reverse=backwards,
                reset_after=reset_after,
                recurrent_activation=gate,
                activation=cell,
                **common.attrs,
            )
        )
    return _joined(call, found, common)


@node("RNN", limits="W, R and B constant")
def simple_rnn(call: Call) -> list[str | None]:
    reverse = _direction(call)
    functions = cell_activations(call, ("Tanh",), len(reverse))
    common = _common(call, reverse, 1)
    h0 = _states(call, 5, common)
    found = []
    for d, backwards in enumerate(reverse):
        b = None if common.weights.b is None else summed(common.weights.b[d], 1)
        found.append(
            call.add_many(
                "simple_rnn",
                common.x,
                _weight(call, common.weights.W[d], (0,), "W"),
                _weight(call, common.weights.R[d], (0,), "R"),
                _bias(call, b, (0,)),
                h0[d],
                common.mask,
                used=_used(call, 2),
                reverse=backwards,
                activation=functions[d][0],
                **common.attrs,
            )
        )
    return _joined(call, found, common)


def _direction(call: Call) -> tuple[bool, ...]:
    """Whether each direction runs backwards in time."""
    direction = call.attr("direction", "forward")
    if direction not in _DIRECTIONS:
        call.complain(f"attribute direction={direction!r}; supported: {', '.join(_DIRECTIONS)}")
    return _DIRECTIONS.get(direction, (False,))


def _common(call: Call, reverse: tuple[bool, ...], gates: int) -> Common:
    layout = "btf" if call.only("layout", 0, 1) else "tbf"
    clip = float(call.attr("clip", 0.0))
    if not clip >= 0:
        call.complain(f"attribute clip={clip}; supported: a positive number, or 0 for no limit")
    hidden_size = call.attr("hidden_size", None)
    call.check()
    weights = read_weights(call, len(reverse), gates)
    if hidden_size not in (None, weights.units):
        raise FormatError(f"hidden_size is {hidden_size}, but R has the shape {weights.R.shape}")
    x = call.input(0)
    mask = None
    if call.has(4):
        mask = call.add("sequence_mask", call.input(4), x, time_axis=1 if layout == "btf" else 0)
    return Common(x, weights, reverse, layout, mask, clip)


def _refuse_projection(call: Call, common: Common) -> None:
    """An LSTM with proj_size has a smaller h than c. ONNX cannot express it, and PyTorch's exporter writes it all the same."""
    shape = call.fact(6).shape if call.has(6) else ()
    if shape and shape[-1] > common.weights.units:
        call.refuse(
            f"its cell state has {shape[-1]} units and its recurrent weights are for {common.weights.units}, as PyTorch writes "
            "an LSTM with proj_size; ONNX has no such node. Export the model without proj_size"
        )


def _weight(call: Call, array: np.ndarray, order: Sequence[int], role: str) -> str:
    """A weight matrix (G*H, n) of one direction as a constant (n, G*H) in canonical gate order."""
    return call.const(reordered(array, order).T, role)


def _bias(call: Call, b: np.ndarray | None, order: Sequence[int]) -> str | None:
    return None if b is None else call.const(reordered(b, order), "b")


def _states(call: Call, i: int, common: Common) -> list[str | None]:
    """Initial state (B, H) of each direction, None where it is zero."""
    n = len(common.reverse)
    if not call.has(i):
        return [None] * n
    state, axis = call.input(i), 1 if common.layout == "btf" else 0
    fact = call.builder.fact(state)
    batch = call.builder.fact(common.x).shape[1 - axis]
    expected = (batch, n, common.weights.units) if axis else (n, batch, common.weights.units)
    if fact.value is not None and not fact.value.any() and fact.shape == expected:
        return [None] * n
    parts = [state] if n == 1 else call.add_many("split", state, used=n, axis=axis, sizes=(1,) * n)
    return [call.add("squeeze", part, axes=(axis,)) for part in parts]


def _peepholes(call: Call, common: Common) -> list[str | None]:
    """Peephole weights (3H,) of each direction in the order i f o."""
    n, units = len(common.reverse), common.weights.units
    if not call.has(7):
        return [None] * n
    P = call.array(7, "peepholes P")
    if P.shape != (n, 3 * units):
        raise FormatError(f"P has the shape {P.shape}; expected ({n}, {3 * units})")
    if not P.any():
        return [None] * n
    return [call.const(reordered(p, PEEPHOLE_ORDER), "P") for p in P]


def _used(call: Call, outputs: int) -> list[bool]:
    return [*call.used, False, False, False][:outputs]


def _joined(call: Call, found: list[tuple[str | None, ...]], common: Common) -> list[str | None]:
    """Outputs with an axis of directions: Y (T, directions, B, H), states (directions, B, H); B first in layout 1."""
    first = common.layout == "btf"
    axes = [2 if first else 1, *[1 if first else 0] * (len(found[0]) - 1)]
    joined = []
    for axis, parts in zip(axes, zip(*found, strict=True), strict=True):
        if parts[0] is None:
            joined.append(None)
            continue
        wide = [call.add("unsqueeze", part, axes=(axis,)) for part in parts]
        joined.append(wide[0] if len(wide) == 1 else call.add("concat", *wide, axis=axis))
    return joined
