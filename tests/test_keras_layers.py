"""Layers of Keras: each small model is built and run by Keras itself, and the imported graph must give the same."""

import numpy as np
import pytest
from edgelstm_converters.keras import read

from edgelstm.errors import UnsupportedError
from tests.keras_checks import FLOATS, check, frames, keras, saved

pytestmark = pytest.mark.usefixtures("trusted_files")
L = keras.layers

CELLS = {
    "lstm": lambda **kw: L.LSTM(4, **kw),
    "gru": lambda **kw: L.GRU(4, **kw),
    "gru_reset_before": lambda **kw: L.GRU(4, reset_after=False, **kw),
    "simple_rnn": lambda **kw: L.SimpleRNN(4, **kw),
    "rnn_of_cells": lambda **kw: L.RNN([L.LSTMCell(3), L.GRUCell(4)], **kw),
}
SEQUENTIAL = {
    "activations": lambda: [
        L.Dense(6, activation=name)
        for name in (
            "relu",
            "elu",
            "selu",
            "softplus",
            "softsign",
            "tanh",
            "gelu",
            "mish",
            "hard_sigmoid",
            "hard_silu",
            "log_sigmoid",
            "relu6",
            "leaky_relu",
            "exponential",
            "hard_tanh",
            "tanh_shrink",
            "log_softmax",
            "softmax",
            "silu",
            "sigmoid",
        )
    ],
    "activation_layers": lambda: [
        L.ReLU(max_value=1.0, negative_slope=0.1),
        L.ReLU(),
        L.ELU(0.3),
        L.LeakyReLU(0.2),
        L.PReLU(),
        L.Softmax(),
        L.Activation("tanh"),
    ],
    "inert": lambda: [
        L.Dropout(0.5),
        L.SpatialDropout1D(0.2),
        L.GaussianNoise(0.1),
        L.ActivityRegularization(0.1),
        L.Identity(),
    ],
    "reshaping": lambda: [
        L.Permute((2, 1)),
        L.Permute((2, 1)),
        L.Reshape((7, 5)),
        L.UpSampling1D(2),
        L.Cropping1D((1, 3)),
        L.ZeroPadding1D(2),
        L.Flatten(),
    ],
    "cropping_at_the_front": lambda: [L.Cropping1D((2, 0))],
    "repeat": lambda: [L.LSTM(3), L.RepeatVector(4)],
    "conv": lambda: [
        L.Conv1D(6, 3, padding="same", activation="relu"),
        L.Conv1D(6, 2, padding="causal", dilation_rate=2),
        L.Conv1D(4, 3, strides=2, groups=2, use_bias=False),
    ],
    "depthwise": lambda: [
        L.DepthwiseConv1D(3, depth_multiplier=2, padding="same"),
        L.SeparableConv1D(4, 3, depth_multiplier=2),
    ],
    "pooling": lambda: [L.MaxPooling1D(2, padding="same"), L.AveragePooling1D(2, strides=1), L.GlobalMaxPooling1D()],
    "global_average": lambda: [L.GlobalAveragePooling1D(keepdims=True)],
    "normalization": lambda: [
        L.BatchNormalization(),
        L.BatchNormalization(axis=1, scale=False),
        L.LayerNormalization(),
        L.UnitNormalization(),
        L.RMSNormalization(),
    ],
    "rescaling": lambda: [
        L.Rescaling(0.5, offset=-1.0),
        L.Normalization(mean=[1.0, 2, 3, 4, 5], variance=[1.0, 2, 1, 2, 1]),
        L.Normalization(mean=0.5, variance=2.0, invert=True, axis=None),
    ],
    "time_distributed": lambda: [
        L.TimeDistributed(L.Dense(4, activation="softmax")),
        L.TimeDistributed(L.LayerNormalization()),
    ],
    "stacked_backwards": lambda: [L.LSTM(4, return_sequences=True, go_backwards=True), L.GRU(3, go_backwards=True)],
    "masked_average": lambda: [L.Masking(0.5), L.LSTM(4, return_sequences=True), L.GlobalAveragePooling1D()],
    "masked_zero_output": lambda: [L.Masking(0.5), L.LSTM(4, return_sequences=True, zero_output_for_mask=True)],
    "masked_dense": lambda: [
        L.Masking(0.5),
        L.Dense(4),
        L.BatchNormalization(),
        L.TimeDistributed(L.Dense(3)),
        L.LSTM(2),
    ],
}


def _add(a, b):
    return L.Add()([L.LSTM(4)(a), L.GRU(4)(b)])


def _multi_head(a, b):
    return L.MultiHeadAttention(2, 3)(a, b)


def _shared(a, b):
    cell = L.Bidirectional(L.LSTM(3))
    return L.Concatenate()([cell(a), cell(b), L.Dense(2)(cell(a))])


def _encoder_decoder(a, b):
    encoded, *states = L.Bidirectional(L.LSTM(3, return_state=True), merge_mode="sum")(a)
    return L.Bidirectional(L.LSTM(3, return_sequences=True))(b, initial_state=states), encoded


def _broadcast(a, b):
    return L.Multiply()([a, L.GlobalMaxPooling1D()(b)])


def _operations(a, b):
    ops = keras.ops
    x = ops.concatenate([a[:, 1:-1, ::2], ops.tanh(b[:, 1:-1])], axis=-1) * 2.0 - 1.0
    return (
        ops.mean(x, axis=1),
        ops.expand_dims(x[:, -1], 1),
        ops.softmax(ops.maximum(x, 0.1), axis=-1),
        ops.transpose(x, (0, 2, 1)),
    )


def _nested(a, b):
    inner = keras.Sequential([L.Input((None, 5)), L.LSTM(4, return_sequences=True), L.BatchNormalization(), L.Dense(3)])
    x = L.Input((None, 5))
    block = keras.Model(x, [L.GRU(2)(x), inner(x)])
    return [*block(a), *block(b)]


FUNCTIONAL = {
    "add": _add,
    "merges": lambda a, b: [
        m([L.LSTM(4)(a), L.GRU(4)(b)])
        for m in (L.Subtract(), L.Average(), L.Maximum(), L.Minimum(), L.Concatenate(axis=1), L.Dot(1))
    ],
    "dot": lambda a, b: [
        L.Dot((2, 2))([a, b]),
        L.Dot((2, 1))([a, L.LSTM(5)(b)]),
        L.Dot(-1)([L.GRU(4)(a), L.LSTM(4)(b)]),
        L.Dot((2, 2), normalize=True)([a, b]),
        L.Dot(1, normalize=True)([L.GRU(4)(a), L.LSTM(4)(b)]),
    ],
    "rearranging": lambda a, b: [
        keras.ops.reshape(L.GRU(6)(a), (-1, 2, 3)),
        keras.ops.stack([a, b], axis=1),
        keras.ops.flip(a, axis=1),
        keras.ops.swapaxes(a, 1, 2),
        keras.ops.moveaxis(a, 2, 1),
    ],
    "choices": lambda a, b: [
        keras.ops.where(keras.ops.greater(a, 0.5), a, b),
        keras.ops.where(a > b, 0.25, a),
        keras.ops.clip(a, -0.5, 0.25),
        keras.ops.ones_like(a) - keras.ops.cast(keras.ops.zeros_like(a, dtype="bool"), "float32"),
        keras.ops.cast(a * 3, "int32"),
        keras.ops.leaky_relu(a, 0.3) + keras.ops.gelu(b, approximate=False) + keras.ops.erf(a) + keras.ops.rsqrt(b * b + 1.0),
    ],
    "merged_masks": lambda a, b: [
        L.LSTM(3)(m([L.Masking(0.5)(a), L.Masking(0.5)(b)])) for m in (L.Add(), L.Concatenate(), L.Multiply())
    ],
    "attention": lambda a, b: L.Attention(use_scale=True)([a, b]),
    "attention_with_key": lambda a, b: L.Attention()([a, L.Dense(4)(b), b]),
    "additive_attention": lambda a, b: L.AdditiveAttention()([a, b]),
    "masked_attention": lambda a, b: L.Attention()([L.Masking(0.5)(a), L.Masking(0.5)(b)]),
    "multi_head": _multi_head,
    "shared": _shared,
    "encoder_decoder": _encoder_decoder,
    "broadcast": _broadcast,
    "operations": _operations,
    "nested": _nested,
}


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequence"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layer(cell, backwards, sequences, masked, tmp_path, rng):
    options = {"return_sequences": sequences, "go_backwards": backwards}
    layers = [*([L.Masking(0.5)] if masked else []), CELLS[cell](**options)]
    _check_sequential(layers, tmp_path, rng)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequence"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_bidirectional(cell, sequences, merge, tmp_path, rng):
    _check_sequential(
        [L.Masking(0.5), L.Bidirectional(CELLS[cell](return_sequences=sequences), merge_mode=merge)], tmp_path, rng
    )


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_sequential(name, tmp_path, rng):
    _check_sequential(SEQUENTIAL[name](), tmp_path, rng)


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional(name, tmp_path, rng):
    a, b = L.Input((None, 5), name="a"), L.Input((None, 5), name="b")
    model = keras.Model([a, b], FUNCTIONAL[name](a, b))
    check(model, tmp_path, [frames(rng), frames(rng)])


def test_embedding_mask_reaches_every_consumer(tmp_path, rng):
    tokens = L.Input((None,), dtype="int32")
    embedded = L.Embedding(9, 5, mask_zero=True)(tokens)
    model = keras.Model(tokens, [L.LSTM(3, return_sequences=True)(embedded), L.GRU(2)(L.Dense(4)(embedded))])
    check(model, tmp_path, [rng.integers(0, 3, (3, 7)).astype(np.int32)])


def test_masking_in_a_functional_model(tmp_path, rng):
    x = L.Input((None, 5))
    masked = L.Masking(0.5)(x)
    model = keras.Model(x, [L.LSTM(3)(masked), L.Bidirectional(L.GRU(2, return_sequences=True))(L.Dense(4)(masked))])
    check(model, tmp_path, [frames(rng)])


def test_convolutional_lstm(tmp_path, rng):
    model = keras.Sequential([L.Input((None, 6, 2)), L.ConvLSTM1D(3, 3, padding="valid", strides=2, return_sequences=True)])
    check(model, tmp_path, [rng.standard_normal((2, 5, 6, 2)).astype(np.float32)])


def test_fixed_length_becomes_dynamic_unless_the_model_needs_it(tmp_path):
    free = keras.Sequential([L.Input((20, 3), batch_size=24), L.LSTM(4, stateful=True), L.Dense(1)])
    bound = keras.Sequential([L.Input((20, 3)), L.LSTM(4, return_sequences=True), L.Flatten(), L.Dense(1)])
    graph = read(saved(free, tmp_path))
    assert graph.inputs[0].shape == ("batch", "time", 3)
    assert graph.stateful
    assert read(saved(bound, tmp_path)).inputs[0].shape == ("batch", 20, 3)


def test_names_and_axes(tmp_path):
    x = L.Input((None, 3), name="frames")
    graph = read(saved(keras.Model(x, L.Dense(2, name="scores")(L.LSTM(4, name="memory")(x))), tmp_path))
    assert [(port.name, port.batch, port.time) for port in graph.inputs] == [("frames", 0, 1)]
    assert [port.name for port in graph.outputs] == ["scores"]
    assert [node.name for node in graph.nodes] == ["memory", "scores"]
    assert graph.provenance["framework"] == "keras"
    assert graph.provenance["version"] == keras.__version__


def test_all_refusals_come_at_once(tmp_path):
    x = L.Input((6, 4))
    y = L.Conv1DTranspose(3, 2)(L.Conv1D(4, 2, data_format="channels_first")(x))
    with pytest.raises(UnsupportedError) as caught:
        read(saved(keras.Model(x, L.Conv1DTranspose(2, 1)(y)), tmp_path))
    assert len(caught.value.problems) == 3
    assert "data_format" in "".join(caught.value.problems)


def _check_sequential(layers, tmp_path, rng):
    check(keras.Sequential([L.Input((None, 5) if _any_length(layers) else FLOATS), *layers]), tmp_path, [frames(rng)])


def _any_length(layers):
    fixed = (L.Flatten, L.Reshape, L.Permute, L.PReLU, L.BatchNormalization)
    return not any(isinstance(layer, fixed) for layer in layers)
