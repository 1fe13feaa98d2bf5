"""The commands: results, exit codes, and messages without a traceback."""

import json
import os
import subprocess
import sys
import wave
from dataclasses import replace

import numpy as np
import pytest

import edgelstm
from edgelstm.cli import main
from edgelstm.format import to_bytes, write
from edgelstm.graph import Probe
from tests.tiny_models import sequence_graph, step_graph, two_in_two_out_graph, write_onnx


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.elstm"
    write(sequence_graph(), path)
    return path


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((1, 6, 3)).astype(np.float32)


def refused(arguments, code, message, capsys):
    """The command ends with this code and says this, in one error without traceback."""
    try:
        found = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        found = stop.code
    said = capsys.readouterr().err
    assert found == code and message in said and "error: " in said and "Traceback" not in said


def test_convert_then_verify(tmp_path, capsys):
    pytest.importorskip("onnx", reason="converting ONNX models needs the onnx package")
    write_onnx(tmp_path / "tiny.onnx")
    assert main(["convert", str(tmp_path / "tiny.onnx"), "-o", str(tmp_path / "tiny.elstm"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == (tmp_path / "tiny.elstm").stat().st_size and found["provenance"]["source"] == "tiny.onnx"
    assert main(["verify", str(tmp_path / "tiny.elstm")]) == 0
    assert main(["verify", str(tmp_path / "tiny.onnx")]) == 0


def test_convert_exit_codes(tmp_path, capsys):
    pytest.importorskip("onnx", reason="converting ONNX models needs the onnx package")
    write_onnx(tmp_path / "odd.onnx", op="Warp")
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    out = ["-o", tmp_path / "out.elstm"]
    refused(["convert", tmp_path / "odd.onnx", *out], 3, "Warp", capsys)
    refused(["convert", tmp_path / "bad.keras", *out], 4, "bad.keras", capsys)
    refused(["convert", tmp_path / "none.keras", *out], 4, "none.keras", capsys)
    refused(["convert", tmp_path / "odd.onnx", *out, "--precision", "int9"], 2, "int9", capsys)
    refused(["convert", tmp_path / "odd.onnx", *out, "--fix", "sr"], 2, "NAME=VALUE", capsys)
    refused(["convert", tmp_path / "odd.onnx", *out, "--fix", "sr=fast"], 2, "not a number", capsys)
    refused(["convert", tmp_path / "odd.onnx"], 2, "-o", capsys)


def test_verify_reports_a_miss(tmp_path, capsys):
    graph = sequence_graph()
    probe = graph.probes[0]
    wrong = Probe(probe.inputs, {"y": probe.outputs["y"] + np.float32(0.1)}, "by hand")
    write(replace(graph, probes=(wrong,)), tmp_path / "wrong.elstm")
    assert main(["verify", str(tmp_path / "wrong.elstm"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"] and found["max_error"] == pytest.approx(0.1, rel=1e-3)


def test_verify_without_a_probe_or_with_damage(tmp_path, capsys):
    write(replace(sequence_graph(), probes=()), tmp_path / "none.elstm")
    assert main(["verify", str(tmp_path / "none.elstm")]) == 1
    assert "no probe" in capsys.readouterr().err
    damaged = bytearray(to_bytes(sequence_graph()))
    damaged[-1] ^= 1
    (tmp_path / "damaged.elstm").write_bytes(damaged)
    refused(["verify", tmp_path / "damaged.elstm"], 4, "damaged.elstm: the checksum", capsys)


def test_info_tells_everything(model, capsys):
    assert main(["info", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", "time", 3], "batch": 0, "time": 1}]
    assert found["outputs"][0]["shape"] == ["batch", "time", 4]
    assert found["layers"] == [{"name": "cell", "op": "lstm", "shape": ["batch", "time", 4], "parameters": 128,
                                "state": ["h (batch, 4)", "c (batch, 4)"], "precision": "float32", "bytes": 512}]
    assert found["parameters"] == 128 and found["bytes"]["weights"] == 512 and found["streaming"]["ok"]
    assert [arena["steps"] for arena in found["bytes"]["arenas"]] == [1, 100]
    assert main(["info", str(model)]) == 0
    said = capsys.readouterr().out
    assert "cell" in said and "(batch, time, 3)" in said and "made for tests" in said and "source: made here" in said


def test_info_names_what_prevents_streaming(tmp_path, capsys):
    write(sequence_graph(reverse=True), tmp_path / "back.elstm")
    assert main(["info", str(tmp_path / "back.elstm")]) == 0
    assert "streaming   no: node 'cell': it runs backwards" in capsys.readouterr().out


@pytest.mark.parametrize(("ending", "batch_axis"), [(".npy", True), (".npy", False), (".npz", True), (".npz", False),
                                                    (".csv", False)])
def test_run_reads_and_writes(model, x, tmp_path, ending, batch_axis):
    given, out = tmp_path / f"x{ending}", tmp_path / f"y{ending}"
    array = x if batch_axis else x[0]
    if ending == ".csv":
        np.savetxt(given, array, fmt="%.9g", delimiter=",", header="a,b,c", comments="")
    elif ending == ".npz":
        np.savez(given, x=array)
    else:
        np.save(given, array)
    assert main(["run", str(model), str(given), "-o", str(out)]) == 0
    expected = edgelstm.load(model).predict(x)
    if ending == ".csv":
        np.testing.assert_array_equal(np.loadtxt(out, np.float32, delimiter=","), expected[0])
    else:
        found = np.load(out)
        np.testing.assert_array_equal(found["y"] if ending == ".npz" else found, expected)


def test_run_prints_a_summary(model, x, tmp_path, capsys):
    np.save(tmp_path / "x.npy", x)
    assert main(["run", str(model), str(tmp_path / "x.npy")]) == 0
    assert capsys.readouterr().out.startswith("y  float32 [1, 6, 4]  ")
    assert main(["run", str(model), str(tmp_path / "x.npy"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["shape"] == [1, 6, 4]


def test_run_streams_the_same_numbers(model, x, tmp_path, capsys):
    np.save(tmp_path / "x.npy", x[0])
    assert main(["run", str(model), str(tmp_path / "x.npy"), "--stream", "-o", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), edgelstm.load(model).predict(x)[0], atol=2e-6)
    assert "6 steps, median" in capsys.readouterr().err


def test_run_frames_a_signal(model, tmp_path, capsys):
    signal = np.linspace(-1, 1, 20, dtype=np.float32)
    np.save(tmp_path / "s.npy", signal)
    assert main(["run", str(model), str(tmp_path / "s.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), edgelstm.load(model).predict(signal[:18].reshape(1, 6, 3)))
    assert "the last 2 of 20 samples" in capsys.readouterr().err


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_run_reads_wav(model, tmp_path, width):
    numbers = np.array([-1, -0.5, 0, 0.25, 0.5, 0.75])
    codes = [int(n * 2 ** (8 * width - 1)) + (128 if width == 1 else 0) for n in numbers]
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setparams((1, width, 16000, 0, "NONE", ""))
        file.writeframes(b"".join(code.to_bytes(width, "little", signed=width > 1) for code in codes))
    assert main(["run", str(model), str(tmp_path / "s.wav"), "-o", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), edgelstm.load(model).predict(numbers.reshape(1, 2, 3)))


@pytest.mark.parametrize("shape", [(18,), (6, 3), (6, 1, 3)], ids=["signal", "steps", "steps_batch"])
def test_run_streams_a_model_without_time_axis(x, tmp_path, shape, capsys):
    model = tmp_path / "step.elstm"
    write(step_graph(), model)
    np.save(tmp_path / "x.npy", x.reshape(shape))
    assert main(["run", str(model), str(tmp_path / "x.npy"), "--stream", "-o", str(tmp_path / "y.npy")]) == 0
    stream = edgelstm.load(model).stream()
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [stream.step(frame) for frame in x[0]])
    np.save(tmp_path / "wide.npy", np.ones((6, 4)))
    refused(["run", model, tmp_path / "wide.npy", "--stream"], 2, "takes 3 numbers", capsys)
    refused(["run", model, tmp_path / "x.npy", f"h={tmp_path / 'x.npy'}", "--stream"], 2, "'h' is a state", capsys)


def test_run_reads_stereo_wav_as_features(tmp_path):
    from edgelstm.cli.signals import read_arrays

    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setparams((2, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.array([[16384, -16384], [0, -32768]], "<i2").tobytes())
    np.testing.assert_array_equal(read_arrays(tmp_path / "s.wav")[None], [[0.5, -0.5], [0, -1]])


def test_run_with_several_inputs_and_outputs(tmp_path, x, capsys):
    model = tmp_path / "two.elstm"
    write(two_in_two_out_graph(), model)
    s = np.ones((6, 1), np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "s.csv", s)
    run = ["run", str(model), f"s={tmp_path / 's.csv'}", str(tmp_path / "x.npy")]
    assert main([*run, "-o", str(tmp_path / "y.npz")]) == 0
    expected = edgelstm.load(model).run({"x": x, "s": s[None]})
    for name, array in np.load(tmp_path / "y.npz").items():
        np.testing.assert_array_equal(array, expected[name])
    assert main([*run, "--stream", "-o", str(tmp_path / "t.npz")]) == 0
    streamed = np.load(tmp_path / "t.npz")
    np.testing.assert_allclose(streamed["last"][-1], expected["last"][0], atol=2e-6)
    refused([*run, "-o", tmp_path / "y.npy"], 2, ".npz", capsys)


def test_run_refuses(model, x, tmp_path, capsys):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "wide.npy", np.ones((1, 6, 5), np.float32))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.csv").write_text("a,b,c\n1,2,x\n")
    (tmp_path / "empty.csv").write_text("\n")
    (tmp_path / "bad.wav").write_bytes(b"RIFFnothing")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    for file, code, message in (("wide.npy", 2, "(1, 6, 5)"), ("none.npy", 4, "none.npy"), ("object.npy", 4, "object.npy"),
                                ("text.csv", 4, "text.csv"), ("empty.csv", 4, "no numbers"), ("bad.wav", 4, "bad.wav"),
                                ("bad.npz", 4, "bad.npz"), ("x.txt", 2, ".npy, .npz")):
        refused(["run", model, tmp_path / file], code, message, capsys)
    refused(["run", model, f"z={tmp_path / 'x.npy'}"], 2, "no input 'z'", capsys)
    refused(["run", model, tmp_path / "x.npy", tmp_path / "x.npy"], 2, "without a name", capsys)
    refused(["run", model, tmp_path / "x.npy", "-o", tmp_path / "y.txt"], 2, ".npy, .npz", capsys)
    refused(["run", model, tmp_path / "x.npy", "-o", tmp_path / "nowhere" / "y.npy"], 4, "y.npy", capsys)
    refused(["run", model], 2, "INPUT", capsys)
    refused([], 2, "COMMAND", capsys)


def test_doctor(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["numpy"] == np.__version__ and found["target"]["lanes"] >= 1
    assert main(["doctor"]) == 0
    assert "needed for" in capsys.readouterr().out


def test_a_closed_pipe_ends_quietly(model):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "edgelstm", "info", str(model)], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == b""


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, edgelstm.cli; print(*(m for m in ('numpy', 'numba', 'llvmlite', 'onnx', 'h5py') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_warm_fills_a_directory_that_needs_no_compiler(model, tmp_path, capsys):
    pytest.importorskip("numba", reason="compiling kernels needs numba")
    place = tmp_path / "cache"
    assert main(["warm", "-d", str(place), "--kernel", "copy4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernels"] == ["copy4"]
    code = ("import sys; from edgelstm.native import link, run_table; import numpy\n"
            "assert link(['copy4'])['copy4']; run_table(numpy.zeros(1, 'i8')); assert 'numba' not in sys.modules\n"
            "assert sys.platform != 'linux' or 'llvmlite' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "EDGELSTM_CACHE": str(place)}, check=True)
    assert os.environ.get("EDGELSTM_CACHE") != str(place)


def test_warm_refuses(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    refused(["warm", "-d", tmp_path / "file"], 5, "is not a directory", capsys)
    refused(["warm", "--kernel", "nothing"], 2, "no kernel is called 'nothing'", capsys)
