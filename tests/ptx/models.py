"""Products, ops and whole models on the machine, through the sessions, streams and pools of the GPU backend."""

from collections.abc import Callable

import numpy as np

import edgelstm
from edgelstm import ops, reference
from edgelstm.graph import Graph
from edgelstm.model import Model
from edgelstm.precision.apply import apply
from tests.conftest import Layers
from tests.ptx.cases import Feeds, compare
from tests.ptx.device import Machine, in_place_of_gpu
from tests.test_cuda_reduced import graph_of as stored_graph
from tests.test_ops import CASES, graph_of
from tests.test_ops_reduced import reduced

FORMATS = ("float32", "bfloat16", "int8x16", "int4")
PRODUCTS = [  # batch, steps, features, units, taps: few rows in flat tiles, more in tall ones; several chunks of inputs
    (1, 1, 1, 1, 1), (3, 5, 33, 35, 1), (2, 17, 67, 70, 1), (1, 3, 33, 65, 3), (3, 11, 5, 66, 3), (2, 0, 3, 4, 1)]
SHOWN = {  # of each op, the cases that CI runs: reductions, tables, copies, integer layers
    "softmax": 1, "layer_norm": 1, "max_pool1d": 1, "embedding": 1, "matmul": 1, "cumsum": 1, "cast": 2, "lstm_integer": 1,
    "dense_integer": 1, "softmax_integer": 1, "reduce_mean": 1,
}  # fmt: skip


def assert_all(everything: bool) -> None:
    assert_products_agree()
    assert_ops_agree(everything)
    assert_models_agree()


def assert_products_agree() -> None:
    """Against the equations; int8 and int4 have the bits of the processors' kernels."""
    machine = Machine((9, 0))
    for form in FORMATS:
        for size in PRODUCTS:
            graph, feeds = product(form, *size)
            found = on_machine(machine, graph, feeds)
            compare(graph, feeds, found, f"{form} {size}")
            if form.startswith("int"):
                np.testing.assert_array_equal(found["y"], Model(graph).run(feeds)["y"], err_msg=f"{form} {size}")
    for name, chosen in (("dense", "7x33x65"), ("conv1d", "strided")):  # int8 with one scale a row
        op = ops.get(name)
        case = next(case for case in op.cases() if case.name == chosen)
        graph, feeds = stored_graph(op, reduced(op, case, "int8")[0])
        np.testing.assert_array_equal(on_machine(machine, graph, feeds)["y0"], Model(graph).run(feeds)["y0"], err_msg=name)


def product(form: str, batch: int, steps: int, features: int, units: int, taps: int) -> tuple[Graph, Feeds]:
    """A Dense layer, or a causal Conv1D of several taps."""
    net = Layers(seed=units)
    x = net.builder.input("x", "float32", ("B", "T", features))
    convolved = ("conv1d", x, net.weights(taps, features, units), net.weights(units))
    y = net.builder.add(*convolved, padding="causal") if taps > 1 else net.dense(x, units)
    graph = net.graph(y=y)
    if form != "float32":
        graph = apply(graph, {node.name: form for node in graph.nodes}, scales="max")
    return graph, {"x": net.rng.standard_normal((batch, steps, features)).astype(np.float32)}


def on_machine(machine: Machine, graph: Graph, feeds: Feeds) -> Feeds:
    with in_place_of_gpu(machine), np.errstate(all="ignore"):
        return Model(graph, device="cuda").run(feeds)


def assert_ops_agree(everything: bool = False) -> None:
    """Some of the cases of some ops, or all of all."""
    machine, left = Machine((9, 0)), dict(SHOWN)
    for op, case in sorted(CASES, key=lambda entry: sum(np.size(array) for array in entry[1].inputs if array is not None) < 7):
        if not everything and not left.get(op.name):
            continue
        left[op.name] = left.get(op.name, 0) - 1
        graph, feeds = graph_of(op, case)
        found, expected = on_machine(machine, graph, feeds), reference.run(graph, feeds)
        for name, array in found.items():
            with np.errstate(all="ignore"):
                wanted = expected[name].astype(array.dtype)
            exact = dict(rtol=0, atol=0) if "integer" in op.name else dict(rtol=case.rtol, atol=case.atol)
            np.testing.assert_allclose(array, wanted, equal_nan=True, err_msg=f"{op.name} {case.name} {name}", **exact)
    assert set(SHOWN) <= set(ops.all_ops())


def stack() -> Graph:
    """Tokens -> Embedding -> an LSTM in each direction -> Dense with tanh."""
    net = Layers()
    tokens = net.builder.input("tokens", "int32", ("B", "T"))
    x = net.builder.add("embedding", tokens, net.weights(11, 6))
    both = [net.recurrent("lstm", x, 5, gates=4, reverse=reverse) for reverse in (False, True)]
    return net.graph(y=net.builder.add("tanh", net.dense(net.builder.add("concat", *both, axis=2), 5)))


def stream() -> Graph:
    """x -> causal Conv1D -> SimpleRNN -> Dense: states of two ops."""
    net = Layers()
    x = net.builder.input("x", "float32", ("B", "T", 3))
    y = net.builder.add("conv1d", x, net.weights(3, 3, 4), net.weights(4), padding="causal")
    return net.graph(y=net.dense(net.recurrent("simple_rnn", y, 33, gates=1), 2))


def assert_models_agree() -> None:
    machine, rng = Machine((9, 0)), np.random.default_rng(5)
    graph = stack()
    for batch, steps in ((2, 5), (2, 1), (1, 0)):
        feeds = {"tokens": rng.integers(0, 11, (batch, steps)).astype(np.int32)}
        compare(graph, feeds, on_machine(machine, graph, feeds), f"a stack at {batch, steps}")
    for check in (_streams, _pools):
        with in_place_of_gpu(machine) as calls:
            check(stream(), rng)
        assert calls.replayed, "no step was recorded as a graph"


def _streams(graph: Graph, rng: np.random.Generator) -> None:
    """Blocks and steps of three streams, with states that are taken back."""
    x = rng.standard_normal((3, 6, 3)).astype(np.float32)
    expected, made = reference.run(graph, {"x": x})["y"], edgelstm.load(graph, device="cuda").stream(3)
    near = _near(expected)
    near(made.run(x[:, :2]), slice(0, 2))
    state = made.state
    for t in (2, 3):
        near(made.step(x[:, t]), t)
    made.restore(state)
    for t in range(2, 6):
        near(made.step(x[:, t]), t)


def _near(expected: np.ndarray) -> Callable[..., None]:
    return lambda found, t: np.testing.assert_allclose(found, expected[:, t], rtol=0, atol=2e-6)


def _pools(graph: Graph, rng: np.random.Generator) -> None:
    """Four streams of which some rest."""
    pool, model = edgelstm.load(graph, device="cuda").pool(4), edgelstm.load(graph)
    streams = {pool.open(): model.stream() for _ in range(4)}
    for stepping in ((0, 1, 2), (1, 3, 2), (0, 1, 2, 3), (0, 2, 3)):
        chosen = [list(streams)[k] for k in stepping]
        frames = {handle: rng.standard_normal(3).astype(np.float32) for handle in chosen}
        for handle, found in pool.step(frames).items():
            np.testing.assert_allclose(found, streams[handle].step(frames[handle]), rtol=0, atol=2e-6)
