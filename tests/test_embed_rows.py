"""A look-up of rows of a constant table, as ONNX writes an embedding, takes a reduced precision."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgelstm

PRECISIONS = {"bfloat16": 2.0**-8, "int8": 1 / 127, "int4": 1 / 8}


def gathering(path, table, axis=0, rank=2, indices=None):
    """An ONNX file that gathers from a table along an axis, by an input or by known indices."""
    axes = [f"d{i}" for i in range(rank)]
    named = [numpy_helper.from_array(table, "table")]
    named += [] if indices is None else [numpy_helper.from_array(indices, "tokens")]
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["rows"], axis=axis, name="look_up"),
             helper.make_node("Mul", ["rows", "x"], ["y"])]
    inputs = [] if indices is not None else [helper.make_tensor_value_info("tokens", TensorProto.INT64, axes)]
    inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, named)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.mark.parametrize("precision", ["float32", *PRECISIONS])
@pytest.mark.parametrize(("rank", "width"), [(0, 3), (1, 33), (2, 17)])
def test_rows_of_a_table(rank, width, precision, tmp_path, rng):
    """Indices below 0 count from the end, as ONNX says."""
    table = rng.standard_normal((37, width)).astype(np.float32)
    graph = edgelstm.convert(gathering(tmp_path / "rows.onnx", table, rank=rank), precision=precision)
    node, = (node for node in graph.nodes if node.op == "embedding")
    assert node.attrs["precision"] == precision
    indices = rng.integers(-37, 37, (3, 5)[:rank])
    found = edgelstm.load(graph).run({"tokens": indices, "x": np.ones(1, np.float32)})["y"]
    wanted = np.take(table, indices, 0)
    assert found.shape == wanted.shape
    steps = PRECISIONS.get(precision, 0.0) * np.max(np.abs(wanted), axis=-1, keepdims=True)
    assert np.all(np.abs(found - wanted) <= steps)


@pytest.mark.parametrize("precision", ["integer", "int8x16"])
def test_indices_below_zero_count_from_the_end_in_integers_too(precision, tmp_path, rng):
    table = rng.uniform(-1, 1, (37, 5)).astype(np.float32)
    path = tmp_path / "rows.onnx"
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["rows"], axis=0, name="look_up"),
             helper.make_node("MatMul", ["rows", "w"], ["y"])]
    named = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.eye(5, dtype=np.float32), "w")]
    ports = [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["b", "t"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", ports, outputs, named)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    indices = rng.integers(-37, 37, (4, 9))
    model = edgelstm.load(edgelstm.convert(path, precision=precision, calibration=indices))
    np.testing.assert_allclose(model.predict(indices), np.take(table, indices, 0), atol=0.05)


@pytest.mark.parametrize(("shape", "axis"), [((7, 5), 1), ((7,), 0), ((7, 2, 3), 0)])
def test_other_look_ups_stay_as_they_are(shape, axis, tmp_path, rng):
    table = rng.standard_normal(shape).astype(np.float32)
    graph = edgelstm.convert(gathering(tmp_path / "other.onnx", table, axis))
    assert "embedding" not in {node.op for node in graph.nodes}
    indices = rng.integers(-shape[axis], shape[axis], (2, 3))
    found = edgelstm.load(graph).run({"tokens": indices, "x": np.ones(1, np.float32)})["y"]
    np.testing.assert_array_equal(found, np.take(table, indices, axis))


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_table_that_is_not_finite_is_refused_by_name(bad, precision, tmp_path, rng):
    table = rng.standard_normal((40, 33)).astype(np.float32)
    table[3, 2] = bad
    with pytest.raises(edgelstm.PrecisionError, match=r"look_up.*NaN or infinity"):
        edgelstm.convert(gathering(tmp_path / "rows.onnx", table), precision=precision)
