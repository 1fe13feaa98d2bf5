"""Two files compared: `convert --against` and `verify --against`."""

import json

import numpy as np
import pytest

import edgelstm
from edgelstm.cli import main
from tests.test_keras_containers import arrays, h5_file, keras_file, layers

pytest.importorskip("h5py", reason="these tests write HDF5 files")


def test_the_same_model_in_two_files(tmp_path, capsys):
    first, second = keras_file(tmp_path / "model.keras"), h5_file(tmp_path / "model.h5")
    assert main(["convert", str(first), "-o", str(tmp_path / "model.elstm"), "--against", str(second), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["against"]
    assert found["ok"]
    assert 0 <= found["max_error"] < 1e-5
    assert main(["verify", str(tmp_path / "model.elstm"), "--against", str(second)]) == 0
    assert "scores" in capsys.readouterr().out


def test_another_model(tmp_path, capsys):
    weights = arrays()
    weights["dense"][1] = weights["dense"][1] + np.array([0.1, 0], np.float32)
    first, second = keras_file(tmp_path / "model.keras"), h5_file(tmp_path / "model.h5", weights=weights)
    assert main(["convert", str(first), "-o", str(tmp_path / "model.elstm"), "--against", str(second)]) == 1
    assert "MISS" in capsys.readouterr().err
    assert main(["verify", str(first), "--against", str(second), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["max_error"] > 0.01


def test_models_that_cannot_be_compared(tmp_path, capsys):
    first = keras_file(tmp_path / "model.keras")
    second = h5_file(tmp_path / "model.h5", layers(return_state=True)[:2], weights={"lstm": arrays()["lstm"], "dense": []})
    assert main(["verify", str(first), "--against", str(second)]) == 2
    assert "outputs" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_source_of_a_file_gets_the_constants_of_its_conversion(precision, tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="this test writes an ONNX file")
    source, path = tmp_path / "model.onnx", tmp_path / "model.elstm"
    weights = onnx.numpy_helper.from_array(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "w")
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["m"], "dense"), onnx.helper.make_node("Mul", ["m", "n"], ["y"])]
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
             for name, shape in (("x", [1, 3]), ("n", []), ("y", [1, 4]))]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ports[:2], ports[2:], [weights])), source)
    edgelstm.convert(source, path, fix={"n": 5.0}, precision=precision)
    assert main(["verify", str(path), "--against", str(source)]) == 0
    other = tmp_path / "other.onnx"
    other.write_bytes(source.read_bytes() + onnx.ModelProto(doc_string="another file").SerializeToString())
    assert main(["verify", str(path), "--against", str(other)]) == 2
    assert "inputs" in capsys.readouterr().err
