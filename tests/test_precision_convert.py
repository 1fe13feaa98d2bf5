"""`convert` in reduced precision: what each choice makes of real conversions, and errors that write nothing."""

import json

import numpy as np
import pytest

import edgelstm
from edgelstm import precision
from edgelstm.cli import main
from edgelstm.probe import EXACT_SOURCE, SOURCE
from tests.conftest import stacked_graph
from tests.tiny_models import FEATURES, write_onnx

REDUCED = ("bfloat16", "int8", "int8-static", "int4")


@pytest.fixture
def source(tmp_path):
    write_onnx(tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


@pytest.fixture
def data(rng):
    """Frames as the tiny model takes them: time first."""
    return rng.standard_normal((20, 2, FEATURES)).astype(np.float32)


def precisions(graph):
    return {node.name: node.attrs["precision"] for node in graph.nodes if "precision" in node.attrs}


@pytest.mark.parametrize("name", REDUCED)
def test_a_file_of_reduced_precision_proves_itself(name, source, data, tmp_path):
    exact = edgelstm.convert(source)
    given = data if name == "int8-static" else None
    graph = edgelstm.convert(source, tmp_path / "small.elstm", precision=name, calibration=given)
    assert set(precisions(graph).values()) == {name} and graph.provenance["precision"] == {"requested": name}
    assert graph.parameters == exact.parameters
    model = edgelstm.load(tmp_path / "small.elstm")
    report = model.verify()
    assert report.ok and [probe.source for probe in model.graph.probes] == [SOURCE, SOURCE, EXACT_SOURCE]
    own, against_source = report.rows[:2], report.rows[2]
    assert all(row.max_error < 2e-5 for row in own)
    assert 1e-5 < against_source.max_error < against_source.tolerance < 0.2
    expected = edgelstm.load(exact).run(model.graph.probes[2].inputs)["y"]
    np.testing.assert_allclose(model.graph.probes[2].outputs["y"], expected, atol=1e-6)


def test_verify_notices_other_weights(source, tmp_path):
    """A tolerance that covered any int8 model would prove nothing."""
    graph = edgelstm.convert(source, precision="int8")
    name = next(name for name, array in graph.constants.items() if array.dtype == np.int8)
    worn = graph.constants[name].copy()
    worn[0] = np.clip(worn[0].astype(int) + 12, -127, 127)
    changed = edgelstm.Graph(**{**vars(graph), "constants": {**graph.constants, name: worn}})
    assert edgelstm.load(graph).verify().ok and not edgelstm.load(changed).verify().ok


def test_the_same_conversion_gives_the_same_bytes(source, data, tmp_path):
    for name in ("a", "b"):
        edgelstm.convert(source, tmp_path / name, precision="int4", calibration=data, max_error=0.5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_integer_models_are_converted_and_verified(source, data, tmp_path):
    graph = edgelstm.convert(source, tmp_path / "whole.elstm", precision="integer", calibration=data, max_error=0.1)
    assert "lstm_integer" in {node.op for node in graph.nodes} and graph.provenance["precision"]["error"] < 0.1
    assert edgelstm.load(tmp_path / "whole.elstm").verify().ok
    ports = edgelstm.convert(source, precision="integer-ports", calibration=data)
    assert ports.inputs[0].dtype == "int8" and edgelstm.load(ports).verify().ok


def test_auto_is_converted_and_verified(source, data, tmp_path):
    graph = edgelstm.convert(source, tmp_path / "auto.elstm", precision="auto", calibration=data, max_error=0.05)
    told = graph.provenance["precision"]
    assert told["chosen"] == precisions(graph) and told["error"] <= 0.05 and edgelstm.load(graph).verify().ok


@pytest.mark.parametrize(("names", "expected"), [
    ({"lstm": "int8"}, ("int8", "float32", "float32", "float32")),
    ({"*": "int8", "gru": "bfloat16", "dense": "float32"}, ("int8", "bfloat16", "int8", "float32")),
    ({}, ("float32",) * 4),
])
def test_layers_by_name(names, expected):
    graph = stacked_graph()
    chosen = precision.resolve(graph, names)
    assert tuple(precisions(precision.apply(graph, chosen)).values()) == expected


@pytest.mark.parametrize(("layer", "nodes"), [
    ("lstm_1", ["lstm_1/forward", "lstm_1/backward"]), ("lstm_1/forward", ["lstm_1/forward"]), ("dense", ["wrapper/dense"]),
    ("wrapper", ["wrapper/dense"]), ("gru", ["gru", "gru.1"]), ("gru.1", ["gru.1"]), ("lstm", ["block/0/lstm"])])
def test_what_a_name_means(layer, nodes):
    from edgelstm.precision.choose import _named

    known = ["lstm_1/forward", "lstm_1/backward", "wrapper/dense", "gru", "gru.1", "gru_2", "block/0/lstm"]
    found = _named(layer, known, stacked_graph())
    assert found == nodes


@pytest.mark.parametrize(("options", "message"), [
    ({"precision": "int9"}, "supported are float32, bfloat16, int8, int8-static, int8x16, int4, auto, integer, integer-ports"),
    ({"precision": {"cell": "int9"}}, "'int9' is not supported"),
    ({"precision": {"cell": "auto"}}, "'auto' is for whole models"),
    ({"precision": 8}, "precision is 8"),
    ({"precision": {"celt": "int8"}}, r"no layer 'celt'; its layers with weights are \['cell'\]"),
    ({"precision": "int8-static"}, "give data as `predict` takes them"),
    ({"precision": "integer"}, "give data as `predict` takes them"),
    ({"precision": {"cell": "int8-static"}}, "give data as `predict` takes them"),
    ({"precision": "int8", "max_error": 1e-9}, "the largest error on seeded inputs is .* above max_error = 1e-09"),
    ({"precision": "auto", "max_error": -1.0}, "max_error is -1.0"),
    ({"precision": "int8", "max_error": float("nan")}, "max_error is nan"),
    ({"precision": "int8", "max_error": "much"}, "max_error is 'much'"),
    ({"precision": "int8", "calibration": np.zeros((20, 2, FEATURES + 1))}, "calibration data do not fit the model"),
    ({"precision": "int8", "calibration": np.full((20, 2, FEATURES), np.nan)}, "NaN or infinity"),
    ({"precision": "int8", "calibration": "nowhere.npy"}, "nowhere.npy"),
    ({"precision": "int8-static", "calibration": np.zeros((0, 2, FEATURES))}, "empty"),
    ({"precision": "int8", "activation_range": "all"}, "activation_range 'all'"),
    ({"precision": "int8", "activation_range": "max"}, "int8-static, integer"),
    ({"precision": "integer-ports", "max_error": 0.1, "calibration": np.zeros((9, 2, FEATURES))}, "max_error compares outputs"),
    ({"activation_range": "max"}, "activation_range is for reduced precisions"),
])
def test_refuses_and_writes_nothing(options, message, source, tmp_path):
    with pytest.raises(edgelstm.PrecisionError, match=message):
        edgelstm.convert(source, tmp_path / "none.elstm", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.onnx"]


def test_max_error_is_that_of_the_calibration_data(source, data, tmp_path):
    graph = edgelstm.convert(source, precision="int8", calibration=data, max_error=0.5)
    told = graph.provenance["precision"]
    exact, found = (edgelstm.load(g).predict(data) for g in (edgelstm.convert(source), graph))
    assert told["error"] == pytest.approx(np.max(np.abs(exact - found))) and told["max_error"] == 0.5
    with pytest.raises(edgelstm.PrecisionError, match="on the calibration data is"):
        edgelstm.convert(source, precision="int8", calibration=data, max_error=told["error"] * 0.01)


@pytest.mark.parametrize("given", [{"calibrated": True}, {"calibrated": True, "max_error": 0.5}, {"max_error": 0.5}])
def test_int8_reads_activations_of_16_bits_where_8_miss_the_limit(given, source, data):
    """And says so. The usual limit is a hundredth of the largest output, on calibration data; max_error takes its place."""
    options = {"calibration": data if given.get("calibrated") else None}
    coarse = edgelstm.convert(source, precision="int8", max_error=0.5, **options)
    assert set(precisions(coarse).values()) <= {"int8", "int8x16"} and precisions(coarse)["cell"] == "int8" and not coarse.notes
    error, exact = coarse.provenance["precision"]["error"], edgelstm.load(edgelstm.convert(source)).predict(data)
    limit = np.max(np.abs(exact)) / 100 if "max_error" not in given else 0.97 * error
    found = edgelstm.convert(source, precision="int8", **options, **({} if "max_error" not in given else {"max_error": limit}))
    finer = error > limit
    assert precisions(found)["cell"] == ("int8x16" if finer else "int8")
    assert any("int8x16 in place of int8 for cell" in note for note in found.notes) == finer
    named = edgelstm.convert(source, precision={"cell": "int8"}, **options)
    assert precisions(named)["cell"] == "int8" and not named.notes


def test_stored_bytes_are_told(tmp_path, capsys):
    graph = stacked_graph(features=128, units=256)
    small = precision.apply(graph, precision.resolve(graph, "int8"))
    exact = edgelstm.load(graph).footprint().weights
    assert edgelstm.load(small).footprint().weights == sum(array.nbytes for array in small.constants.values()) < 0.27 * exact
    tiny = precision.apply(graph, precision.resolve(graph, "int4"))
    assert edgelstm.load(tiny).footprint().weights < 0.16 * exact
    (tmp_path / "small.elstm").write_bytes(edgelstm.format.to_bytes(small))
    assert main(["info", str(tmp_path / "small.elstm"), "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    names = ("lstm", "gru", "simple_rnn", "dense")
    assert {layer["name"]: layer["precision"] for layer in layers} == dict.fromkeys(names, "int8") | {"dense": "int8x16"}
    assert sum(layer["bytes"] for layer in layers) == edgelstm.load(small).footprint().weights
    assert sum(layer["parameters"] for layer in layers) == graph.parameters


def test_command_line(source, data, tmp_path, capsys):
    out = tmp_path / "out.elstm"
    np.save(tmp_path / "data.npy", data)
    common = ["convert", str(source), "-o", str(out), "--json"]
    assert main([*common, "--precision", "int8-static", "--calibration", str(tmp_path / "data.npy"), "--max-error", "0.5",
                 "--activation-range", "max"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["provenance"]["precision"]["error"] == pytest.approx(found["errors"]["max_error"], rel=1e-3)
    assert "int8-static" in said.err and "SNR" in said.err
    assert main([*common, "--precision", "cell=int4", "--precision", "bfloat16"]) == 0
    assert precisions(edgelstm.load(out).graph) == {"cell": "int4"}
    before = out.read_bytes()
    for wrong in (["--precision", "int8", "--max-error", "1e-9"], ["--precision", "cell=int8", "--precision", "cell=int4"],
                  ["--precision", "nothing=int8"], ["--calibration", str(tmp_path / "data.npy")], ["--plot", "x.png"],
                  ["--precision", "int8", "--calibration", str(tmp_path / "none.npy")]):
        assert main([*common, *wrong]) == 2
        assert "error: " in capsys.readouterr().err and out.read_bytes() == before
    with pytest.raises(SystemExit, match="2"):
        main([*common, "--precision", "int8", "--max-error", "much"])


@pytest.mark.parametrize("limit", [np.float32(0.5), np.int64(1), 1])
def test_a_limit_may_be_any_number(limit, source, tmp_path):
    graph = edgelstm.convert(source, tmp_path / "small.elstm", precision="int8", max_error=limit)
    assert edgelstm.load(tmp_path / "small.elstm").graph.provenance["precision"] == graph.provenance["precision"]
