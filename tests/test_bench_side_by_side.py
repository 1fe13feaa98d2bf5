"""The side-by-side benchmark: every runtime computes the same layer, and the table says what was found."""

import json

import numpy as np
import pytest

from bench import ceilings, grid, side_by_side
from bench.cells import Cell
from bench.peers import PEERS
from bench.report import markdown
from bench.runners import NotComparable, Work, edgelstm_runner

CELLS = [Cell("lstm", 3, 5), Cell("gru", 3, 5), Cell("simple_rnn", 3, 5)]
DEEP = Cell("lstm", 3, 5, layers=2, directions=2)
WORKS = [*(Work(cell, form) for cell in CELLS for form in ("step", "advance")),
         *(Work(cell, "sequence", steps=6, batch=2) for cell in [*CELLS, DEEP])]
LIMITS = ceilings.Ceilings({"L1": (1 << 15, 200.0), "memory": (1 << 28, 20.0)}, 100.0, 1.0, 10.0, 3.0)


@pytest.mark.parametrize("name", ["edgelstm", *PEERS])
def test_every_runtime_computes_the_cells(name):
    pytest.importorskip("onnx", reason="some runtimes read ONNX files")
    reasons, computed = set(), 0
    for work in WORKS:
        try:
            runner = edgelstm_runner(work) if name == "edgelstm" else PEERS[name](work)
        except NotComparable as reason:
            reasons.add(str(reason))
            continue
        inputs, expected = side_by_side.checked_inputs(work)
        assert side_by_side.largest_error(runner, inputs, expected) < side_by_side.TOLERANCE, work
        computed += 1
    if not computed:
        pytest.skip(f"{name}: {'; '.join(sorted(reasons))}")
    assert name != "edgelstm" or not reasons


def test_wrong_numbers_are_not_timed(monkeypatch):
    def wrong(work):
        runner = edgelstm_runner(work)
        return type(runner)("Wrong", runner.burst, lambda: runner.last() + np.float32(0.01))

    monkeypatch.setitem(side_by_side.PEERS, "wrong", wrong)
    found = side_by_side.compare("step", Work(CELLS[0], "step"), ["wrong", "numpy"], LIMITS, 0.01)
    assert "misses the float64 reference" in found["missing"]["wrong"] and set(found["times_us"]) == {"EdgeLSTM", "NumPy"}


def test_the_program_prints_json_and_markdown(monkeypatch, capsys):
    monkeypatch.setattr(ceilings, "measure", lambda: LIMITS)
    command = ["--rows", "step,rnn_step,batch", "--sizes", "1,8", "--peers", "numpy", "--seconds", "0.01"]
    assert side_by_side.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    step, simple_rnn = found["cells"]
    assert step["target"] == 0.30 and step["ratio"] > 0 and step["bound_us"] > 0 and simple_rnn["target"] is None
    assert side_by_side.main([*command, "--markdown"]) == 0
    assert "| step | (1,8) | 1 |" in capsys.readouterr().out


def test_a_missed_target_is_marked():
    found = {"row": "step", "size": "1,8", "batch": 1, "target": 0.3, "bound_us": 0.1, "best_peer": "NumPy", "ratio": 0.5,
             "times_us": {"EdgeLSTM": 1.0, "NumPy": 2.0}, "spread": [0.4, 0.6], "errors": {"EdgeLSTM": 1e-7}}
    assert "| 0.50* |" in markdown([found]) and "*" not in markdown([found | {"ratio": 0.2}])


def test_the_grid_has_every_cell_of_the_targets():
    assert len(grid.works("step", grid.SIZES)) == 8 and len(grid.works("threads", grid.SIZES)) == 4
    assert [grid.target("batch", work) for work in grid.works("batch", ["8,64"])] == [0.82, 0.82, None]
    assert [grid.target(row, grid.works(row, grid.SIZES)[0]) for row in ("threads", "bidirectional")] == [0.58, 0.80]


def test_bounds_grow_with_the_work():
    small, large = Cell("lstm", 1, 8), Cell("lstm", 64, 256)
    assert LIMITS.step(small) < LIMITS.step(large)
    assert LIMITS.sequence(large, 10) < LIMITS.sequence(large, 10, batch=32)
    assert LIMITS.sequence(large, 10, threads=2) < LIMITS.sequence(large, 10)
    assert LIMITS.step(Cell("simple_rnn", 1, 8)) < LIMITS.step(Cell("gru", 1, 8)) < LIMITS.step(small)


def test_cache_sizes_rise():
    sizes = list(ceilings.cache_sizes().values())
    assert sizes == sorted(sizes) and sizes[0] > 0
