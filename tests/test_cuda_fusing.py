"""Products that apply the activation which follows them: which do, and that they compute the same. Runs on the simulator."""

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.model import Model
from edgelstm.ports import step_shapes
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.plan import plan
from tests import cuda_simulator
from tests.conftest import Layers

pytestmark = cuda_simulator.on_simulator

ACTIVATIONS = [("relu", {}), ("tanh", {}), ("sigmoid", {}), ("gelu", {}), ("elu", {"alpha": 0.5}),
               ("leaky_relu", {"alpha": 0.25}), ("hard_sigmoid", {"alpha": 0.2, "beta": 0.4}),
               ("selu", {}), ("exp", {})]  # fmt: skip


def fused_calls(graph, batch=2, steps=3):
    from edgelstm.cuda import decode, fusing

    program = plan(graph, step_shapes(graph, batch, steps), 2, PackedWeights(), in_place=True)
    return [(call.kernel, call.args.get("activation")) for call in fusing.fused(decode.calls(program))]


def assert_computes(graph, rng, batch=2, steps=3):
    feeds = {"x": (2 * rng.standard_normal((batch, steps, 3))).astype(np.float32)}
    found, expected = Model(graph, device="cuda").run(feeds), reference.run(graph, feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-6, atol=4e-6, err_msg=name)


@pytest.mark.parametrize(("name", "attrs"), ACTIVATIONS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("layer", ["dense", "conv1d"])
def test_an_activation_is_applied_by_the_product(name, attrs, layer, rng):
    net = Layers()
    x = net.builder.input("x", "float32", ("B", "T", 3))
    y = net.builder.add(layer, x, net.weights(*((3, 5) if layer == "dense" else (1, 3, 5))), net.weights(5))
    graph = net.graph(y=net.builder.add(name, y, **attrs))
    calls = fused_calls(graph)
    applied = (name, *(np.float32(value) for value in attrs.values()))
    expected = None if name in ("selu", "exp") else applied
    assert [activation for kernel, activation in calls if kernel.startswith(("gemm", "conv"))] == [expected]
    assert len(calls) == (2 if expected is None else 1)
    assert_computes(graph, rng)


def test_results_that_are_used_elsewhere_are_written(rng):
    """A residual connection reads what the product gave; an output shows it."""
    for shown in (False, True):
        net = Layers()
        x = net.builder.input("x", "float32", ("B", "T", 3))
        y = net.builder.add("dense", x, net.weights(3, 3), net.weights(3))
        z = net.builder.add("tanh", y)
        graph = net.graph(**({"y": y, "z": z} if shown else {"z": net.builder.add("add", y, z)}))
        assert all(activation is None for _, activation in fused_calls(graph))
        assert_computes(graph, rng)


def test_long_chains_of_layers(rng):
    """The arena gives memory to one value after another; every activation is applied by its product."""
    net = Layers()
    y = net.builder.input("x", "float32", ("B", "T", 3))
    features = 3
    for k, units in enumerate((5, 5, 4, 6, 5, 1, 3, 33)):
        y = net.builder.add("dense", y, net.weights(features, units), net.weights(units))
        y, features = net.builder.add(("tanh", "relu", "sigmoid")[k % 3], y), units
    graph = net.graph(y=y)
    assert sum(activation is not None for _, activation in fused_calls(graph)) == 8
    assert_computes(graph, rng)
