"""LSTM, GRU and RNN nodes with every attribute, against ONNX Runtime."""

import itertools

import numpy as np
import pytest
from edgelstm_converters.onnx.weights import LSTM_ORDER, reordered
from onnx import helper

from edgelstm import reference
from edgelstm.errors import FormatError, UnsupportedError
from tests.onnx_models import assert_agrees, imported, make

STEPS, BATCH, N_IN, UNITS = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
CELLS = ("LSTM", "GRU", "RNN")
DIRECTIONS = ("forward", "reverse", "bidirectional")


class Recurrent:
    """One recurrent node with random weights; `feed` holds the inputs, `constants` the parameters."""

    def __init__(
        self, rng, op="LSTM", direction="forward", lengths=None, states=False, bias=True, peephole=False, **attrs
    ):
        n, rows = 2 if direction == "bidirectional" else 1, GATES[op] * UNITS
        self.feed = {"X": rng.standard_normal((STEPS, BATCH, N_IN)).astype(np.float32)}
        self.ports = {"X": ("T", "B", N_IN)}
        self.constants = {"W": self._random(rng, n, rows, N_IN), "R": self._random(rng, n, rows, UNITS)}
        names = ["X", "W", "R", "B" if bias else "", "", "", "", ""]
        if bias:
            self.constants["B"] = self._random(rng, n, 2 * rows)
        if lengths is not None:
            names[4] = "lengths"
            self.feed["lengths"], self.ports["lengths"] = np.array(lengths, np.int32), (np.int32, ("B",))
        for i, name in enumerate(("h0", "c0")[: 2 if op == "LSTM" else 1] if states else (), 5):
            names[i] = name
            self.feed[name], self.ports[name] = self._random(rng, n, BATCH, UNITS), (n, "B", UNITS)
        if peephole:
            names[7] = "P"
            self.constants["P"] = self._random(rng, n, 3 * UNITS)
        while not names[-1]:
            names.pop()
        self.outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
        attrs.setdefault("hidden_size", UNITS)
        self.node = helper.make_node(
            op,
            names,
            self.outputs,
            name="cell",
            direction=direction,
            **{key: value for key, value in attrs.items() if value is not None},
        )

    @staticmethod
    def _random(rng, *shape):
        return (rng.standard_normal(shape) / 2).astype(np.float32)

    def model(self, opset=17):
        return make([self.node], self.ports, self.outputs, self.constants, opset)


@pytest.mark.parametrize(("op", "direction"), list(itertools.product(CELLS, DIRECTIONS)))
def test_directions(op, direction, rng, tmp_path):
    cell = Recurrent(rng, op, direction)
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize(("op", "direction"), list(itertools.product(CELLS, DIRECTIONS)))
def test_initial_states_and_lengths(op, direction, rng, tmp_path):
    cell = Recurrent(rng, op, direction, lengths=[5, 2, 3], states=True)
    graph = assert_agrees(cell.model(), cell.feed, tmp_path)
    assert dict(graph.states) == {"h0": "Y_h", "c0": "Y_c"} if op == "LSTM" else {"h0": "Y_h"}


@pytest.mark.parametrize("op", CELLS)
def test_without_bias(op, rng, tmp_path):
    cell = Recurrent(rng, op, bias=False)
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gru_reset_after_the_product(direction, rng, tmp_path):
    cell = Recurrent(rng, "GRU", direction, states=True, linear_before_reset=1)
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_peepholes(direction, rng, tmp_path):
    cell = Recurrent(rng, direction=direction, peephole=True)
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize("op", CELLS)
def test_clip(op, rng, tmp_path):
    cell = Recurrent(rng, op, clip=0.4)
    assert_agrees(cell.model(), cell.feed, tmp_path)


def test_coupled_forget_gate(rng, tmp_path):
    cell = Recurrent(rng, input_forget=1)
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["HardSigmoid", "Relu", "Softsign"],
        ["Sigmoid", "LeakyRelu", "ScaledTanh"],
        ["Sigmoid", "Softplus", "Elu"],
        ["HardSigmoid", "ThresholdedRelu", "Affine"],
    ],
)
def test_activations_with_their_parameters(names, rng, tmp_path):
    cell = Recurrent(rng, activations=names, activation_alpha=[0.3, 0.4, 0.6], activation_beta=[0.45, 0.7])
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize("name", ["HardSigmoid", "LeakyRelu", "Elu"])
def test_activations_with_default_parameters(name, rng, tmp_path):
    cell = Recurrent(rng, "RNN", activations=[name])
    assert_agrees(cell.model(), cell.feed, tmp_path)


def test_default_threshold_is_that_of_the_operator(rng, tmp_path):
    """ONNX Runtime takes 0 here; the specification refers to ThresholdedRelu, whose alpha is 1."""
    cell = Recurrent(rng, "RNN", activations=["ThresholdedRelu"])
    assert imported(cell.model(), tmp_path).nodes[0].attrs["activation"] == ("thresholded_relu", 1.0, 0.0)


def test_activations_without_default_need_their_parameters(rng, tmp_path):
    with pytest.raises(UnsupportedError, match="ScaledTanh needs activation_alpha"):
        imported(Recurrent(rng, "RNN", activations=["ScaledTanh"]).model(), tmp_path)


def test_activations_of_both_directions(rng, tmp_path):
    names = ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Softsign", "Tanh"]
    cell = Recurrent(rng, direction="bidirectional", activations=names)
    assert_agrees(cell.model(), cell.feed, tmp_path)


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_batch_first_layout_is_the_transposed_model(op, direction, rng, tmp_path):
    cell = Recurrent(rng, op, direction, states=True)
    expected = reference.run(imported(cell.model(), tmp_path), cell.feed)
    cell.node.attribute.append(helper.make_attribute("layout", 1))
    cell.ports = {name: ("B", *[d for d in shape if d != "B"]) for name, shape in cell.ports.items()}
    feed = {name: array.swapaxes(0, 1) for name, array in cell.feed.items()}
    found = reference.run(imported(cell.model(), tmp_path), feed)
    np.testing.assert_allclose(found["Y"], expected["Y"].transpose(2, 0, 1, 3), atol=1e-12)
    np.testing.assert_allclose(found["Y_h"], expected["Y_h"].swapaxes(0, 1), atol=1e-12)


def test_hidden_size_may_be_missing(rng, tmp_path):
    cell = Recurrent(rng)
    expected = reference.run(imported(cell.model(), tmp_path), cell.feed)
    cell = Recurrent(np.random.default_rng(20261122), hidden_size=None)
    assert not [a for a in cell.node.attribute if a.name == "hidden_size"]
    found = reference.run(imported(cell.model(), tmp_path), cell.feed)
    np.testing.assert_array_equal(found["Y"], expected["Y"])


def test_hidden_size_must_fit(rng, tmp_path):
    with pytest.raises(FormatError, match=r"node 'cell' \(LSTM\): hidden_size is 9"):
        imported(Recurrent(rng, hidden_size=9).model(), tmp_path)


def test_all_refusals_of_a_node_come_at_once(rng, tmp_path):
    cell = Recurrent(rng, activations=["Sigmoid", "Nope", "Tanh"], layout=3)
    with pytest.raises(UnsupportedError) as refusal:
        imported(cell.model(), tmp_path)
    assert any("Nope" in problem for problem in refusal.value.problems)
    assert any("layout=3" in problem for problem in refusal.value.problems)


def test_an_unknown_attribute_is_refused(rng, tmp_path):
    with pytest.raises(UnsupportedError, match="attribute 'projection' is not known"):
        imported(Recurrent(rng, projection=3).model(), tmp_path)


def test_gate_order():
    gates = np.arange(4).repeat(2)[:, None]
    assert reordered(gates, LSTM_ORDER)[:, 0].tolist() == [0, 0, 2, 2, 3, 3, 1, 1]


def test_dynamic_quantize_lstm_is_its_dequantized_twin(rng, tmp_path):
    """ONNX Runtime also rounds the activations, so the two agree to 8 bits."""
    cell = Recurrent(rng)
    parameters = {}
    for name, array in (("W", cell.constants["W"]), ("R", cell.constants["R"])):
        scale = np.float32(np.abs(array).max() / 127)
        parameters[name] = np.round(array / scale).astype(np.int8).transpose(0, 2, 1)
        parameters |= {f"{name}_scale": np.full(1, scale), f"{name}_zero": np.zeros(1, np.int8)}
    names = ["X", "W", "R", "B", "", "", "", "", "W_scale", "W_zero", "R_scale", "R_zero"]
    attrs = {"direction": "forward", "hidden_size": UNITS}
    node = helper.make_node("DynamicQuantizeLSTM", names, cell.outputs, name="cell", domain="com.microsoft", **attrs)
    constants = {**parameters, "B": cell.constants["B"]}
    imports = [helper.make_opsetid("com.microsoft", 1)]
    assert_agrees(make([node], cell.ports, cell.outputs, constants, imports=imports), cell.feed, tmp_path, atol=0.02)
