"""Batch and time are found, kept through every op, set free where baked in, and never mistaken for a fixed length."""

import numpy as np
import pytest

import edgelstm
from edgelstm import axes, streaming
from edgelstm.builder import GraphBuilder
from edgelstm.stand_ins import SCALES, fixed_lengths, stand_in
from tests.conftest import Layers


@pytest.mark.parametrize("width", [251, 257, 502, 577, 1009])
def test_layers_as_wide_as_a_stand_in_are_no_dynamic_axis(width):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 3))
    y = net.recurrent("lstm", x, 2, gates=4)
    w = net.builder.constant(np.ones((2, width), np.float32))
    graph = net.graph(y=net.builder.add("dense", y, w))
    assert graph.outputs[0].shape == ("batch", "time", width)
    assert streaming.analyse(graph).ok


def test_builder_avoids_the_lengths_it_is_told():
    builder = GraphBuilder(avoid={251, 2 * 257})
    x = builder.input("x", "float32", ("batch", 251, 514))
    assert [builder.dim(x, axis) for axis in range(3)] == [None, 251, 514]


def test_stand_ins_never_repeat():
    for scale in SCALES:
        assert len({stand_in(i, scale, frozenset({stand_in(3, scale)})) for i in range(60)}) == 60


def test_baked_in_batch_and_time_are_set_free():
    net = Layers()
    x = net.builder.input("x", "float32", (2, 7, 3))
    graph = net.graph(y=net.recurrent("gru", x, 5, gates=3))
    assert [(p.batch, p.time) for p in (*graph.inputs, *graph.outputs)] == [(0, 1), (0, 1)]
    assert edgelstm.load(graph).predict(np.zeros((4, 9, 3), np.float32)).shape == (4, 9, 5)


def test_a_length_that_the_model_needs_stays():
    net = Layers()
    b = net.builder
    x = b.input("x", "float32", (1, 7, 3))
    y = b.add("reshape", net.recurrent("gru", x, 5, gates=3), b.constant([-1, 35]))
    graph = net.graph(y=b.add("dense", y, net.weights(35, 2)))
    assert graph.inputs[0].shape[1] == 7
    assert not streaming.analyse(graph).ok


def test_time_major_inputs():
    net = Layers()
    x = net.builder.input("x", "float32", ("t", "n", 3))
    h, w = net.weights(4, 16), net.weights(3, 16)
    graph = net.graph(y=net.builder.add("lstm", x, w, h, layout="tbf"))
    assert (graph.inputs[0].batch, graph.inputs[0].time) == (1, 0)
    assert (graph.outputs[0].batch, graph.outputs[0].time) == (1, 0)


def test_a_causal_convolution_alone_has_a_time_axis_where_the_importer_says_so():
    net = Layers()
    b = net.builder
    x = b.input("x", "float32", ("batch", "time", 3), batch=0, time=1)
    y = b.add("conv1d", x, net.weights(3, 3, 2), padding="causal", name="conv")
    graph = net.graph(y=y)
    assert (graph.outputs[0].batch, graph.outputs[0].time) == (0, 1)
    model = edgelstm.load(graph)
    frames = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
    stream = model.stream()
    np.testing.assert_allclose([stream.step(f) for f in frames], model.predict(frames[None])[0], atol=1e-6)


def test_marking_twice_changes_nothing(stacked):
    again = axes.mark(stacked)
    assert (again.inputs, again.outputs) == (stacked.inputs, stacked.outputs)
    assert 17 in fixed_lengths(stacked)
