"""The GPU benchmark as far as it goes without a GPU: targets, bounds, weights, and what it says where it can't run."""

import io
import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from bench import cuda as benchmark
from bench.cuda import Chip, Row, Shape, bound, graph_of, inputs, medians, printed, summary, target
from edgelstm import load, reference
from tests import cuda_simulator

CHIP = Chip(132, 1.98e9, True)


@pytest.mark.parametrize(("shape", "speed"), [
    (Shape("lstm", 64, 1, 100), 2.0), (Shape("lstm", 256, 8, 1000), 2.0), (Shape("gru", 512, 8, 100), 1.0),
    (Shape("gru", 64, 32, 100), 1.0), (Shape("lstm", 64, 128, 100), 0.6), (Shape("lstm", 64, 1024, 100), 0.4),
    (Shape("gru", 1024, 1024, 1), 3.0)])  # fmt: skip
def test_targets_are_those_of_the_plan(shape, speed):
    assert target(shape) == speed


@pytest.mark.parametrize("units", [64, 256, 512, 1024])
def test_bounds_grow_with_the_work(units):
    assert bound(Shape("lstm", units, 1, 100), CHIP) == pytest.approx(100 * bound(Shape("lstm", units, 1, 1), CHIP))
    times = [bound(Shape("lstm", units, batch, 1), CHIP) for batch in (1, 8, 128, 1024, 8192)]
    assert times == sorted(times) and times[-1] > times[0] > 0
    assert bound(Shape("gru", units, 1024, 1), CHIP) < bound(Shape("lstm", units, 1024, 1), CHIP)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_layers_compute(cell):
    shape = Shape(cell, 8, 2, 3)
    graph, feeds = graph_of(cell, 8), {"x": inputs(shape)}
    np.testing.assert_allclose(load(graph).run(feeds)["y"], reference.run(graph, feeds)["y"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [Shape("lstm", 64, 1, 1), Shape("gru", 512, 8, 7), Shape("lstm", 1024, 1024, 1)])
def test_clusters_lower_the_bound_of_what_waits_for_barriers_alone(shape):
    without = bound(shape, CHIP._replace(clusters=False))
    assert (bound(shape, CHIP) < without) == (shape.units == 512)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_peer_computes_the_same(cell, steps):
    """With one step it carries the state, as a stream does."""
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    shape = Shape(cell, 8, 2, steps)
    model, theirs = load(graph_of(cell, 8)), benchmark.their_run(shape, "cpu")
    stream = model.stream(2)
    ours = (lambda: model.predict(inputs(shape))) if steps > 1 else lambda: stream.step(inputs(shape)[:, 0])[:, None]
    for _ in range(3):
        np.testing.assert_allclose(theirs().numpy(), ours(), rtol=0, atol=2e-6)


def rows():
    """One that meets its target, one that misses it, one without memory."""
    for units, theirs in ((64, 4e-6), (128, 2e-6), (256, None)):
        yield Row(Shape("lstm", units, 1, 1), theirs and 1e-6, theirs, 5e-7)


@pytest.mark.parametrize("markdown", [False, True])
def test_the_table_ends_with_the_targets_that_were_met(markdown):
    text = io.StringIO()
    assert printed(rows(), markdown, text) == list(rows())
    lines = text.getvalue().splitlines()
    assert [line.replace("|", " ").split()[4:] for line in lines if "lstm" in line] == [
        ["1.0", "4.0", "4.00", "0.50"], ["1.0", "2.0", "2.00*", "0.50"], ["-", "-", "-", "-"]]
    assert lines[-1] == "targets met: 1 of 2; 1 did not fit into the device's memory"
    assert all(line.startswith("|") for line in lines[:-2]) == markdown


def test_the_figures_are_json():
    found = json.loads(json.dumps([row.figures() for row in rows()]))
    assert [row["met"] for row in found] == [True, False, False]
    assert found[0] == {"cell": "lstm", "units": 64, "batch": 1, "steps": 1, "ours": 1e-6, "theirs": 4e-6, "relative": 4.0,
                        "bound": 5e-7, "target": 3.0, "met": True}


@dataclass
class Clock:
    """Time that passes only when something runs."""

    now: float = 0.0

    def run(self, seconds, note):
        return lambda: (note(), setattr(self, "now", self.now + seconds))


@pytest.mark.parametrize(("seconds", "turns"), [(1e-6, 200), (0.1, 10), (60.0, 5)])
def test_runs_take_turns_for_a_limited_time(seconds, turns, monkeypatch):
    order, clock = [], Clock()
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: clock.now)
    found = medians(clock.run(seconds, lambda: order.append("a")), clock.run(seconds, lambda: order.append("b")))
    assert found == pytest.approx([seconds] * 2)
    assert order[6:10] == ["a", "b", "b", "a"] and len(order) == 2 * (3 + turns)


def test_the_assembler_s_report_is_read():
    start = "ptxas info    : Compiling entry function 'kernel' for 'sm_90'\n"
    none = "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    used = "ptxas info    : Used 82 registers, 8256 bytes smem, 480 bytes cmem[0]"
    assert summary(start + none + used) == "82, 8256 B, no spills"
    some = "    16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads\n"
    assert summary(start + some + "ptxas info    : Used 255 registers, 480 bytes cmem[0]") == "255, 0 B, 48 B spilled"


def test_it_refuses_to_run_as_a_script_and_without_a_gpu():
    for command, message in ((["bench/cuda.py"], "python -m bench.cuda"), (["-m", "bench.cuda"], "needs a GPU")):
        found = subprocess.run([sys.executable, *command, "--units", "8", "--batch", "1", "--steps", "1"], capture_output=True,
                               text=True, cwd=cuda_simulator.ROOT)
        assert found.returncode or "compute capability" in found.stdout
        assert not found.returncode or message in found.stderr
