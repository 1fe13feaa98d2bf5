"""Calls that become one launch: which do, which must not, and that they compute the same. Runs on the simulator."""

import itertools
import re

import numpy as np
import pytest

from edgelstm import axes, passes, reference
from edgelstm.builder import GraphBuilder
from edgelstm.model import Model
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.plan import plan
from tests import cuda_simulator
from tests.conftest import Layers
from tests.test_cuda_reduced import graph_of as stored_graph
from tests.test_ops_reduced import reduced

pytestmark = cuda_simulator.on_simulator

ACTIVATIONS = [("relu", {}), ("tanh", {}), ("sigmoid", {}), ("gelu", {}), ("elu", {"alpha": 0.5}),
               ("leaky_relu", {"alpha": 0.25}), ("hard_sigmoid", {"alpha": 0.2, "beta": 0.4}),
               ("selu", {}), ("exp", {})]  # fmt: skip
SIZES = [(2, 3), (1, 1), (3, 17), (0, 2), (1, 0)]


def shapes_of(graph, batch, steps):
    return {port.name: tuple({"B": batch, "T": steps}.get(d, d) for d in port.shape) for port in graph.inputs}


def launches(graph, batch=2, steps=3):
    """The kernels that a run starts, without their vectors and precision."""
    from edgelstm.cuda import decode
    from edgelstm.cuda.fused import fusing, hiding

    program = plan(graph, shapes_of(graph, batch, steps), 2, PackedWeights(), rework=hiding.hide)
    return [re.sub(r"^(gemm|conv)[134].*", r"\1", call.kernel) for call in fusing.fused(decode.calls(program))]


def feeds_for(graph, rng, batch=2, steps=3):
    found = {}
    for port in graph.inputs:
        shape = shapes_of(graph, batch, steps)[port.name]
        floats = 2 * rng.standard_normal(shape)
        found[port.name] = floats.astype("f4") if port.dtype == "float32" else rng.integers(0, 5, shape).astype(port.dtype)
    return found


def assert_computes(graph, rng, batch=2, steps=3, feeds=None, atol=4e-6):
    feeds = feeds_for(graph, rng, batch, steps) if feeds is None else feeds
    with np.errstate(all="ignore"):
        found, expected = Model(graph, device="cuda").run(feeds), reference.run(graph, feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=4e-6, atol=atol, err_msg=name)


def net_and_input(features=3):
    net = Layers()
    return net, net.builder.input("x", "float32", ("B", "T", features))


@pytest.mark.parametrize(("name", "attrs"), ACTIVATIONS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("layer", ["dense", "conv1d"])
def test_an_activation_is_applied_by_the_product(name, attrs, layer, rng):
    net, x = net_and_input()
    y = net.builder.add(layer, x, net.weights(*((3, 5) if layer == "dense" else (1, 3, 5))), net.weights(5))
    graph = net.graph(y=net.builder.add(name, y, **attrs))
    assert launches(graph) == [{"dense": "gemm", "conv1d": "conv"}[layer]]
    assert_computes(graph, rng)


@pytest.mark.parametrize(("batch", "steps"), SIZES)
@pytest.mark.parametrize("layer", ["dense", "conv1d"])
def test_a_product_normalises_activates_and_adds_what_went_around_it(layer, batch, steps, rng):
    """Vectors by column and by row, a number, and an array of the shape of the result."""
    steps = max(steps, 1) if layer == "conv1d" else steps
    net, x = net_and_input()
    add = net.builder.add
    y = add(layer, x, net.weights(*((3, 3) if layer == "dense" else (2, 3, 3))), net.weights(3), **(
        {} if layer == "dense" else {"padding": "explicit", "pads": (1, 0)}))
    y = add("add", add("mul", y, net.weights(3)), net.weights(3))
    y = add("add", x, add("tanh", y))
    y = add("mul", add("maximum", y, net.weights(1)), add("reduce_max", x, axes=(2,), keepdims=True))
    graph = net.graph(y=y)
    found = launches(graph)
    padding = [] if layer == "dense" else ["fill_float32", "expression"]
    assert found == [*padding, "reduce_max_f32", {"dense": "gemm", "conv1d": "conv"}[layer]]
    assert_computes(graph, rng, batch, steps)


MOVES = {  # of a result (B, T, 4), and how many launches there are
    "turned and back": (lambda net, y: turned(net, net.builder.add("relu", net.builder.add(
        "add", turned(net, y, 0, 2, 1), net.weights(4, 1))), 0, 2, 1), 1),
    "turned": (lambda net, y: net.builder.add("tanh", turned(net, y, 2, 0, 1)), 1),
    "added to itself turned": (lambda net, y: net.builder.add("add", turned(net, y, 1, 0, 2), turned(net, net.builder.add(
        "relu", y), 1, 0, 2)), 1),
    "joined": (lambda net, y: net.builder.add("concat", net.builder.add("tanh", turned(net, y, 0, 2, 1)), turned(
        net, net.dense(y, 3), 0, 2, 1), axis=1), 3),
    "backwards": (lambda net, y: net.builder.add("relu", net.builder.add("flip", y, axes=(1,))), 2),
    "half": (lambda net, y: net.builder.add("relu", net.builder.add_many(
        "split", y, axis=2, sizes=(1, 2, 1), used=(False, True, False))[1]), 2),
}


def turned(net, y, *perm):
    return net.builder.add("transpose", y, perm=perm)


@pytest.mark.parametrize("name", MOVES)
def test_a_product_stores_its_results_where_copies_would_take_them(name, rng):
    """Where each result has one place there."""
    move, expected = MOVES[name]
    net, x = net_and_input()
    graph = net.graph(y=move(net, net.builder.add("conv1d", x, net.weights(1, 3, 4), net.weights(4))))
    assert len(launches(graph)) == expected, launches(graph)
    for batch, steps in SIZES[:-1]:
        assert_computes(graph, rng, batch, steps)


def test_results_that_are_used_elsewhere_are_written(rng):
    """An output shows what the product gave, or a layer reads it; an addition that reads it twice is applied all the same."""
    for made in (lambda net, y, z: {"y": y, "z": z}, lambda net, y, z: {"z": net.builder.add("add", y, net.dense(z, 3))}):
        net, x = net_and_input()
        y = net.builder.add("dense", x, net.weights(3, 3), net.weights(3))
        graph = net.graph(**made(net, y, net.builder.add("tanh", y)))
        assert launches(graph) in (["gemm", "expression"], ["gemm", "expression", "gemm"])
        assert_computes(graph, rng)
    net, x = net_and_input()
    y = net.builder.add("dense", x, net.weights(3, 3), net.weights(3))
    graph = net.graph(z=net.builder.add("add", y, net.builder.add("tanh", y)))
    assert launches(graph) == ["gemm"]
    assert_computes(graph, rng)


def test_long_chains_of_layers(rng):
    """The arena gives memory to one value after another; every activation is applied by its product."""
    net, y = net_and_input()
    features = 3
    for k, units in enumerate((5, 5, 4, 6, 5, 1, 3, 33)):
        y = net.builder.add("dense", y, net.weights(features, units), net.weights(units))
        y, features = net.builder.add(("tanh", "relu", "sigmoid")[k % 3], y), units
    graph = net.graph(y=y)
    assert launches(graph) == ["gemm"] * 8
    assert_computes(graph, rng)


def test_hidden_values_need_no_memory():
    from edgelstm.cuda.fused import hiding

    net, y = net_and_input(64)
    for name in ("tanh", "relu"):
        y = net.builder.add(name, net.dense(y, 64))
    graph = net.graph(y=y)
    plans = [plan(graph, shapes_of(graph, 4, 8), 2, PackedWeights(), rework=rework) for rework in (None, hiding.hide)]
    assert [program.arena_nbytes // (4 * 8 * 64 * 4) for program in plans] == [2, 1]


UNARY = ("tanh", "relu", "sqrt", "neg", "clip", "elu", "round", "sign")
BINARY = ("add", "sub", "mul", "div", "maximum", "prelu", "pow", "less", "equal")
SHAPES = [("B", "T", 3), ("B", "T", 3), ("B", "T", 1), ("B", 1, 3)]


def random_chain(rng, calls):
    """A graph of elementwise ops over inputs that broadcast: (batch, steps, 3) after the first; some values are also shown."""
    builder = GraphBuilder()
    inputs = [builder.input(f"x{k}", "float32", shape) for k, shape in enumerate(SHAPES)]
    constants = [builder.constant(rng.standard_normal(shape).astype(np.float32), "w") for shape in ((3,), (1, 1))]
    whole, value = [inputs[0]], inputs[0]
    for _ in range(calls):
        name = rng.choice(UNARY + BINARY)
        if name in UNARY:
            attrs = {"clip": {"min": -0.5, "max": 1.5}, "elu": {"alpha": 0.3}}.get(name, {})
            value = builder.add(name, value, **attrs)
        else:
            other = rng.choice([*whole, *inputs, *constants]) if name != "prelu" else constants[0]
            first, second = (value, other) if rng.random() < 0.7 or name == "prelu" else (other, value)
            value = builder.add(name, first, second)
            if name in ("less", "equal"):
                chosen = builder.add("where", value, rng.choice(whole), whole[-1])
                value = chosen if rng.random() < 0.5 else builder.add("cast", value, to="float32")
        whole.append(value)
    shown = {f"y{k}": v for k, v in enumerate([value, *rng.choice(whole[1:], int(rng.integers(0, 2)), replace=False)])}
    for name, v in shown.items():
        builder.output(name, v)
    return axes.mark(passes.simplify(builder.build()))


@pytest.mark.parametrize("seed", range(24))
def test_random_chains(seed):
    rng = np.random.default_rng(seed)
    calls = int(rng.integers(2, 12))
    graph = random_chain(rng, calls)
    found = launches(graph)
    assert len(found) <= max(1, calls), found
    batch, steps = SIZES[seed % len(SIZES)]
    feeds = feeds_for(graph, rng, batch, steps)
    for array in feeds.values():
        array[rng.random(array.shape) < 0.1] = rng.choice([np.nan, np.inf, 0.0])
    assert_same_as_one_by_one(graph, feeds)


def assert_same_as_one_by_one(graph, feeds):
    """As the kernels of the ops one after the other give it, bit by bit, and within a tolerance the reference."""
    from unittest import mock

    from edgelstm.cuda import backend

    with np.errstate(all="ignore"):
        found = Model(graph, device="cuda").run(feeds)
        with mock.patch.object(backend, "hide", None):
            single = Model(graph, device="cuda").run(feeds)
    for name, array in found.items():
        np.testing.assert_array_equal(array, single[name], err_msg=name)


CHAINS = {
    "normalised": lambda net, x: net.builder.add("add", net.builder.add("mul", x, net.weights(3)), net.weights(3)),
    "magnitude": lambda net, x: net.builder.add("sqrt", net.builder.add("add", net.builder.add("square", x), net.builder.add(
        "square", net.builder.add("flip", x, axes=(2,))))),
    "transposed": lambda net, x: net.builder.add("transpose", net.builder.add("silu", net.builder.add(
        "transpose", net.builder.add("relu", x), perm=(1, 0, 2))), perm=(2, 0, 1)),
    "masked": lambda net, x: net.builder.add("where", net.builder.add("less", x, net.weights(3)), net.builder.add("exp", x), x),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_one_launch(name, rng):
    net, x = net_and_input()
    graph = net.graph(y=CHAINS[name](net, x))
    assert launches(graph) == ["expression"]
    for batch, steps in SIZES:
        assert_computes(graph, rng, batch, steps)


def test_what_parts_compute_is_joined_by_one_launch_each(rng):
    """Activations of parts are written where the joined value has them; a value of which all need a part stays."""
    net, x = net_and_input(6)
    first, second = net.builder.add_many("split", x, axis=2, sizes=(2, 4), used=2)
    joined = net.builder.add("concat", net.builder.add("tanh", first), net.builder.add("relu", second), axis=2)
    graph = net.graph(y=joined)
    assert launches(graph) == ["expression"] * 2
    assert_computes(graph, rng)
    net, x = net_and_input(6)
    first, second = net.builder.add_many("split", net.builder.add("exp", x), axis=2, sizes=(2, 4), used=2)
    graph = net.graph(y=net.builder.add("concat", net.builder.add("tanh", first), net.builder.add("relu", second), axis=2))
    assert launches(graph) == ["expression"] * 3
    assert_computes(graph, rng)


@pytest.mark.parametrize("perm", [(0, 1, 2), (1, 0, 2)])
def test_costly_formulas_are_not_repeated_for_what_is_broadcast(perm, rng):
    """Nor through a copy, whose elements are as many as theirs."""
    net, x = net_and_input(1)
    y = net.builder.add("transpose", net.builder.add("exp", x), perm=perm)
    graph = net.graph(y=net.builder.add("mul", y, net.weights(5)))
    assert launches(graph) == ["expression"] * 2
    assert_computes(graph, rng)


def embedded(reader, dtype="int32", wrap=False):
    """Tokens (B, T) -> Embedding (7, 3) -> what a reader makes of its net and that."""
    net = Layers()
    x = net.builder.input("x", dtype, ("B", "T"))
    return net.graph(y=reader(net, net.builder.add("embedding", x, net.weights(7, 3), wrap=wrap)))


READERS = {
    "dense": (lambda net, e: net.dense(e, 5), ["gemm"]),
    "lstm": (lambda net, e: net.recurrent("lstm", e, 4, gates=4), ["gemm", "lstm"]),
    "two layers": (lambda net, e: net.builder.add("concat", net.recurrent("lstm", e, 2, gates=4), net.recurrent(
        "gru", e, 2, gates=3), axis=2), ["gemm", "lstm", "gemm", "gru"]),
    "time first": (lambda net, e: net.dense(net.builder.add("transpose", e, perm=(1, 0, 2)), 5), ["gemm"]),
    "beside": (lambda net, e: net.builder.add("concat", net.dense(e, 2), e, axis=2), ["gemm", "expression"]),
    "scaled": (lambda net, e: net.dense(net.builder.add("mul", e, net.weights(3)), 5), ["expression", "gemm"]),
    "summed": (lambda net, e: net.builder.add("reduce_sum", e, axes=(1,)), ["expression", "reduce_sum_f32"]),
}


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
@pytest.mark.parametrize("reader", READERS)
def test_products_read_rows_of_a_table(reader, dtype, rng):
    graph = embedded(READERS[reader][0], dtype)
    assert launches(graph) == READERS[reader][1]
    for batch, steps in SIZES:
        feeds = {"x": rng.integers(0, 7, (batch, steps)).astype(dtype)}
        assert_computes(graph, rng, feeds=feeds)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_indices_out_of_range_take_the_nearest_row(dtype, wrap, rng):
    """A fraction is cut off, not a number counts as the lowest, and with `wrap` negative ones count from the end before."""
    graph = embedded(READERS["dense"][0], dtype, wrap)
    tokens = np.array([[-9, -8, -7, -1, 0], [6, 7, 8, 100, -100]])
    feeds = {"x": tokens.astype(dtype)}
    if dtype == "float32":
        feeds["x"][0, :3] = np.nan, np.inf, -0.5
    index = np.trunc(np.nan_to_num(feeds["x"].astype(np.float64), nan=-1e9))
    index = np.clip(np.where((index < 0) & wrap, index + 7, index), 0, 6).astype(dtype)
    with np.errstate(all="ignore"):
        found = Model(graph, device="cuda").run(feeds)["y"]
    np.testing.assert_allclose(found, reference.run(graph, {"x": index})["y"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_products_read_rows_of_tables_of_few_bits(precision, rng):
    """The rows are those of the op alone, which other tests compare with its equations."""
    from edgelstm import ops

    op = ops.get("embedding")
    graph, feeds = stored_graph(op, reduced(op, next(iter(op.cases())), precision)[0])
    (rows,) = Model(graph, device="cuda").run(feeds).values()
    builder, (node,) = GraphBuilder(), graph.nodes
    values = {port.value: builder.input(port.name, port.dtype, port.shape, exact=True) for port in graph.inputs}
    values |= {name: builder.stored(array, name) for name, array in graph.constants.items()}
    y = builder.add("embedding", *(None if name is None else values[name] for name in node.inputs), **node.attrs)
    weights = rng.standard_normal((rows.shape[-1], 5)).astype(np.float32)
    builder.output("y", builder.add("dense", y, builder.constant(weights, "w")))
    wide = builder.build()
    assert launches(wide) == ["gemm"]
    np.testing.assert_allclose(Model(wide, device="cuda").run(feeds)["y"], rows @ weights, rtol=0, atol=1e-4)


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
def test_products_read_copied_rows_where_they_lie(perm, rng):
    """Rows of a transposed value, as long as the last axis stays."""
    net, x = net_and_input()
    y = net.builder.add("transpose", x, perm=perm)
    if perm[-1] != 2:
        y = net.builder.add("mul", y, net.weights(1))
        graph = net.graph(y=y)
        assert launches(graph) == ["expression"]
    else:
        graph = net.graph(y=net.dense(net.builder.add("flip", y, axes=(0,)), 5))
        assert launches(graph) == ["gemm"] or perm != (0, 1, 2)
    for batch, steps in SIZES:
        assert_computes(graph, rng, batch, steps)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_a_step_of_one_row_reads_a_row_of_a_table(cell, rng):
    from edgelstm.cuda import decode
    from edgelstm.cuda.fused import fusing

    gates = {"lstm": 4, "gru": 3, "simple_rnn": 1}[cell]
    graph = embedded(lambda net, e: net.dense(net.recurrent(cell, e, 5, gates=gates), 2))
    model, tokens = Model(graph, device="cuda"), rng.integers(0, 7, (1, 6)).astype(np.int32)
    programs = model._programs
    program = programs.for_stream({"x": (1, 1)}, programs.stream_memory(1))
    assert [call.kernel for call in fusing.fused(decode.calls(program))] == [f"{cell}_step", "gemm1"]
    stream, expected = model.stream(), reference.run(graph, {"x": tokens})["y"]
    for t in range(6):
        np.testing.assert_allclose(stream.step(tokens[0, t]), expected[0, t], rtol=0, atol=2e-6)


def test_values_stay_where_somebody_writes_what_they_read(rng):
    """A stream's window is moved on before all that reads it has run."""
    net, x = net_and_input()
    y = net.builder.add("conv1d", net.builder.add("relu", x), net.weights(3, 3, 3), net.weights(3), padding="causal")
    y = net.builder.add("tanh", net.builder.add("add", net.builder.add("relu", x), y))
    graph = net.graph(y=net.recurrent("gru", y, 2, gates=3))
    x, stream = rng.standard_normal((2, 6, 3)).astype(np.float32), Model(graph, device="cuda").stream(2)
    expected = reference.run(graph, {"x": x})["y"]
    for t in range(6):
        np.testing.assert_allclose(stream.step(x[:, t]), expected[:, t], rtol=0, atol=2e-6)


def call(kernel, **params):
    from edgelstm import kernels

    return kernel, [params.get(name, 1 if kind == "int" else None) for name, kind in kernels.get(kernel).params]


@pytest.mark.parametrize(("between", "hidden"), [
    (None, True), ("reads", True), ("writes", False), ("unknown", False)])
def test_a_call_is_not_delayed_past_one_that_writes_what_it_reads(between, hidden):
    from edgelstm.cuda.fused import hiding
    from edgelstm.program.operands import Buffer, Operand, Space

    def value(space=None):
        return Operand((4,), "float32", None, Buffer(16, space))

    a, b, c, other, shown = value(), value(), value(), value(), value(Space.PORTS)
    calls = [call("relu_f32", x=c, y=a, n=4), call("tanh_f32", x=a, y=b, n=4)]
    calls += {None: [], "reads": [call("neg_f32", x=a, y=other, n=4)], "writes": [call("neg_f32", x=other, y=a, n=4)],
              "unknown": [call("layer_norm_f32", x=other, gamma=a, beta=other, y=other)]}[between]
    calls.append(call("exp_f32", x=b, y=shown, n=4))
    hiding.hide(calls)
    assert (b.buffer.space == Space.NOWHERE) == hidden
    assert (a.buffer.space == Space.NOWHERE) == (between is None)
