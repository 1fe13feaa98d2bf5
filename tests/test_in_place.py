"""Plans whose activations overwrite what only they read: the same numbers in less memory."""

import functools

import numpy as np
import pytest

from edgelstm import programs, reference
from edgelstm.model import Model
from edgelstm.ports import step_shapes
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.plan import plan
from tests.conftest import Layers


def chain(*units, residual=False, shown=False):
    """x (B, T, 3) -> Dense layers, each with an activation; the first also added to what it is applied to, or that shown."""
    net = Layers()
    y = net.builder.input("x", "float32", ("B", "T", 3))
    features, outputs = 3, {}
    for k, width in enumerate(units):
        dense = net.builder.add("dense", y, net.weights(features, width), net.weights(width))
        y, features = net.builder.add(("tanh", "relu", "elu", "sigmoid")[k % 4], dense), width
        if k == 0 and residual:
            y = net.builder.add("add", y, dense)
        if k == 0 and shown:
            outputs["first"] = dense
    return net.graph(y=y, **outputs)


@pytest.fixture
def in_place(monkeypatch):
    monkeypatch.setattr(programs, "plan", functools.partial(plan, in_place=True))


@pytest.mark.parametrize("widths", [(4,), (5, 5), (5, 5, 4, 6, 5, 1, 3, 33), (17, 33, 1, 64)])
@pytest.mark.parametrize("form", [{}, {"residual": True}, {"shown": True}], ids=["plain", "residual", "shown"])
def test_the_numbers_stay(in_place, widths, form, rng):
    graph = chain(*widths, **form)
    for batch, steps in [(1, 1), (2, 3), (0, 2), (3, 17)]:
        feeds = {"x": rng.standard_normal((batch, steps, 3)).astype(np.float32)}
        expected = reference.run(graph, feeds)
        for name, array in Model(graph).run(feeds).items():
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-6)


def test_activations_need_no_memory_of_their_own():
    graph = chain(64, 64)
    shapes = step_shapes(graph, 4, 8)
    apart, together = (plan(graph, shapes, 8, PackedWeights(), in_place=given).arena_nbytes for given in (False, True))
    assert 0 < together < apart
