"""pytest-benchmark suite over whole models: streaming steps, sequences and batches for every cell and size.

    python -m pytest bench --benchmark-only
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import edgelstm
from bench.cells import GATES, Cell
from edgelstm import axes
from edgelstm.builder import GraphBuilder

SIZES = [(1, 8), (1, 16), (1, 32), (8, 64), (40, 128), (64, 256)]
ODD_SIZES = [(1, 1), (1, 3), (5, 17), (5, 33), (5, 65)]
GRU_FORMS = {"before": {"reset_after": False}, "hard_sigmoid": {"recurrent_activation": ("hard_sigmoid", 0.2, 0.5)}}
STEPS, BATCH_STEPS = 1000, 100

Benchmark = Callable[..., Any]


def by_size(sizes: list[tuple[int, int]]) -> Any:
    return pytest.mark.parametrize("size", sizes, ids=[f"{features},{units}" for features, units in sizes])


def inputs(features: int, steps: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((batch, steps, features)).astype(np.float32)


def sequence(benchmark: Benchmark, model: edgelstm.Model, x: np.ndarray) -> None:
    y = benchmark.pedantic(model.predict, (x,), rounds=20, warmup_rounds=2)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("op", GATES)
@by_size(SIZES + ODD_SIZES)
def test_step(benchmark, op, size):
    cell = Cell(op, *size)
    stream = edgelstm.load(cell.graph).stream()
    frame, out = inputs(cell.features, 1)[0, 0], np.zeros(cell.units, np.float32)
    benchmark(stream.step, frame, out)
    assert np.isfinite(out).all()


@by_size(SIZES)
def test_advance(benchmark, size):
    stream = edgelstm.load(Cell("lstm", *size).graph).stream()
    x, y = stream.buffers()
    x[...] = inputs(size[0], 1)[0, 0]
    benchmark(stream.advance)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("op", GATES)
@by_size(SIZES + ODD_SIZES)
def test_sequence(benchmark, op, size):
    sequence(benchmark, edgelstm.load(Cell(op, *size).graph), inputs(size[0], STEPS))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("batch", [2, 8, 32, 128])
@by_size([(8, 64), (40, 128)])
def test_batch(benchmark, op, size, batch):
    sequence(benchmark, edgelstm.load(Cell(op, *size).graph), inputs(size[0], BATCH_STEPS, batch))


@pytest.mark.parametrize("form", GRU_FORMS)
@by_size([(1, 16), (40, 128)])
def test_gru_form(benchmark, form, size):
    cell, builder = Cell("gru", *size), GraphBuilder()
    x = builder.input("x", "float32", ("batch", "time", cell.features))
    weights = [builder.constant(array.T) for array in cell.weights[0][0]]
    builder.output("y", builder.add("gru", x, *weights, **GRU_FORMS[form]))
    sequence(benchmark, edgelstm.load(axes.mark(builder.build())), inputs(size[0], STEPS))


def test_two_layers_in_both_directions(benchmark):
    cell = Cell("lstm", 40, 128, layers=2, directions=2)
    sequence(benchmark, edgelstm.load(cell.graph), inputs(cell.features, BATCH_STEPS))


@pytest.mark.parametrize("signal", ["noise", "silence"])
def test_decaying_states_stay_fast(benchmark, signal):
    """An LSTM without bias forgets towards zero in silence: its states would become denormal numbers."""
    cell, builder = Cell("lstm", 1, 32), GraphBuilder()
    x = builder.input("x", "float32", ("batch", "time", 1))
    W, R, _ = cell.weights[0][0]
    builder.output("y", builder.add("lstm", x, builder.constant(W.T), builder.constant(R.T)))
    frames = inputs(1, 100 * STEPS)
    frames[:, STEPS:] *= signal == "noise"
    model = edgelstm.load(axes.mark(builder.build()))
    y = benchmark.pedantic(model.predict, (frames,), rounds=5, warmup_rounds=1)
    assert np.isfinite(y).all()
