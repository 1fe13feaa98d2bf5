"""pytest-benchmark suite over whole models: one streaming step and one sequence for every cell and size.

    python -m pytest bench --benchmark-only
"""

import numpy as np
import pytest

import edgelstm
from edgelstm import axes
from edgelstm.builder import GraphBuilder

SIZES = [(1, 8), (1, 16), (1, 32), (8, 64), (40, 128), (64, 256)]
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
IDS = [f"{features},{units}" for features, units in SIZES]


def one_layer(op: str, features: int, units: int) -> edgelstm.Model:
    """A model of one recurrent layer with seeded weights of standard deviation 1 / sqrt(units)."""
    rng = np.random.default_rng(1000 * features + units)
    builder, gates = GraphBuilder(), GATES[op]
    shapes = [(features, gates * units), (units, gates * units), (gates * units,)]
    weights = [builder.constant(rng.standard_normal(shape) / np.sqrt(units)) for shape in shapes]
    x = builder.input("x", "float32", ("batch", "time", features))
    builder.output("y", builder.add(op, x, *weights))
    return edgelstm.load(axes.mark(builder.build()))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_step(benchmark, op, size):
    stream = one_layer(op, *size).stream()
    frame, out = np.ones(size[0], np.float32), np.zeros(size[1], np.float32)
    benchmark(stream.step, frame, out)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_sequence(benchmark, op, size):
    model = one_layer(op, *size)
    x = np.ones((1, 1000, size[0]), np.float32)
    y = benchmark.pedantic(model.predict, (x,), rounds=20, warmup_rounds=2)
    assert np.isfinite(y).all()
