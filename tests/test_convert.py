"""convert(): what it writes, what it proves, and how it refuses. verify(): what counts as a miss."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.builder import GraphBuilder
from edgelstm.format import read, write
from edgelstm.graph import Probe
from edgelstm.probe import with_probes
from edgelstm.verify import Report, verify
from tests.tiny_models import sequence_graph, write_onnx

EXAMPLES = Path(__file__).parent.parent / "examples"

pytest.importorskip("onnx", reason="converting ONNX models needs the onnx package")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "tiny.onnx"
    write_onnx(path)
    return path


def test_writes_what_it_returns(source, tmp_path):
    graph = edgelstm.convert(source, tmp_path / "tiny.elstm")
    again = read(tmp_path / "tiny.elstm")
    assert again.nodes == graph.nodes and again.inputs == graph.inputs
    assert (again.inputs[0].time, again.inputs[0].batch) == (0, 1)


def test_provenance_names_the_source_but_not_its_folder(source):
    found = edgelstm.convert(source).provenance
    assert found["source"] == "tiny.onnx" and found["edgelstm"] == edgelstm.__version__
    assert found["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def test_probes_are_the_reference_and_seeded(source):
    graph = edgelstm.convert(source)
    assert [probe.inputs["x"].shape for probe in graph.probes] == [(7, 2, 3), (12, 1, 3)]
    for probe, again in zip(graph.probes, edgelstm.convert(source).probes, strict=True):
        np.testing.assert_array_equal(probe.inputs["x"], again.inputs["x"])
        np.testing.assert_allclose(probe.outputs["y"], reference.run(graph, probe.inputs)["y"], rtol=1e-6)


def test_probe_tokens_stay_inside_the_table(tmp_path):
    write_onnx(tmp_path / "tokens.onnx", tokens=3)
    tokens = edgelstm.convert(tmp_path / "tokens.onnx").probes[1].inputs["x"]
    assert tokens.dtype == np.int64 and tokens.min() == 0 and tokens.max() == 2


def test_without_probe(source):
    assert edgelstm.convert(source, probe=False).probes == ()


def test_the_same_source_gives_the_same_bytes(source, tmp_path):
    for name in ("a.elstm", "b.elstm"):
        edgelstm.convert(source, tmp_path / name)
    assert (tmp_path / "a.elstm").read_bytes() == (tmp_path / "b.elstm").read_bytes()


def test_unsupported_writes_nothing_and_lists_the_problem(tmp_path):
    write_onnx(tmp_path / "odd.onnx", op="Warp")
    with pytest.raises(edgelstm.UnsupportedError, match="Warp") as caught:
        edgelstm.convert(tmp_path / "odd.onnx", tmp_path / "odd.elstm")
    assert len(caught.value.problems) == 1 and not (tmp_path / "odd.elstm").exists()


@pytest.mark.parametrize("options", [{"calibration": np.ones(3)}, {"max_error": 0.1}], ids=["calibration", "max_error"])
def test_refuses_options_that_float32_has_no_use_for(source, options):
    with pytest.raises(edgelstm.PrecisionError, match="float32"):
        edgelstm.convert(source, **options)


def test_refuses_what_is_no_source(source, tmp_path):
    write(sequence_graph(), tmp_path / "done.elstm")
    for path, message in ((tmp_path / "none.keras", "none.keras: there is no such file"), (tmp_path, "is a folder"),
                          (tmp_path / "done.elstm", r"edgelstm\.load")):
        with pytest.raises(edgelstm.FormatError, match=message):
            edgelstm.convert(path)
    with pytest.raises(edgelstm.FormatError, match="there is no folder"):
        edgelstm.convert(source, tmp_path / "nowhere" / "tiny.elstm")


class Fake:
    """A model that gives known outputs."""

    def __init__(self, graph, outputs):
        self.graph, self._outputs = graph, outputs

    def run(self, inputs):
        return {"y": np.array(self._outputs, np.float32)}


def probed(expected):
    probe = Probe({}, {"y": np.array(expected, np.float32)}, "by hand", atol=0.1, rtol=0.0)
    return replace(sequence_graph(), probes=(probe,))


@pytest.mark.parametrize(("expected", "found", "ok", "error"), [
    ([1, 2], [1, 2.0625], True, 0.0625),
    ([1, 2], [1, 2.25], False, 0.25),
    ([np.nan, np.inf], [np.nan, np.inf], True, 0.0),
    ([1, 2], [1, np.nan], False, np.inf),
    ([1, np.inf], [1, 5], False, np.inf),
    ([1, 2], [1, 2, 3], False, np.inf),
], ids=["within", "beyond", "same_nan", "new_nan", "lost_infinity", "shape"])
def test_verify_rows(expected, found, ok, error):
    report = verify(Fake(probed(expected), found))
    assert (report.ok, report.max_error) == (ok, error) and report.rows[0].name == "y"
    assert ("MISS" in str(report)) is not ok


def test_verify_without_a_probe_proves_nothing():
    report = verify(Fake(replace(sequence_graph(), probes=()), []))
    assert report == Report(()) and not report.ok and "no probe" in str(report)


def test_a_source_is_never_overwritten(tmp_path):
    source = tmp_path / "model.keras"
    source.write_bytes((EXAMPLES / "forecast" / "model.keras").read_bytes())
    content = source.read_bytes()
    (tmp_path / "link.elstm").symlink_to(source)
    for destination in (source, tmp_path / "." / "model.keras", tmp_path / "link.elstm"):
        with pytest.raises(edgelstm.FormatError, match="never overwritten"):
            edgelstm.convert(source, destination)
    assert source.read_bytes() == content


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe") if hasattr(os, "mkfifo") else (tmp_path / "pipe").mkdir()
    with pytest.raises(edgelstm.FormatError, match="regular file"):
        edgelstm.convert(EXAMPLES / "forecast" / "model.keras", tmp_path / "pipe", probe=False)


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "link.elstm").symlink_to(tmp_path / "target.elstm")
    edgelstm.convert(EXAMPLES / "forecast" / "model.keras", tmp_path / "link.elstm", probe=False)
    assert (tmp_path / "link.elstm").is_symlink()
    assert edgelstm.load(tmp_path / "target.elstm").streaming.ok


def test_attributes_beyond_float32_are_refused():
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("batch", 3))
    with pytest.raises(edgelstm.FormatError, match="max"):
        builder.add("clip", x, max=1e300)
    builder.add("clip", x, max=float("inf"))


def test_fixed_values_are_not_changed(tmp_path):
    from onnx import TensorProto, helper, save

    ports = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in (("x", [2]), ("n", []))]
    graph = helper.make_graph([helper.make_node("Add", ["x", "n"], ["y"])], "g", ports,
                              [helper.make_tensor_value_info("y", TensorProto.INT64, [2])])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    for value in (2.7, float("nan"), "5", 2**70, [1, 2]):
        with pytest.raises(edgelstm.ShapeError, match="'n'"):
            edgelstm.convert(tmp_path / "m.onnx", fix={"n": value})
    assert edgelstm.load(edgelstm.convert(tmp_path / "m.onnx", fix={"n": 5.0})).predict([1, 2]).tolist() == [6, 7]


def test_values_too_large_to_try_are_refused_or_not_probed(tmp_path):
    """A few bytes of a hostile file ask for gigabytes: a value over 2**31 elements is refused, one below is not tried."""
    def repeated(times):
        builder = GraphBuilder()
        x = builder.input("x", "float32", ("batch", 1))
        builder.output("y", builder.add("tile", x, builder.constant(np.array([1, times], np.int64))))
        return builder.build()

    with pytest.raises(edgelstm.ShapeError, match="2,147,483,648 elements"):
        edgelstm.load(repeated(2**31)).predict(np.zeros((1, 1), np.float32))
    graph = with_probes(repeated(2**27))
    assert not graph.probes
    assert "no probe" in graph.notes[-1] and "67,108,864 are tried" in graph.notes[-1]
    assert with_probes(repeated(2**10)).probes
