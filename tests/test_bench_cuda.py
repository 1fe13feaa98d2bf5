"""The GPU benchmark as far as it goes without a GPU: targets, bounds, weights, and what it says where it can't run."""

import subprocess
import sys

import numpy as np
import pytest

from bench.cuda import Chip, Shape, bound, graph_of, inputs, medians, summary, target
from edgelstm import load, reference
from tests import cuda_simulator

CHIP = Chip(132, 1.98e9)


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


def test_runs_take_turns():
    order = []
    assert len(medians(lambda: order.append("a"), lambda: order.append("b"))) == 2
    assert order[6:10] == ["a", "b", "b", "a"]


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
