"""Arguments of recurrent layers beside the usual ones: activations as layers, positional masks, ConvLSTM1D, constants."""

import json

import numpy as np
import pytest
from edgelstm_converters.keras import read

from edgelstm import reference
from edgelstm.errors import FormatError, UnsupportedError
from tests.keras_checks import ATOL, RTOL, check, frames, keras, randomise, saved

pytestmark = pytest.mark.usefixtures("trusted_files")
L, ops = keras.layers, keras.ops

IN_CELLS = {
    "relu": lambda: L.ReLU(),
    "relu6": lambda: L.ReLU(max_value=6.0),
    "slope": lambda: L.ReLU(negative_slope=0.1),
    "threshold": lambda: L.ReLU(threshold=0.3),
    "leaky": lambda: L.LeakyReLU(0.3),
    "elu": lambda: L.ELU(0.5),
    "identity": lambda: L.Identity(),
    "activation": lambda: L.Activation("softsign"),
    "celu": lambda: "celu",
    "sparse_sigmoid": lambda: "sparse_sigmoid",
}
BEHIND_LAYERS = IN_CELLS | {
    "limit": lambda: L.ReLU(max_value=1.0, negative_slope=0.1),
    "all": lambda: L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
    "softmax": lambda: L.Softmax(axis=1),
    "activation_softmax": lambda: L.Activation("softmax"),
}


@pytest.mark.parametrize("name", IN_CELLS)
def test_activations_of_cells(name, tmp_path, rng):
    x = L.Input((None, 5))
    outputs = [L.GRU(3, activation=IN_CELLS[name]())(x), L.LSTM(3, recurrent_activation=IN_CELLS[name]())(x)]
    check(keras.Model(x, outputs), tmp_path, [frames(rng) / 4])


@pytest.mark.parametrize("name", BEHIND_LAYERS)
def test_activations_behind_layers(name, tmp_path, rng):
    x = L.Input((None, 5))
    outputs = [L.Dense(4, activation=BEHIND_LAYERS[name]())(x), L.Conv1D(3, 2, activation=BEHIND_LAYERS[name]())(x)]
    check(keras.Model(x, outputs), tmp_path, [frames(rng)])


@pytest.mark.parametrize("activation", ["softmax", "hard_tanh"])
def test_activations_that_no_cell_has(activation, tmp_path):
    with pytest.raises(UnsupportedError, match="supported are elu"):
        read(saved(keras.Sequential([L.Input((None, 5)), L.LSTM(3, activation=activation)]), tmp_path))


def test_an_activation_of_a_package_of_ones_own(tmp_path):
    model = keras.Sequential([L.Input((None, 5)), L.LSTM(3, activation=L.ReLU())])
    architecture = json.loads(model.to_json())
    architecture["config"]["layers"][1]["config"]["activation"] |= {"module": "mine.layers", "registered_name": "mine>ReLU"}
    (tmp_path / "model.json").write_text(json.dumps(architecture))
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(UnsupportedError, match="activation"):
        read(tmp_path / "model.json", weights=tmp_path / "model.weights.h5")


@pytest.mark.parametrize("wrap", [lambda layer: layer, L.Bidirectional], ids=["one", "both"])
def test_a_positional_mask(wrap, tmp_path, rng):
    x = L.Input((None, 5))
    model = keras.Model(x, wrap(L.GRU(3, return_sequences=True))(x, None, ops.not_equal(x[:, :, 0], 0.5)))
    check(model, tmp_path, [frames(rng)])


CONV_LSTM = {
    "same": {"padding": "same", "return_sequences": True, "go_backwards": True},
    "dilated": {"dilation_rate": 2},
    "strided": {"strides": 2, "return_state": True},
    "activations": {"activation": "relu", "recurrent_activation": "tanh"},
}


@pytest.mark.parametrize("name", CONV_LSTM)
def test_convolutional_lstm(name, tmp_path, rng):
    x = L.Input((None, 6, 2))
    model = keras.Model(x, L.ConvLSTM1D(3, 3, **CONV_LSTM[name])(x))
    check(model, tmp_path, [rng.standard_normal((2, 5, 6, 2)).astype(np.float32)])


def test_convolutional_lstm_with_initial_states_and_in_both_directions(tmp_path, rng):
    x = L.Input((None, 6, 2))
    _, *states = L.ConvLSTM1D(3, 3, padding="same", return_state=True)(x)
    y = L.ConvLSTM1D(3, 3, padding="same")(x, initial_state=states)
    both = L.Bidirectional(L.ConvLSTM1D(2, 3, padding="same", return_sequences=True))(x)
    check(keras.Model(x, [y, both]), tmp_path, [rng.standard_normal((2, 5, 6, 2)).astype(np.float32)])


@pytest.mark.parametrize("zero", [False, True], ids=["hold", "zero"])
def test_masked_convolutional_lstm(zero, tmp_path, rng):
    """Steps at the end that do not count change nothing: the layer on the steps before them is the oracle."""
    x, counts = L.Input((5, 6, 2), name="x"), L.Input((5,), name="counts", dtype="bool")
    cell = L.ConvLSTM1D(3, 3, padding="same", return_sequences=True, return_state=True, zero_output_for_mask=zero)
    model = keras.Model([x, counts], cell(x, mask=counts))
    randomise(model)
    graph = read(saved(model, tmp_path))
    array = rng.standard_normal((2, 5, 6, 2)).astype(np.float32)
    y, h, c = reference.run(graph, {"x": array, "counts": np.arange(5) < np.array([[3], [3]])}).values()
    expected = [np.asarray(found) for found in cell(array[:, :3])]
    for ours, theirs in zip((y[:, :3], h, c), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=ATOL)
    last = np.zeros_like(expected[1]) if zero else expected[1]
    np.testing.assert_allclose(y[:, 4], last, rtol=RTOL, atol=ATOL)


def with_constants(folder, layer, config):
    """A model of Keras 3 whose recurrent layer gets the second input as a constant, as Keras 2 stores that."""
    x, constant = L.Input((None, 5), name="x"), L.Input((3,), name="constant")
    model = keras.Model([x, constant], [layer(x), L.Dense(2)(constant)])
    randomise(model)
    architecture = json.loads(model.to_json())
    entry = next(entry for entry in architecture["config"]["layers"] if entry["name"] == layer.name)
    entry["config"] |= config
    tensor = next(e for e in architecture["config"]["layers"] if e["class_name"] == "Dense")["inbound_nodes"][0]["args"][0]
    entry["inbound_nodes"][0]["args"][0] = [entry["inbound_nodes"][0]["args"][0], tensor]
    (folder / "model.json").write_text(json.dumps(architecture))
    model.save_weights(folder / "model.weights.h5")
    return model, {"source": folder / "model.json", "weights": folder / "model.weights.h5"}


def test_constants_for_stacked_cells_change_nothing(tmp_path, rng):
    model, files = with_constants(tmp_path, L.RNN([L.LSTMCell(3), L.GRUCell(2)]), {"num_constants": 1})
    inputs = {"x": frames(rng), "constant": np.ones((3, 3), np.float32)}
    found = reference.run(read(**files), inputs)
    for ours, theirs in zip(found.values(), model(list(inputs.values())), strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=RTOL, atol=ATOL)


def test_constants_for_a_single_cell_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="only cells of a class of one's own"):
        read(**with_constants(tmp_path, L.RNN(L.LSTMCell(3)), {"num_constants": 1})[1])


def test_more_constants_than_inputs(tmp_path):
    with pytest.raises(FormatError, match="num_constants"):
        read(**with_constants(tmp_path, L.RNN([L.LSTMCell(3)]), {"num_constants": 2})[1])
