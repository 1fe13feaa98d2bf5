"""ONNX files as a whole: damaged ones, external data, functions, node order, dynamic axes, states, and the corpus."""

import json
import os
import sys

import numpy as np
import onnx
import pytest
from edgelstm_converters.onnx import read
from onnx import helper

from edgelstm import reference
from edgelstm.errors import DependencyError, EdgeLSTMError, FormatError, ShapeError, UnsupportedError
from edgelstm.passes import simplify
from tests.conftest import corpus_models, meta_of
from tests.onnx_models import assert_agrees, imported, make

W = np.arange(12, dtype=np.float32).reshape(3, 4) / 10


def product(**tensors) -> onnx.ModelProto:
    return make(
        [helper.make_node("MatMul", ["x", "W"], ["y"], name="product")], {"x": ("B", 3)}, ["y"], {"W": W} | tensors
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><body>404</body></html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        product().SerializeToString()[:-20],
    ],
)
def test_files_that_hold_no_model(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"model\.onnx"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"absent\.onnx: cannot be read"):
        read(tmp_path / "absent.onnx")


def test_the_onnx_package_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"pip install edgelstm\[convert\]"):
        read(tmp_path / "model.onnx")


@pytest.mark.parametrize("opset", [6, 9999])
def test_opsets_out_of_range(opset, tmp_path):
    model = product()
    model.opset_import[0].version = opset
    with pytest.raises(FormatError, match=f"opset {opset}; supported are 7 to"):
        imported(model, tmp_path)


def test_cycles_are_found(tmp_path):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="one"), helper.make_node("Neg", ["a"], ["b"], name="two")]
    with pytest.raises(FormatError, match="part of a cycle"):
        imported(make(nodes, {"x": (2,)}, ["b"]), tmp_path)


def test_a_value_that_nothing_computes(tmp_path):
    with pytest.raises(FormatError, match="'lost', which nothing computes"):
        imported(make([helper.make_node("Add", ["x", "lost"], ["y"])], {"x": (2,)}, ["y"]), tmp_path)


def test_a_value_computed_twice(tmp_path):
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Exp", ["x"], ["y"])]
    with pytest.raises(FormatError, match="two nodes compute the value 'y'"):
        imported(make(nodes, {"x": (2,)}, ["y"]), tmp_path)


def test_a_tensor_shorter_than_its_shape(tmp_path):
    model = product()
    model.graph.initializer[0].raw_data = b"\0" * 8
    with pytest.raises(FormatError, match=r"'W' of shape .* needs 48 bytes, the file has 8"):
        imported(model, tmp_path)


def test_shapes_that_never_fit(tmp_path):
    model = make([helper.make_node("MatMul", ["x", "W"], ["y"], name="product")], {"x": ("B", 5)}, ["y"], {"W": W})
    with pytest.raises(FormatError, match="node 'product'"):
        imported(model, tmp_path)


def external(folder, location="w.bin", **entries) -> onnx.ModelProto:
    model = product()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    (folder / "w.bin").write_bytes(b"\0" * 16 + W.tobytes())
    return model


def test_external_data_beside_the_model(tmp_path):
    graph = imported(external(tmp_path, offset=16, length=48), tmp_path)
    assert any(np.array_equal(array, W) for array in graph.constants.values())


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 20},
        {"offset": -4},
        {"length": 8},
        {"offset": "x"},
        {"location": "absent.bin"},
        {"location": "../w.bin"},
        {"location": "/etc/passwd"},
        {"location": ""},
    ],
)
def test_external_data_that_is_refused(entries, tmp_path):
    with pytest.raises(FormatError, match="'W'"):
        imported(external(tmp_path, **entries), tmp_path)


def test_external_data_through_a_link(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    model = external(folder, "link.bin", offset=0)
    (tmp_path / "outside.bin").write_bytes(W.tobytes())
    os.symlink(tmp_path / "outside.bin", folder / "link.bin")
    with pytest.raises(FormatError, match="link out of the model's folder"):
        imported(model, folder)


def test_nodes_out_of_order(rng, tmp_path):
    nodes = [helper.make_node("Exp", ["a"], ["y"]), helper.make_node("Neg", ["x"], ["a"])]
    x = rng.standard_normal(3).astype(np.float32)
    found = reference.run(imported(make(nodes, {"x": (3,)}, ["y"]), tmp_path), {"x": x})
    np.testing.assert_allclose(found["y"], np.exp(-x.astype(np.float64)))


def test_initializers_that_are_also_inputs_are_constants(rng, tmp_path):
    model = product()
    model.graph.input.append(helper.make_tensor_value_info("W", onnx.TensorProto.FLOAT, [3, 4]))
    assert [port.name for port in imported(model, tmp_path).inputs] == ["x"]


def function_model(body, name="Scaled", **attributes) -> onnx.ModelProto:
    function = helper.make_function("own", name, ["a"], ["b"], body, [helper.make_opsetid("", 17)], list(attributes))
    call = helper.make_node(name, ["x"], ["y"], name="call", domain="own", **attributes)
    return make([call], {"x": (2, 3)}, ["y"], functions=[function], imports=[helper.make_opsetid("own", 1)])


def test_functions_are_written_in_place(rng, tmp_path):
    leaky = helper.make_node("LeakyRelu", ["a"], ["t"])
    reference_attr = leaky.attribute.add()
    reference_attr.name, reference_attr.ref_attr_name, reference_attr.type = "alpha", "slope", onnx.AttributeProto.FLOAT
    model = function_model([leaky, helper.make_node("Neg", ["t"], ["b"])], slope=0.25)
    graph = assert_agrees(model, {"x": rng.standard_normal((2, 3)).astype(np.float32)}, tmp_path)
    assert [node.op for node in graph.nodes] == ["leaky_relu", "neg"]


def test_a_function_that_calls_itself(tmp_path):
    with pytest.raises(FormatError, match="calls itself"):
        imported(function_model([helper.make_node("Scaled", ["a"], ["b"], domain="own")]), tmp_path)


def test_differently_named_axes_that_meet_share_a_symbol(rng, tmp_path):
    model = make([helper.make_node("Add", ["x", "z"], ["y"])], {"x": ("n", "t", 3), "z": ("m", None, 3)}, ["y"])
    graph = assert_agrees(model, {"x": np.ones((2, 5, 3), np.float32), "z": np.ones((2, 5, 3), np.float32)}, tmp_path)
    assert graph.input("x").shape == graph.input("z").shape


def test_lengths_of_an_example_are_generalised_in_reshape(rng, tmp_path):
    model = make(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": ("t", "b", 2, 3)},
        ["y"],
        {"shape": np.array([7, -1, 6])},
    )
    graph = imported(model, tmp_path)
    x = rng.standard_normal((5, 2, 2, 3)).astype(np.float32)
    assert reference.run(graph, {"x": x})["y"].shape == (5, 2, 6)


def test_bias_is_folded_into_the_dense_layer(rng, tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "W"], ["p"]), helper.make_node("Add", ["b", "p"], ["y"])]
    model = make(nodes, {"x": ("B", 3)}, ["y"], {"W": W, "b": np.arange(4, dtype=np.float32)})
    x = rng.standard_normal((2, 3)).astype(np.float32)
    graph = imported(model, tmp_path)
    simple = simplify(graph)
    assert [node.op for node in simple.nodes] == ["dense"]
    np.testing.assert_allclose(reference.run(simple, {"x": x})["y"], reference.run(graph, {"x": x})["y"])


def lstm_with_states(names, outputs, extra=()) -> onnx.ModelProto:
    constants = {"W": np.ones((1, 8, 3), np.float32), "R": np.ones((1, 8, 2), np.float32)}
    node = helper.make_node("LSTM", ["x", "W", "R", "", "", *names], ["Y", *outputs], hidden_size=2)
    ports = {"x": ("T", "B", 3), **{name: (1, "B", 2) for name in names}}
    return make([node, *extra], ports, ["Y", *outputs, *(name for n in extra for name in n.output)], constants)


@pytest.mark.parametrize(
    "names", [("h0", "c0", "hn", "cn"), ("one", "two", "three", "four"), ("initial_h", "initial_c", "Y_h", "Y_c")]
)
def test_states_are_paired_by_the_data_flow(names, tmp_path):
    graph = imported(lstm_with_states(names[:2], names[2:]), tmp_path)
    assert graph.states == ((names[0], names[2]), (names[1], names[3]))
    assert not graph.notes


def test_a_doubtful_state_is_left_to_the_user(tmp_path):
    model = lstm_with_states(("p", "q"), ("r", "s"), [helper.make_node("Identity", ["r"], ["t"])])
    graph = imported(model, tmp_path)
    assert graph.states == (("q", "s"),)
    assert "'p'" in graph.notes[0] and "state=" in graph.notes[0]
    assert imported(model, tmp_path, state={"p": "t", "q": "s"}).states == (("p", "t"), ("q", "s"))


@pytest.mark.parametrize("state", [{"nope": "r"}, {"p": "nope"}, {"p": "Y"}])
def test_state_pairs_are_checked(state, tmp_path):
    with pytest.raises(ShapeError, match=r"state (names|pairs)"):
        imported(lstm_with_states(("p", "q"), ("r", "s")), tmp_path, state=state)


def test_ordinary_inputs_are_no_states(tmp_path):
    model = make([helper.make_node("Neg", ["x"], ["x_out"])], {"x": ("B", 3)}, ["x_out"])
    assert imported(model, tmp_path).states == ()


@pytest.mark.parametrize("fix", [{"nope": 1}, {"x": "text"}, {"x": np.ones((2, 7))}])
def test_fixed_inputs_are_checked(fix, tmp_path):
    with pytest.raises(ShapeError, match="fix"):
        imported(product(), tmp_path, fix=fix)


@pytest.mark.parametrize(
    "folder", corpus_models("raw_", "torch_", "k3export", "tf2onnx_", "third_"), ids=lambda folder: folder.name
)
def test_corpus_model(folder):
    """Every straight-line model agrees with its framework; one that needs a loop or a branch is refused by name."""
    if not (folder / "model.onnx").exists():
        pytest.skip("not an ONNX model")
    meta = meta_of(folder)
    try:
        graph = read(folder / "model.onnx")
    except UnsupportedError as error:
        assert all(problem.split("(")[1].startswith(("Loop", "Scan", "If")) for problem in error.problems)
        pytest.skip("control flow that depends on the data is not supported")
    for case in meta["cases"]:
        for name in case["files"]:
            _check_case(graph, np.load(folder / name), meta)


def _check_case(graph, arrays, meta):
    feed = {port.name: arrays[port.name if port.name in arrays else f"x{i}"] for i, port in enumerate(graph.inputs)}
    for i, found in enumerate(reference.run(graph, feed).values()):
        np.testing.assert_allclose(found, arrays[f"y{i}"], rtol=meta.get("rtol", 1e-4), atol=meta.get("atol", 2e-5))


def test_bad_corpus_files_end_in_one_clear_error(corpus):
    for meta_path in sorted(corpus.glob("bad_public/*/meta.json")):
        path, meta = meta_path.parent / "model.onnx", json.loads(meta_path.read_text())
        if not path.exists() or meta.get("links"):
            continue
        try:
            read(path)
        except EdgeLSTMError as error:
            assert str(path) in str(error)
        else:
            assert meta["expect"] != "reject", path
