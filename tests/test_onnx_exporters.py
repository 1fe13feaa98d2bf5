"""Known exporter bugs: the warning names the node and the reason, in the Graph and on standard error."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgelstm.cli import main
from edgelstm.errors import UnsupportedError
from tests.onnx_models import imported, make

ROWS = {"LSTM": 4, "GRU": 3}


def recurrent(op: str, producer: str, version: str, directions: int = 1, **attrs) -> onnx.ModelProto:
    constants = {
        "W": np.ones((directions, ROWS[op] * 2, 3), np.float32),
        "R": np.ones((directions, ROWS[op] * 2, 2), np.float32),
    }
    direction = ("forward", "bidirectional")[directions - 1]
    node = helper.make_node(op, ["x", "W", "R"], ["y"], name="cell", hidden_size=2, direction=direction, **attrs)
    return make([node], {"x": ("T", "B", 3)}, ["y"], constants, producer_name=producer, producer_version=version)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (recurrent("GRU", "pytorch", "1.0.1"), "linear_before_reset is 0"),
        (recurrent("GRU", "pytorch", "1.0.1", linear_before_reset=0), "linear_before_reset is 0"),
        (recurrent("LSTM", "tf2onnx", "1.5.6 1e5a4c", 2), "names no activations"),
    ],
)
def test_a_wrong_file_is_warned_of(model, reason, tmp_path, capsys):
    (note,) = imported(model, tmp_path).notes
    assert "node 'cell'" in note and reason in note and f"{model.producer_name} 1." in note
    assert main(["convert", str(tmp_path / "model.onnx"), "-o", str(tmp_path / "model.elstm"), "--no-probe"]) == 0
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "model",
    [
        recurrent("GRU", "pytorch", "2.3.1", linear_before_reset=1),
        recurrent("GRU", "tf2onnx", "1.17.0 None"),
        recurrent("LSTM", "tf2onnx", "1.17.0 None", 2, activations=["Sigmoid", "Tanh", "Tanh"] * 2),
        recurrent("LSTM", "tf2onnx", "1.17.0 None"),
        recurrent("LSTM", "pytorch", "2.3.1", 2),
        recurrent("GRU", "", ""),
    ],
)
def test_a_right_file_is_not(model, tmp_path):
    assert imported(model, tmp_path).notes == ()


def test_a_projection_is_refused_with_its_reason(tmp_path):
    model = recurrent("LSTM", "pytorch", "2.13.0")
    model.graph.node[0].input.extend(["", "", "h0", "c0"])
    for name, units in (("h0", 2), ("c0", 5)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 1, units), np.float32), name))
    with pytest.raises(UnsupportedError, match=r"node 'cell' \(LSTM\): its cell state has 5 units .* proj_size"):
        imported(model, tmp_path)
