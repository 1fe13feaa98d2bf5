"""What `edgelstm build` refuses, and its command line: every error says what was found, what is supported and what to do."""

import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest

import edgelstm
from edgelstm import axes
from edgelstm.builder import GraphBuilder
from edgelstm.cli import main
from edgelstm.format import write
from tests.built import cell, stack
from tests.test_stream import framed_graph
from tests.tiny_models import sequence_graph


@pytest.fixture
def path(tmp_path):
    write(cell("lstm"), tmp_path / "model.elstm")
    return tmp_path / "model.elstm"


def data_dependent():
    """A branch that depends on the data."""
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("B", "T", 2), batch=0, time=1)
    builder.output("y", builder.add("one_hot", builder.add("cast", x, to="int64"), depth=3))
    return axes.mark(builder.build())


def flat():
    """An output in which batch and time are one axis."""
    builder, rng = GraphBuilder(), np.random.default_rng(0)
    x = builder.input("x", "float32", ("B", "T", 3), batch=0, time=1)
    rows = builder.add("reshape", x, builder.constant(np.array([-1, 3])))
    builder.output("y", builder.add("dense", rows, builder.constant(rng.standard_normal((3, 2)))))
    return axes.mark(builder.build())


def test_models_that_need_the_future_name_the_node(tmp_path):
    with pytest.raises(edgelstm.UnsupportedError, match=r"'cell'.*backwards"):
        edgelstm.build(sequence_graph(reverse=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_open_frames_and_flattened_outputs_are_refused(tmp_path):
    builder, total = framed_graph()
    builder.output("y", builder.add("tanh", total))
    builder.output("sn", total)
    with pytest.raises(edgelstm.ShapeError, match="--fix samples"):
        edgelstm.build(axes.mark(builder.build(states=[("s", "sn")])), tmp_path / "out")
    with pytest.raises(edgelstm.EdgeLSTMError, match="time"):
        edgelstm.build(flat(), tmp_path / "out")


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"target": "toaster"}, edgelstm.BuildError, ["'toaster'", "native", "cortex-m7", "wasm32"]),
    ({"target": "x86_64-linux", "cpu": "toaster"}, edgelstm.BuildError, ["'toaster'", "haswell"]),
    ({"target": "cortex-m7", "cpu": "cortex-m4"}, edgelstm.BuildError, ["cortex-m7 alone"]),
    ({"target": "cortex-m0"}, edgelstm.BuildError, ["floating-point unit", "lstm_step", "--soft-float"]),
    ({"optimize": "beauty"}, edgelstm.BuildError, ["'beauty'", "'speed' or 'size'"]),
    ({"weights": "paper"}, edgelstm.BuildError, ["'paper'", "'constants' or 'blob'"]),
    ({"batch": 0}, edgelstm.ShapeError, ["whole number"]),
    ({"wings": 2}, TypeError, ["wings"]),
], ids=str)
def test_wrong_options_are_refused(tmp_path, options, error, words):
    with pytest.raises(error) as caught:
        edgelstm.build(cell("lstm"), tmp_path / "out", **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["ram", "flash"])
def test_limits_hold_to_the_byte(tmp_path, what):
    report = edgelstm.build(stack(), tmp_path / "free", "cortex-m7")
    needed = getattr(report, what)
    edgelstm.build(stack(), tmp_path / "fits", "cortex-m7", **{f"max_{what}": needed})
    with pytest.raises(edgelstm.BuildError, match=f"{needed} bytes.*{needed - 1}"):
        edgelstm.build(stack(), tmp_path / "over", "cortex-m7", **{f"max_{what}": needed - 1})
    assert (tmp_path / "fits").exists() and not (tmp_path / "over").exists()


def test_soft_float_is_allowed_with_a_warning(tmp_path):
    report = edgelstm.build(cell("lstm"), tmp_path / "out", "cortex-m0", soft_float=True)
    assert "__aeabi_fmul" in report.undefined
    assert any("warning" in note and "software" in note for note in report.notes)
    assert "`__aeabi_fmul`" in (tmp_path / "out" / "README.md").read_text()


def test_a_self_test_needs_a_probe(tmp_path):
    with pytest.raises(edgelstm.BuildError, match="probe"):
        edgelstm.build(replace(cell("lstm"), probes=()), tmp_path / "out", self_test=True)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH with nothing in it but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CC", raising=False)
    return folder


def test_a_missing_linker_is_named_with_its_package(tmp_path, tools):
    with pytest.raises(edgelstm.DependencyError, match="apt install gcc"):
        edgelstm.build(cell("lstm"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    edgelstm.build(cell("lstm"), tmp_path / "out", "cortex-m7")  # an object needs no linker


def test_a_linker_that_fails_says_why(tmp_path, tools):
    script = tools / "cc"
    script.write_text("#!/bin/sh\necho no room on device >&2\nexit 1\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ["PATH"] += ":/bin:/usr/bin"
    with pytest.raises(edgelstm.BuildError, match="no room on device"):
        edgelstm.build(cell("lstm"), tmp_path / "out")


def test_places_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(edgelstm.BuildError, match="is a file"):
        edgelstm.build(cell("lstm"), tmp_path / "file")
    with pytest.raises(edgelstm.BuildError, match="cannot write"):
        edgelstm.build(cell("lstm"), tmp_path / "file" / "below")


def test_the_source_may_be_anything_that_load_takes(tmp_path, path):
    graph = cell("lstm")
    for source in (path, str(path), path.read_bytes(), graph, edgelstm.load(graph)):
        assert edgelstm.build(source, tmp_path / "out", "cortex-m7").weights > 0
    with pytest.raises(edgelstm.FormatError, match=r"no such file|cannot read"):
        edgelstm.build(tmp_path / "absent.elstm", tmp_path / "out")
    with pytest.raises(edgelstm.FormatError, match="folder"):
        edgelstm.build(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize(("arguments", "code"), [
    ([], 0), (["--max-ram", "10K"], 0), (["--max-ram", "10"], 1), (["--max-flash", "1"], 1), (["-t", "toaster"], 2),
    (["--cpu", "toaster"], 2), (["-t", "cortex-m0"], 3), (["-t", "cortex-m0", "--soft-float"], 0), (["--batch", "0"], 2),
    (["-t", "cortex-m7", "--self-test", "--weights", "blob"], 0),
], ids=str)
def test_exit_codes(path, tmp_path, capsys, arguments, code):
    assert main(["build", str(path), "-o", str(tmp_path / "out"), "--json", *arguments]) == code
    out, err = capsys.readouterr()
    if code:
        assert not out and "edgelstm: error:" in err
    else:
        found = json.loads(out)
        assert found["flash"] == found["code"] + found["weights"] and found["ram"] == found["state"] + found["arena"]
        written = [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()]
        assert sorted(found["files"]) == sorted(written)


def test_targets_are_listed(capsys):
    assert main(["build", "--list-targets"]) == 0
    listed = capsys.readouterr().out
    assert main(["build", "--list-targets", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"native", "x86_64-linux", "aarch64-linux", "cortex-m7", "wasm32"} <= {target["name"] for target in found}
    assert all(target["name"] in listed and target["summary"] in listed for target in found)


@pytest.mark.parametrize("arguments", [["build"], ["build", "m.elstm"], ["build", "m", "-o", "d", "--max-ram", "much"],
                                       ["build", "m", "-o", "d", "--optimize", "beauty"]], ids=str)
def test_wrong_arguments_are_usage_errors(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_microcontrollers_are_built_for_size_unless_told_otherwise(path, tmp_path, capsys):
    sizes = []
    for options in ([], ["--optimize", "size"], ["--optimize", "speed"]):
        main(["build", str(path), "-o", str(tmp_path / "out"), "-t", "cortex-m7", "--json", *options])
        sizes.append(json.loads(capsys.readouterr().out)["code"])
    assert sizes[0] == sizes[1] < sizes[2]
