"""Random recurrent Keras models for property tests: what is drawn is built by Keras itself, with seeded weights."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras", reason="the oracle of these tests is Keras itself")
L = keras.layers

Draw = Callable[[st.SearchStrategy], Any]
ACTIVATIONS = ("tanh", "tanh", "relu", "sigmoid", "linear", "softsign", "softplus", "elu", "hard_sigmoid", "silu", "gelu",
               "selu")
RECURRENT_ACTIVATIONS = ("sigmoid", "sigmoid", "hard_sigmoid", "tanh", "softsign", "relu6")
SIZES = (1, 2, 3, 4, 5, 8, 16, 17)
VOCABULARY = 7
MASK_VALUES = (0.0, -1.0, 0.5)


@dataclass
class Drawn:
    """A model, and the choices that its inputs must respect.

    `steps` is the length that the file fixes, or None; with `starts_valid` no sequence may begin or end with a masked step,
    because there the backends of Keras differ from each other.
    """

    model: Any
    batch: int
    steps: int | None
    mask_value: float | None
    starts_valid: bool
    stateful: bool


@dataclass
class Choices:
    """What holds for a whole model while its layers are drawn."""

    draw: Draw
    steps: int | None
    masked: bool
    stateful: bool = False
    starts_valid: bool = False

    def one_of(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def maybe(self) -> bool:
        return self.draw(st.booleans())


@st.composite
def models(draw: Draw) -> Drawn:
    """A Sequential or functional model with at least one recurrent layer."""
    keras.backend.clear_session()
    batch, steps = draw(st.integers(1, 4)), draw(st.one_of(st.none(), st.integers(1, 6)))
    source = draw(st.sampled_from(("frames", "masked frames", "tokens", "masked tokens")))
    choices = Choices(draw, steps, source.startswith("masked"), stateful=draw(st.integers(0, 5)) == 0)
    fixed_batch = batch if choices.stateful else None
    mask_value = choices.one_of(MASK_VALUES) if source == "masked frames" else None
    if source.endswith("tokens"):
        entry = keras.Input(batch_shape=(fixed_batch, steps), dtype="int32")
        first = L.Embedding(VOCABULARY, choices.one_of(SIZES), mask_zero=choices.masked)
    else:
        entry = keras.Input(batch_shape=(fixed_batch, steps, choices.one_of(SIZES)))
        first = L.Masking(mask_value) if choices.masked else L.Identity()
    shape = choices.one_of((sequential, functional, functional, encoder_decoder))
    model = shape(choices, entry, first)
    randomise(model, draw(st.integers(0, 2**16)))
    return Drawn(model, batch, steps, mask_value, choices.starts_valid, choices.stateful)


def sequential(choices: Choices, entry: Any, first: Any) -> Any:
    """A plain stack of layers with one output."""
    layers = [first]
    for _ in range(choices.draw(st.integers(0, 2))):
        layers.append(sequence_layer(choices))
    layers += [recurrent(choices, sequences=choices.maybe())]
    layers += [L.Dense(3, activation=choices.one_of(("linear", "softmax", "relu")))] * choices.maybe()
    return keras.Sequential([entry, *layers])


def functional(choices: Choices, entry: Any, first: Any) -> Any:
    """Branches that meet in a merge layer, then an end with several outputs."""
    x = first(entry)
    for _ in range(choices.draw(st.integers(0, 2))):
        x = choices.one_of((branches, nested, lambda choices, x: sequence_layer(choices)(x)))(choices, x)
    return keras.Model(entry, end(choices, x))


def encoder_decoder(choices: Choices, entry: Any, first: Any) -> Any:
    """A recurrent layer whose final states are the initial states of another one, over a second input."""
    choices.starts_valid = True
    kind, units = choices.one_of((L.LSTM, L.GRU, L.SimpleRNN)), choices.one_of(SIZES)
    encoder = kind(units, return_state=True, **cell_options(choices, kind), **walk_options(choices))
    _, *states = encoder(first(entry))
    second = keras.Input(batch_shape=(entry.shape[0], choices.steps, choices.one_of(SIZES)))
    options = cell_options(choices, kind) | walk_options(choices)
    if choices.maybe():
        decoder = kind(units, return_sequences=choices.maybe(), **options)
        return keras.Model([entry, second], decoder(second, initial_state=states))
    forward = kind(units, return_sequences=choices.maybe(), **options | {"go_backwards": False})
    decoder = L.Bidirectional(forward, merge_mode=choices.one_of(("concat", "sum")))
    return keras.Model([entry, second], decoder(second, initial_state=[*states, *states]))


def branches(choices: Choices, x: Any) -> Any:
    """Two recurrent branches over one sequence, combined element by element or side by side."""
    merge = choices.one_of((L.Add, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Subtract, L.Concatenate))
    units = choices.one_of(SIZES)
    left = recurrent(choices, sequences=True, units=units)(x)
    right = recurrent(choices, sequences=True, units=units)(x)
    if left.shape[-1] != right.shape[-1]:
        merge = L.Concatenate
    return merge()([left, right])


def nested(choices: Choices, x: Any) -> Any:
    """A model as a layer; called a second time on its own output where the shapes allow it."""
    inner = keras.Sequential([keras.Input(batch_shape=x.shape), recurrent(choices, sequences=True), L.Dense(x.shape[-1])])
    y = inner(x)
    return inner(y) if choices.maybe() and not choices.stateful else y


def end(choices: Choices, x: Any) -> list[Any]:
    """The outputs over a sequence: a recurrent layer with its states, a pooled sequence, or several of them."""
    outputs = []
    if choices.maybe():
        found = recurrent(choices, sequences=choices.maybe(), states=choices.maybe())(x)
        outputs += found if isinstance(found, (list, tuple)) else [found]
    if choices.draw(st.integers(0, 3)) == 0:
        directions = one_direction(choices, choices.one_of(SIZES), choices.maybe(), False, False)
        outputs += L.Bidirectional(directions, merge_mode=None)(x)
    if choices.maybe() and not choices.stateful:
        choices.starts_valid = True
        outputs.append(choices.one_of((L.GlobalAveragePooling1D, L.GlobalMaxPooling1D))()(x))
    return outputs or [recurrent(choices, sequences=False)(x)]


def sequence_layer(choices: Choices) -> Any:
    """A layer from sequences to sequences."""
    pointwise = (
        lambda: L.TimeDistributed(L.Dense(choices.one_of(SIZES), activation="tanh")),
        lambda: L.Dense(choices.one_of(SIZES), activation=choices.one_of(ACTIVATIONS)),
        lambda: L.Dropout(0.4),
        lambda: L.LayerNormalization(),
        lambda: L.BatchNormalization(),
        lambda: L.Activation(choices.one_of(ACTIVATIONS)),
    )
    return recurrent(choices, sequences=True) if choices.maybe() else choices.one_of(pointwise)()


def recurrent(choices: Choices, sequences: bool, states: bool = False, units: int | None = None) -> Any:
    """A recurrent layer of any kind, perhaps in both directions."""
    units = units or choices.one_of(SIZES)
    if choices.maybe():
        return one_direction(choices, units, sequences, states, choices.maybe())
    mode = choices.one_of(("concat", "sum", "mul", "ave"))
    states = states and not choices.stateful  # Keras itself fails on both
    if choices.maybe() or states:  # Keras counts the states of a backward layer of its own as those of the forward one
        return L.Bidirectional(one_direction(choices, units, sequences, states, False), merge_mode=mode)
    turned = choices.maybe()
    forward, backward = (one_direction(choices, units, sequences, states, turned is not second) for second in (True, False))
    return L.Bidirectional(forward, backward_layer=backward, merge_mode=mode)


def one_direction(choices: Choices, units: int, sequences: bool, states: bool, backwards: bool) -> Any:
    kind = choices.one_of((L.LSTM, L.GRU, L.SimpleRNN, L.RNN))
    walk = walk_options(choices) | {"go_backwards": backwards, "return_sequences": sequences, "return_state": states}
    if kind is not L.RNN:
        return kind(units, **cell_options(choices, kind), **walk)
    depth = 1 if states else choices.draw(st.integers(1, 3))
    kinds = [choices.one_of((L.LSTMCell, L.GRUCell, L.SimpleRNNCell)) for _ in range(depth)]
    sizes = [choices.one_of(SIZES) for _ in kinds[1:]] + [units]
    cells = [kind(size, **cell_options(choices, kind)) for kind, size in zip(kinds, sizes, strict=True)]
    return L.RNN(cells if len(cells) > 1 else cells[0], **walk)


def walk_options(choices: Choices) -> dict[str, Any]:
    """How a sequence is run; unrolled layers of the oracle know no zero_output_for_mask, which Bidirectional sets."""
    unroll = choices.steps is not None and not choices.masked and choices.maybe()
    zero = choices.maybe()
    return {"unroll": unroll, "zero_output_for_mask": zero, "stateful": choices.stateful, "go_backwards": choices.maybe()}


def cell_options(choices: Choices, kind: Any) -> dict[str, Any]:
    options = {"activation": choices.one_of(ACTIVATIONS), "use_bias": choices.draw(st.integers(0, 3)) > 0}
    if kind not in (L.SimpleRNN, L.SimpleRNNCell):
        options["recurrent_activation"] = choices.one_of(RECURRENT_ACTIVATIONS)
    if kind in (L.GRU, L.GRUCell):
        options["reset_after"] = choices.maybe()
    return options


def randomise(model: Any, seed: int) -> None:
    """Weights of a size that keeps unbounded activations small; statistics of a normalisation stay positive."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        for weight in layer._trainable_variables + layer._non_trainable_variables:
            if weight.name == "seed_generator_state" or "rnn_state" in weight.name:
                continue
            positive = weight.name == "moving_variance"
            values = rng.standard_normal(weight.shape) / np.sqrt(max(weight.shape[0], 1)) * 0.7
            weight.assign(np.abs(values) + 0.5 if positive else values)


def inputs_of(drawn: Drawn, seed: int) -> list[np.ndarray]:
    """Arrays for every input: tokens, or frames of which some are masked."""
    rng = np.random.default_rng(seed)
    steps = drawn.steps or int(rng.integers(1, 8))
    found = []
    for spec in drawn.model.inputs:
        valid = rng.random((drawn.batch, steps)) < 0.6
        if drawn.starts_valid:
            valid[:, [0, -1]] = True
        if spec.dtype == "int32":
            found.append(np.where(valid, rng.integers(1, VOCABULARY, valid.shape), 0).astype(np.int32))
            continue
        frames = rng.standard_normal((drawn.batch, steps, spec.shape[-1])).astype(np.float32)
        found.append(frames if drawn.mask_value is None else np.where(valid[..., None], frames, np.float32(drawn.mask_value)))
    return found
