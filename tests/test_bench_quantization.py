"""The benchmark of reduced precision: its targets, its rows, and what it says when a figure cannot be had."""

import json

import pytest

from bench import quantization
from bench.cells import Cell
from bench.peers import onnxruntime_int8_runner
from bench.runners import NotComparable, Runner, Work, edgelstm_runner


def test_every_figure_of_the_targets_is_there():
    targets = {row: list(speed.targets.values()) for row, speed in quantization.SPEEDS.items()}
    assert targets == {"step": [0.60, 0.75, 0.85, 0.95], "sequence": [0.75, 0.80, 0.90, 0.95],
                       "bfloat16": [0.60, 0.55, 0.52, 0.50], "int4": [1.0, 0.90, 0.75, 0.75], "gru": [1 / 3] * 3}
    assert list(quantization.SPEEDS["gru"].targets) == ["64,256", "128,512", "512,1024"]


def test_tensor_bytes_keep_their_limits():
    found = list(quantization.tensor_bytes())
    assert [one["target"] for one in found] == [0.51, 0.27, 0.16]
    assert not any(quantization.missed(one) for one in found)


@pytest.mark.parametrize(("found", "missed"), [
    ({"value": 2.0, "ratio": 0.5, "target": 0.6}, False), ({"value": 0.5, "ratio": 0.7, "target": 0.6}, True),
    ({"value": 0.5, "target": 0.6}, False), ({"value": float("nan"), "target": 0.6}, True),
    ({"value": 9.0, "target": None}, False), ({"missing": "why", "target": 0.6}, False),
])
def test_misses(found, missed):
    assert quantization.missed(found) == missed


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_the_timed_numbers_are_right(precision):
    work = Work(Cell("lstm", 5, 33), "sequence", steps=20, batch=2, precision=precision)
    inputs, expected = quantization.side_by_side.checked_inputs(Work(work.cell, "sequence", steps=20, batch=2))
    assert quantization.side_by_side.largest_error(edgelstm_runner(work), inputs, expected) < 0.2


def test_wrong_and_missing_runtimes_are_told(monkeypatch):
    def none(work: Work) -> Runner:
        raise NotComparable("not here")

    def wrong(work: Work) -> Runner:
        runner = edgelstm_runner(work)
        return Runner("Wrong", runner.burst, lambda: runner.last() + 1)

    small = {"3,5": 1.0}
    for peer, text in ((none, "not here"), (wrong, "wrong numbers")):
        speed = quantization.Speed("lstm", "step", "int8", peer, small)
        monkeypatch.setitem(quantization.SPEEDS, "step", speed)
        assert text in quantization.speed("step", "3,5", 0.01)["missing"]


def test_own_int4_beside_own_int8(monkeypatch):
    speed = quantization.Speed("lstm", "step", "int4", quantization._own_int8, {"3,5": 1.0})
    monkeypatch.setitem(quantization.SPEEDS, "int4", speed)
    found = quantization.speed("int4", "3,5", 0.01)
    assert found["ratio"] > 0 and found["beside"].startswith("EdgeLSTM int8")
    assert len(quantization.cells(found)) == len(quantization.HEADS)


def test_the_peer_in_int8_is_what_it_says():
    pytest.importorskip("onnxruntime.quantization", reason="the peer's own tool makes its int8 model")
    work = Work(Cell("lstm", 5, 32), "sequence", steps=20, batch=2)
    inputs, expected = quantization.side_by_side.checked_inputs(work)
    error = quantization.side_by_side.largest_error(onnxruntime_int8_runner(work), inputs, expected)
    assert 1e-4 < error < 0.05
    with pytest.raises(NotComparable, match="no int8 GRU"):
        onnxruntime_int8_runner(Work(Cell("gru", 5, 32), "step"))


def test_the_program_prints_json_and_markdown(capsys):
    assert quantization.main(["--rows", "bytes", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["figures"]) == 3
    assert quantization.main(["--rows", "bytes", "--markdown"]) == 0
    assert "| bytes | 128,512 |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        quantization.main(["--rows", "unheard"])
