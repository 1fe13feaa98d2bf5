"""`time_major` of Keras 2: a model that gets the flag must do on turned sequences what it does without on plain ones."""

import json

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.conversion import convert
from tests.keras_checks import ATOL, RTOL, as_list, frames, keras, randomise

pytestmark = pytest.mark.usefixtures("trusted_files")
L = keras.layers

LAYERS = {
    "lstm": lambda **options: L.LSTM(4, **options),
    "gru": lambda **options: L.GRU(4, **options),
    "gru_reset_before": lambda **options: L.GRU(4, reset_after=False, **options),
    "simple_rnn": lambda **options: L.SimpleRNN(4, **options),
    "stacked_cells": lambda **options: L.RNN([L.LSTMCell(3), L.GRUCell(4)], **options),
    "bidirectional": lambda **options: both_ways(L.LSTM, "concat", **options),
    "bidirectional_sum": lambda **options: both_ways(L.GRU, "sum", **options),
}


def both_ways(kind, merge, go_backwards, **options):
    forward, backward = (kind(3, go_backwards=way, **options) for way in (go_backwards, not go_backwards))
    return L.Bidirectional(forward, backward_layer=backward, merge_mode=merge)


def time_major(config):
    """The architecture with the flag on every recurrent layer."""
    if isinstance(config, list):
        return [time_major(item) for item in config]
    if not isinstance(config, dict):
        return config
    config = {key: time_major(value) for key, value in config.items()}
    if config.get("class_name") in ("LSTM", "GRU", "SimpleRNN", "RNN"):
        config["config"]["time_major"] = True
    return config


def converted(model, folder):
    randomise(model)
    (folder / "model.json").write_text(json.dumps(time_major(json.loads(model.to_json()))))
    model.save_weights(folder / "model.weights.h5")
    return convert(folder / "model.json", weights=folder / "model.weights.h5", probe=False)


def turned(array, like=3):
    return np.ascontiguousarray(np.swapaxes(array, 0, 1)) if np.ndim(array) == like else np.asarray(array)


def check(model, folder, *inputs):
    """The flagged model on turned inputs, by the float64 reference and by the kernels; gives its graph."""
    graph = converted(model, folder)
    expected = [turned(np.asarray(y)) for y in as_list(model(list(inputs) if len(inputs) > 1 else inputs[0]))]
    named = {port.name: turned(x) for port, x in zip(graph.inputs, inputs, strict=True)}
    for found in (reference.run(graph, named), edgelstm.load(graph).run(named)):
        for ours, theirs in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=ATOL)
    return graph


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequence"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind, backwards, sequences, masked, tmp_path, rng):
    x = L.Input((None, 5))
    y = LAYERS[kind](return_sequences=sequences, go_backwards=backwards)(L.Masking(0.5)(x) if masked else x)
    graph = check(keras.Model(x, y), tmp_path, frames(rng))
    port = graph.inputs[0]
    assert (port.shape, port.batch, port.time) == (("time", "batch", 5), 1, 0)
    shown = graph.outputs[0]
    assert (shown.batch, shown.time) == ((1, 0) if sequences else (0, None))


@pytest.mark.parametrize("zero", [False, True], ids=["hold", "zero"])
def test_states_and_masked_outputs(zero, tmp_path, rng):
    x = L.Input((None, 5))
    masked = L.Masking(0.5)(x)
    y, *states = L.LSTM(4, return_sequences=True, return_state=True, zero_output_for_mask=zero)(masked)
    check(keras.Model(x, [y, *states, L.GRU(3)(y)]), tmp_path, frames(rng))


def test_an_input_without_time_beside_it(tmp_path, rng):
    x, h = L.Input((None, 5), name="x"), L.Input((4,), name="h")
    model = keras.Model([x, h], L.GRU(4, return_sequences=True)(x, initial_state=h))
    graph = check(model, tmp_path, frames(rng), rng.standard_normal((3, 4)).astype(np.float32))
    assert [(port.batch, port.time) for port in graph.inputs] == [(1, 0), (0, None)]


def test_tokens(tmp_path, rng):
    x = L.Input((None,), dtype="int32")
    model = keras.Model(x, L.LSTM(3, return_sequences=True)(L.Embedding(9, 4, mask_zero=True)(x)))
    graph = converted(model, tmp_path)
    tokens = rng.integers(0, 3, (3, 7)).astype(np.int32)
    found = reference.run(graph, {graph.inputs[0].name: turned(tokens, like=2)})
    np.testing.assert_allclose(*found.values(), turned(np.asarray(model(tokens))), rtol=RTOL, atol=ATOL)


def test_a_sequence_that_is_turned_before_the_layer(tmp_path, rng):
    x = L.Input((None, 5))
    model = keras.Model(x, keras.ops.transpose(L.LSTM(4, return_sequences=True)(keras.ops.transpose(x, (1, 0, 2))), (1, 0, 2)))
    graph = converted(model, tmp_path)
    array = frames(rng)
    port = graph.inputs[0]
    assert (port.shape, port.batch, port.time) == (("batch", "time", 5), 0, 1)
    weights = next(layer for layer in model.layers if isinstance(layer, L.LSTM)).get_weights()
    plain = keras.Sequential([L.Input((None, 5)), L.LSTM(4, return_sequences=True)])
    plain.layers[0].set_weights(weights)
    np.testing.assert_allclose(edgelstm.load(graph).predict(array), np.asarray(plain(array)), rtol=RTOL, atol=ATOL)


def test_a_stateful_stream(tmp_path, rng):
    model = keras.Sequential([L.Input(batch_shape=(3, None, 5)), L.LSTM(4, return_sequences=True, stateful=True), L.Dense(2)])
    graph = converted(model, tmp_path)
    stream = edgelstm.load(graph).stream(batch=3)
    x = frames(rng)
    whole = np.asarray(model(x))
    for step in range(4):
        np.testing.assert_allclose(stream.step(x[:, step]), whole[:, step], rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(stream.run(turned(x[:, 4:])), turned(whole[:, 4:]), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_few_steps_and_rows(steps, batch, tmp_path):
    graph = converted(keras.Sequential([L.Input((None, 5)), L.GRU(17, return_sequences=True)]), tmp_path)
    assert edgelstm.load(graph).predict(np.zeros((steps, batch, 5), np.float32)).shape == (steps, batch, 17)
