"""Nodes of reduced precision: what shapes and files they accept, their kernels against the reference that rounds as they do."""

import re
from dataclasses import replace

import numpy as np
import pytest

from edgelstm import ops, precision, reference
from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError, PrecisionError, ShapeError
from edgelstm.facts import infer
from edgelstm.format import from_bytes, to_bytes
from edgelstm.graph import Node
from edgelstm.model import Model
from edgelstm.ops.op import Fact, check_attrs
from edgelstm.ops.stored import PRECISIONS
from edgelstm.passes import simplify
from tests.conftest import Layers, stacked_graph
from tests.test_ops import graph_of

REDUCED = PRECISIONS[1:]
LAYERS = ("lstm", "gru", "simple_rnn", "dense", "conv1d")
CASES = [(ops.get(name), case) for name in LAYERS for case in ops.get(name).cases()]


def embedding_graph(rows=65, width=33):
    builder, rng = GraphBuilder(), np.random.default_rng(5)
    indices = builder.input("x", "int64", ("batch", "time"))
    table = builder.constant(rng.standard_normal((rows, width)), "table")
    builder.output("y", builder.add("embedding", indices, table, name="embedding"))
    return builder.build()


def reduced(graph, name, feeds=None):
    """The graph in one precision; int8-static by what it sees of the given inputs."""
    calibration = precision.calibrate(graph, feeds) if name == "int8-static" else None
    return precision.apply(graph, precision.resolve(graph, name), calibration)


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int8x16", "int4"])
@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op.name}-{case.name}" for op, case in CASES])
def test_kernels_round_as_the_reference_does(op, case, name):
    """Where an activation lies between two integers, float32 may round it to the other one than the reference: so one number in
    a thousand may be off by a part of the rounding error, and all others by float32 noise alone. The steps of int8x16 are so
    fine that more lie beside a border, and that none of them matters."""
    graph, feeds = graph_of(op, case)
    graph = reduced(graph, name)
    finer = name == "int8" and op.sequence_axes(check_attrs(op, case.attrs)) is None
    assert {node.attrs["precision"] for node in graph.nodes} == {"int8x16" if finer else name}
    expected, found = reference.run_rounded(graph, feeds), Model(graph).run(feeds)
    for port, array in found.items():
        errors = np.abs(array - expected[port])
        assert array.shape == expected[port].shape
        if name == "int8x16":
            assert np.max(errors, initial=0.0) < 1e-4, port
        else:
            assert np.max(errors, initial=0.0) < 5e-3, port
            assert np.sum(errors > 3e-5) <= errors.size * (1e-3 if case.name != "long" else 0.2), port


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (65, 33), (17, 64)])
def test_embeddings_give_the_rows_of_the_stored_table(rows, width, name):
    graph = embedding_graph(rows, width)
    small = reduced(graph, name, np.zeros((1, 1), np.int64))
    indices = np.arange(rows)[None]
    exact, wide = graph.constants["table"], reference.run(small, {"x": indices})["y"][0]
    np.testing.assert_allclose(Model(small).run({"x": indices})["y"][0], wide, rtol=1e-6)
    steps = {"bfloat16": 2.0**-8, "int4": 1 / 8}.get(name, 1 / 127)
    assert np.all(np.abs(wide - exact) <= steps * np.max(np.abs(exact), axis=1, keepdims=True))
    assert small.parameters == rows * width


@pytest.mark.parametrize("name", REDUCED)
def test_a_stack_of_layers_survives_its_file(name, rng):
    graph = stacked_graph(features=5, units=17)
    x = {"x": rng.standard_normal((3, 9, 5)).astype(np.float32)}
    small = reduced(graph, name, x)
    again = from_bytes(to_bytes(small))
    assert to_bytes(again) == to_bytes(small) and again.parameters == small.parameters == graph.parameters
    np.testing.assert_array_equal(Model(again).run(x)["y"], Model(small).run(x)["y"])
    assert len(to_bytes(small)) < len(to_bytes(graph))


@pytest.mark.parametrize("name", REDUCED)
def test_step_equals_run(name, rng):
    graph = stacked_graph(features=40, units=33)
    x = rng.standard_normal((1, 20, 40)).astype(np.float32)
    model = Model(reduced(graph, name, {"x": x}))
    stream = model.stream()
    stepped = np.stack([stream.step(frame) for frame in x[0]])
    np.testing.assert_allclose(stepped, model.predict(x)[0], atol=2e-6)


@pytest.mark.parametrize("name", REDUCED)
def test_passes_leave_stored_weights_alone(name, rng):
    small = reduced(stacked_graph(), name, {"x": rng.standard_normal((1, 4, 5)).astype(np.float32)})
    again = simplify(small)
    assert dict(again.constants).keys() == dict(small.constants).keys()
    assert all(array.dtype == small.constants[key].dtype for key, array in again.constants.items())


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(("taps", "attrs"), [(1, {}), (5, {}), (3, {"dilation": 2, "padding": "causal"}), (9, {"stride": 4})])
def test_factors_of_inputs_stay_near_the_float_layer(taps, attrs, calibrated, rng):
    """A convolution whose window fades towards its ends, on signals of which some channels are a thousand times louder."""
    builder, channels, filters = GraphBuilder(), 3, 40
    x = builder.input("x", "float32", ("batch", "time", channels))
    fades = np.hanning(taps + 2)[1:-1, None, None] * 10.0 ** -np.arange(channels)[:, None]
    W = builder.constant((rng.standard_normal((taps, channels, filters)) * fades).astype(np.float32), "W")
    builder.output("y", builder.add("conv1d", x, W, name="conv", **attrs))
    graph = builder.build()
    feeds = {"x": (rng.standard_normal((2, 40, channels)) * 10.0 ** np.arange(channels)).astype(np.float32)}
    feeds["x"][0, 7, 0] = np.nan
    clean = {"x": np.nan_to_num(feeds["x"])}
    small = precision.apply(graph, {"conv": "int8"}, precision.calibrate(graph, clean) if calibrated else None)
    node, = small.nodes
    assert node.attrs["precision"] == "int8x16" and small.constants[node.inputs[4]].shape == (taps * channels,)
    assert graph.parameters == small.parameters == from_bytes(to_bytes(small)).parameters
    exact, wide = reference.run(graph, clean)["y"], reference.run(small, clean)["y"]
    assert np.max(np.abs(wide - exact)) < 0.01 * np.max(np.abs(exact))
    found = Model(small).run(clean)["y"]
    np.testing.assert_allclose(found, wide, atol=4e-5 * np.max(np.abs(wide)))
    np.testing.assert_array_equal(np.isnan(Model(small).run(feeds)["y"]), np.isnan(Model(graph).run(feeds)["y"]))


@pytest.mark.parametrize(("attrs", "factor", "message"), [
    ({"precision": "int8"}, np.ones(5, np.float32), "factors of its inputs, which int8 weights have none of"),
    ({}, np.ones(4, np.float32), r"factor of W has the shape \(4,\)"), ({}, np.ones(5, np.int64), "factor of W.*int64"),
    ({}, np.full(5, np.nan, np.float32), "factor of W holds NaN"),
    ({"precision": "float32"}, np.ones(5, np.float32), "factors of its inputs, which float32"),
])
def test_factors_must_fit(attrs, factor, message):
    facts = [Fact((2, 5), "float32"), Fact((5, 3), "float32" if attrs.get("precision") == "float32" else "int8"), None,
             None if attrs.get("precision") == "float32" else Fact((3,), "float32"),
             Fact(factor.shape, str(factor.dtype), factor)]
    op = ops.get("dense")
    with pytest.raises(ShapeError, match=message):
        op.infer(check_attrs(op, {"precision": "int8x16", **attrs}), facts)


def test_only_one_group_may_have_factors():
    op = ops.get("conv1d")
    facts = [Fact((1, 9, 4), "float32"), Fact((3, 2, 6), "int8"), None, Fact((6,), "float32"), Fact((6,), "float32")]
    with pytest.raises(ShapeError, match="2 groups"):
        op.infer(check_attrs(op, {"precision": "int8x16", "groups": 2}), facts)


def test_weights_that_layers_share_are_stored_once(rng):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 8))
    W = net.weights(8, 8)
    y = net.builder.add("dense", net.builder.add("dense", x, W, name="a"), W, name="b")
    graph = net.graph(y=y)
    assert len(reduced(graph, "int8").constants) == 2
    mixed = precision.apply(graph, {"a": "int8", "b": "bfloat16"})
    assert sorted(str(array.dtype) for array in mixed.constants.values()) == ["float32", "int8", "uint16"]


@pytest.mark.parametrize("asked", ["int8", "int8x16", "int4"])
@pytest.mark.parametrize("op", ["embedding", "dense"])
def test_weights_that_are_not_finite_are_refused_by_no_other_precision_than_was_asked_for(op, asked):
    """An embedding stores int8x16 as int8, a product int8 as int8x16."""
    net = Layers()
    table = np.full((8, 33), np.nan, np.float32)
    x = net.builder.input("x", "int64" if op == "embedding" else "float32", ("batch", "time", *([8] * (op == "dense"))))
    graph = net.graph(y=net.builder.add(op, x, net.builder.constant(table, "w"), name="bad"))
    with pytest.raises(PrecisionError, match=f"'bad' \\({op}\\): the weights hold NaN") as caught:
        precision.apply(graph, {"bad": asked})
    assert set(re.findall(r"\bint\w+", str(caught.value))) <= {asked, "integers"}


def test_a_file_without_reduced_layers_says_nothing_of_precision():
    assert b"precision" not in to_bytes(stacked_graph()) and b"precision" in to_bytes(reduced(stacked_graph(), "bfloat16"))


def test_apply_refuses():
    graph = stacked_graph()
    for chosen, message in (({"nothing": "int8"}, "'nothing' has no float32 weights"), ({"lstm": "int9"}, "'int9'.*not known"),
                            ({"lstm": "int8-static"}, "needs calibration data")):
        with pytest.raises(PrecisionError, match=message):
            precision.apply(graph, chosen)
    with pytest.raises(PrecisionError, match="activation range 'most'"):
        precision.apply(graph, {"lstm": "int8"}, activation_range="most")
    with pytest.raises(PrecisionError, match="'lstm' has no float32 weights"):
        precision.apply(reduced(graph, "int8"), {"lstm": "bfloat16"})


def changed(graph, op, attrs=None, **inputs):
    """The graph with other attributes of the node of that op, or other constants in place of its inputs (None: absent)."""
    node = next(node for node in graph.nodes if node.op == op)
    declared = [name.rstrip("?") for name in ops.get(op).inputs]
    values = dict(zip(declared, ops.get(op).padded(node.inputs), strict=True))
    constants = dict(graph.constants)
    for role, array in inputs.items():
        values[role] = None if array is None else f"new {role}"
        constants |= {} if array is None else {f"new {role}": array}
    other = Node(node.name, op, tuple(values.values()), node.outputs, {**node.attrs, **(attrs or {})})
    return replace(graph, nodes=tuple(other if n is node else n for n in graph.nodes), constants=constants)


@pytest.mark.parametrize(("name", "op", "attrs", "inputs", "message"), [
    ("int8", "lstm", {}, {"W_scale": None}, "W is stored as int8 and lacks its scale"),
    ("int8", "lstm", {}, {"R_scale": np.ones(67, np.float32)}, r"scale of R has the shape \(67,\)"),
    ("int8", "gru", {}, {"W": np.zeros((17, 51), np.float32)}, r"W has the shape.*\(float32\), expected.*int8"),
    ("int8", "lstm", {"precision": "float32"}, {}, "expected.*float32"),
    ("int8", "lstm", {"precision": "bfloat16"}, {}, "W has the shape.*expected.*uint16"),
    ("int8", "lstm", {"x_scale": 0.5}, {}, "x_scale is 0.5"),
    ("int8", "dense", {"precision": "int8-static"}, {}, "x_scale is 0.0.*above 0"),
    ("int8", "lstm", {"grouped": 5}, {}, "grouped is 5, expected 0"),
    ("int4", "lstm", {"grouped": 6}, {}, "grouped is 6, expected 5"),
    ("int4", "simple_rnn", {}, {"R": np.zeros((15, 17), np.uint8)}, r"R has the shape \(15, 17\)"),
    ("int4", "dense", {}, {"W_scale": np.zeros((2, 3), np.uint16)}, r"scale of W has the shape \(2, 3\)"),
    ("int4", "dense", {"grouped": 0}, {}, "does not fit"),
    ("bfloat16", "dense", {}, {"W_scale": np.ones(3, np.float32)}, "has a scale, which bfloat16 weights have none of"),
    ("bfloat16", "gru", {}, {"b": np.zeros(51, np.uint16)}, "its input b is uint16"),
])
def test_weights_that_do_not_fit_their_node_are_refused(name, op, attrs, inputs, message):
    graph = changed(reduced(stacked_graph(), name), op, attrs, **inputs)
    with pytest.raises(ShapeError, match=message) as caught:
        infer(graph, {"x": (2, 7, 5)})
    assert f"node {op!r}" in str(caught.value)


def test_convolutions_in_int4_need_whole_taps():
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("batch", "time", 4))
    W = builder.constant(np.ones((3, 4, 6)), "W")
    builder.output("y", builder.add("conv1d", x, W, name="conv1d", padding="causal"))
    small = reduced(builder.build(), "int4")
    assert small.nodes[0].attrs["grouped"] == 12 and infer(small, {"x": (2, 7, 4)})["conv1d"].shape == (2, 7, 6)
    with pytest.raises(ShapeError, match="grouped is 13, expected 12"):
        infer(changed(small, "conv1d", {"grouped": 13}), {"x": (2, 7, 4)})


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16"])
def test_ordinary_ops_refuse_integers_of_few_bits(dtype):
    builder = GraphBuilder()
    constant = builder.stored(np.ones(3, dtype), "few")
    with pytest.raises(ShapeError, match=f"its input b is {dtype}"):
        builder.add("add", builder.input("x", "float32", ("batch", 3)), constant)


def test_files_with_weights_of_minus_128_are_refused():
    graph = reduced(stacked_graph(), "int8")
    name = next(name for name, array in graph.constants.items() if array.dtype == np.int8)
    array = graph.constants[name].copy()
    array[0, 0] = -128
    with pytest.raises(FormatError, match="holds -128"):
        from_bytes(to_bytes(replace(graph, constants={**graph.constants, name: array})))
