"""Layers that write their outputs where a copy would take them. Runs on the simulator."""

import pytest

from tests import cuda_simulator
from tests.test_cuda_fusing import SIZES, assert_computes, feeds_for, launches, net_and_input, turned

pytestmark = cuda_simulator.on_simulator


def layers_of(net, x, *cells, **attrs):
    gates = {"lstm": 4, "gru": 3, "simple_rnn": 1}
    return [net.recurrent(cell, x, units, gates=gates[cell], **attrs) for cell, units in cells]


OUTPUTS = {  # what becomes of the outputs of layers, and how many launches beside their products there are
    "both directions": (lambda net, x: net.builder.add("concat", net.recurrent("lstm", x, 3, gates=4), net.recurrent(
        "lstm", x, 3, gates=4, reverse=True), axis=2), 2),
    "three cells": (lambda net, x: net.builder.add(
        "concat", *layers_of(net, x, ("gru", 5), ("simple_rnn", 1), ("lstm", 2)), axis=2), 3),
    "after one another": (lambda net, x: net.builder.add("concat", *layers_of(net, x, ("gru", 4), ("lstm", 4)), axis=1), 2),
    "turned": (lambda net, x: turned(net, *layers_of(net, x, ("lstm", 3)), 1, 0, 2), 1),
    "turned and read": (lambda net, x: net.builder.add("softmax", turned(
        net, *layers_of(net, x, ("gru", 3)), 1, 0, 2), axis=2), 2),
    "in the middle": (lambda net, x: net.builder.add("concat", x, *layers_of(net, x, ("gru", 2), ("lstm", 4)), x, axis=2), 4),
    "features first": (lambda net, x: turned(net, *layers_of(net, x, ("lstm", 3)), 0, 2, 1), 2),
    "backwards": (lambda net, x: net.builder.add("flip", *layers_of(net, x, ("lstm", 3)), axes=(1,)), 2),
    "read twice": (lambda net, x: (lambda y: net.builder.add("concat", y, net.builder.add("softmax", y, axis=2), axis=2))(
        *layers_of(net, x, ("lstm", 3))), 4),
    "beside the input": (lambda net, x: net.builder.add("concat", x, *layers_of(net, x, ("gru", 2)), axis=2), 2),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_layers_write_where_copies_would_take_their_outputs(name, rng):
    make, expected = OUTPUTS[name]
    net, x = net_and_input()
    graph = net.graph(y=make(net, x))
    assert len([kernel for kernel in launches(graph, 3, 4) if kernel != "gemm"]) == expected, launches(graph, 3, 4)
    for batch, steps in [*SIZES[:2], (3, 4), *SIZES[3:], (1, 3), (2, 1)]:
        assert_computes(graph, rng, batch, steps)


@pytest.mark.parametrize("hold", [False, True])
def test_masked_layers_hold_their_outputs_where_they_write_them(hold, rng):
    net, x = net_and_input()
    mask, attrs = net.builder.input("mask", "bool", ("B", "T")), {"masked_output": "hold" if hold else "zero"}
    made = [net.builder.add_many("lstm", x, net.weights(3, 12), net.weights(3, 12), net.weights(12), None, None, mask,
                                 used=1, reverse=reverse, **attrs)[0] for reverse in (False, True)]
    graph = net.graph(y=net.builder.add("concat", *made, axis=2))
    assert launches(graph) == ["gemm", "lstm"] * 2
    feeds = feeds_for(graph, rng, 3, 5)
    assert_computes(graph, rng, feeds=feeds | {"mask": rng.random((3, 5)) < 0.6})
