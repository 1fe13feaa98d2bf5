"""`edgelstm bench` and the side-by-side benchmark: what they tell, refuse and compare. Times themselves are not judged."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from bench.cells import Cell
from edgelstm.benchmark import feeds, regression, timing
from edgelstm.benchmark.profile import bound_run
from edgelstm.cli import main
from edgelstm.cli.bench import PEERS
from edgelstm.errors import FormatError
from edgelstm.format import write
from edgelstm.ops import time_parts
from tests.tiny_models import sequence_graph, step_graph, two_in_two_out_graph, write_onnx

QUICK = ["--seconds", "0.02", "--starts", "0", "--steps", "6"]
LATENCY = {"p50_us", "p90_us", "p99_us", "max_us", "calls", "steps_per_second", "native_us", "door_us", "python_us", "kernels"}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "tiny.elstm"
    write(sequence_graph(), path)
    return path


@pytest.fixture
def report(model, capsys):
    return bench([model, "--json"], capsys)


def bench(arguments, capsys, code=0):
    """The JSON that the command gives; its exit code is checked."""
    assert main(["bench", *map(str, arguments), *QUICK]) == code
    return json.loads(capsys.readouterr().out)


def refused(arguments, code, message, capsys):
    try:
        found = main(["bench", *map(str, arguments)])
    except SystemExit as stop:
        found = stop.code
    said = capsys.readouterr().err
    assert found == code and message in said and "Traceback" not in said, said


def test_a_report_tells_latency_bytes_and_kernels(report):
    for part in ("step", "sequence"):
        found = report[part]
        assert set(found) == LATENCY and found["p50_us"] <= found["p90_us"] <= found["p99_us"] <= found["max_us"]
        assert sum(call["share_percent"] for call in found["kernels"]) == pytest.approx(100)
    assert report["bytes"]["weights"] == 512 and report["bytes"]["state"] > 0
    assert "start" not in report and report["settings"] == {"steps": 6, "batch": 1, "threads": 1, "seconds": 0.02}


def test_a_report_for_people(model, capsys):
    assert main(["bench", str(model), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "p99" in said and "kernels of a step" in said and "512 bytes as stored" in said


def test_start_up_runs_fresh_processes(model, capsys):
    assert main(["bench", str(model), "--json", "--seconds", "0.02", "--starts", "1"]) == 0
    start = json.loads(capsys.readouterr().out)["start"]
    assert start["cold_ms"] > 0 and start["warm_ms"] > 0 and start["numpy_ms"] > 0
    assert start["peak_rss"] is None or start["peak_rss"] > 1 << 20


@pytest.mark.parametrize("graph", [step_graph, two_in_two_out_graph])
def test_other_kinds_of_models(graph, tmp_path, capsys):
    write(graph(), tmp_path / "m.elstm")
    found = bench([tmp_path / "m.elstm", "--json", "--batch", "2", "--against", "numpy"], capsys)
    assert found["step"]["calls"] > 0 and found["against"]["numpy"]["ratio"] > 0


def test_a_model_that_cannot_stream(tmp_path, capsys):
    write(sequence_graph(reverse=True), tmp_path / "back.elstm")
    found = bench([tmp_path / "back.elstm", "--json"], capsys)
    assert "runs backwards" in found["step"]["refused"] and found["sequence"]["p50_us"] > 0


def test_comparison_with_an_older_report(model, report, tmp_path, capsys):
    slow, fast = tmp_path / "slow.json", tmp_path / "fast.json"
    for path, factor in ((slow, 1e6), (fast, 1e-6)):
        changed = {part: report[part] | {key: report[part][key] * factor for key in ("p50_us", "native_us")}
                   for part in ("step", "sequence")}
        path.write_text(json.dumps(report | changed))
    found = bench([model, "--json", "--compare", slow, "--max-regression", "10%"], capsys)
    names = [f"{part} {median}" for part in ("step", "sequence") for median in ("p50_us", "native_us")]
    assert [row["name"] for row in found["compared"]] == names
    assert main(["bench", str(model), *QUICK, "--compare", str(fast)]) == 1
    assert "SLOWER" in capsys.readouterr().err


def test_comparison_refuses_what_is_not_alike(model, report, tmp_path, capsys):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(report))
    other = tmp_path / "other.elstm"
    write(sequence_graph(reverse=True), other)
    refused([other, *QUICK, "--compare", path], 4, "another model", capsys)
    refused([model, *QUICK, "--batch", "2", "--compare", path], 4, "batch was 1, is 2", capsys)
    path.write_text(json.dumps(report | {"machine": {"cpu": "abacus"}}))
    refused([model, *QUICK, "--compare", path], 4, "another machine", capsys)
    path.write_text("{")
    refused([model, *QUICK, "--compare", path], 4, "not JSON", capsys)
    path.write_text("{}")
    refused([model, *QUICK, "--compare", path], 4, "not a report", capsys)
    refused([model, *QUICK, "--compare", tmp_path / "none.json"], 4, "none.json", capsys)


@pytest.mark.parametrize("change", [{"model": 3}, {"step": {"p50_us": "fast"}}])
def test_damaged_reports(report, change, tmp_path):
    with pytest.raises(FormatError):
        regression.compare(report | change, report, tmp_path / "old.json")


def test_the_same_model_from_another_file_is_comparable(report):
    from edgelstm.benchmark.measure import fingerprint

    graph = sequence_graph()
    bare = replace(graph, provenance={}, notes=(), probes=())
    assert fingerprint(graph) == fingerprint(bare) == report["model"]["sha256"]
    assert fingerprint(sequence_graph(reverse=True)) != fingerprint(graph)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--against", "abacus"], "abacus"), (["--max-regression", "much"], "percentage"), (["--steps", "0"], "at least 1"),
    (["--seconds", "-1"], "seconds"), (["--starts", "few"], "whole number")])
def test_usage(model, arguments, message, capsys):
    refused([model, *arguments], 2, message, capsys)


def test_plot(model, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    assert main(["bench", str(model), *QUICK, "--plot", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    refused([model, *QUICK, "--plot", tmp_path / "none" / "p.png"], 4, "cannot write the plot", capsys)


def test_against_onnxruntime(tmp_path, capsys):
    pytest.importorskip("onnx", reason="writing ONNX models needs the onnx package")
    pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    write_onnx(tmp_path / "tiny.onnx")
    found = bench([tmp_path / "tiny.onnx", "--json", "--against", "onnxruntime,torch,litert"], capsys)["against"]
    assert found["onnxruntime"]["ratio"] > 0 and found["onnxruntime"]["max_error"] < 1e-6
    assert "reads no file" in found["torch"]["missing"] and ".tflite" in found["litert"]["missing"]


def test_a_source_that_computes_something_else_is_not_compared(model, tmp_path, capsys):
    pytest.importorskip("onnx", reason="writing ONNX models needs the onnx package")
    pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    write_onnx(tmp_path / "tiny.onnx")
    found = bench([model, "--json", "--source", tmp_path / "tiny.onnx", "--against", "onnxruntime"], capsys)["against"]
    assert "it gives the shapes" in found["onnxruntime"]["missing"]
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    found = bench([model, "--json", "--source", tmp_path / "bad.onnx", "--against", "onnxruntime"], capsys)["against"]
    assert "refuses the file" in found["onnxruntime"]["missing"]


def test_the_command_knows_every_runtime():
    from edgelstm.benchmark import peers

    assert tuple(peers.PEERS) == PEERS


def test_inputs_change_and_stay_inside_tables():
    graph = sequence_graph()
    first, second = feeds.sequences(graph, 2, 5, 2)
    assert first["x"].shape == (2, 5, 3) and not np.array_equal(first["x"], second["x"])
    assert [frame["x"].shape for frame in feeds.frames(graph, 1, 2)] == [(3,), (3,)]
    assert feeds.frames(graph, 2, 1)[0]["x"].shape == (2, 3)


def test_percentiles_and_turns():
    found = timing.summary(np.arange(1, 101) * 1e3)
    assert found["p50_us"] == pytest.approx(50.5) and found["max_us"] == 100 and found["calls"] == 100
    calls = []
    taken = timing.turns([calls.extend, lambda xs: None], [1, 2, 3], 0.01)
    assert taken.shape[1] == 2 and len(taken) >= timing.LEAST_TURNS and set(calls) == {1, 2, 3}


def test_settled_turns_begin_without_threads_that_are_busy_for_another():
    busy, found = [], []

    def spin():
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end:
            pass

    def spinning(xs):
        busy.append(threading.Thread(target=spin))
        busy[-1].start()

    timing.turns([spinning, lambda xs: found.append(any(thread.is_alive() for thread in busy))], [1], 0.01, settled=True)
    assert found[-2 * timing.LEAST_TURNS:] == [False] * (2 * timing.LEAST_TURNS)
    for thread in busy:
        thread.join()


def test_the_parts_of_a_long_sequence_count_as_one_call(monkeypatch):
    monkeypatch.setattr(time_parts, "PART", 1)
    monkeypatch.setattr(time_parts, "LEAST_ROWS", 4)
    graph = Cell("lstm", 3, 5, layers=2).graph
    bound = bound_run(graph, {"x": np.zeros((1, 16, 3), np.float32)}, 1, 16)
    assert len(bound.program.kernels) == 16
    assert [call["kernel"] for call in bound.calls()] == ["gemm4", "lstm"] * 2


def test_the_peak_of_memory_is_that_of_the_process_alone(model):
    """Not what the process held that started it: 200 MB are held here, and Python with NumPy takes 30."""
    ballast = np.ones(25_000_000)
    command = [sys.executable, "-m", "edgelstm.benchmark.first_output", str(model), "1", "1", "1"]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    peaks = [json.loads(output)["peak_rss"] for output in outputs]
    assert ballast.nbytes == 200_000_000
    assert 10 << 20 < peaks[-1] < 100 << 20
