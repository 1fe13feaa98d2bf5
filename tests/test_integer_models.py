"""Models in integers alone: what becomes of a graph, its streams, its file and its ports, and how far it is from float64."""

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.axes import mark
from edgelstm.builder import GraphBuilder
from edgelstm.errors import PrecisionError, UnsupportedError
from edgelstm.format import from_bytes, to_bytes
from edgelstm.precision.integer import integer
from edgelstm.probe import with_probes
from tests.conftest import Layers, stacked_graph

BORDER = {"quantize", "dequantize"}


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def ops_of(graph) -> list[str]:
    return [node.op for node in graph.nodes]


def steps_of(graph) -> dict[str, float]:
    """What the integers of each port count, from the notes of a graph."""
    return {note.split("'")[1]: float(note.split()[-1]) for note in graph.notes if "in steps of" in note}


def exact(graph, x) -> np.ndarray:
    """What a model gives, after the check that its reference gives exactly the same."""
    found, wanted = edgelstm.load(graph).run(x), reference.run(graph, x)
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name].astype(array.dtype))
    return next(iter(found.values()))


def random_layer(op: str, features: int, units: int, gates: int, **attrs):
    """Weights N(0, 1/sqrt(units)), as the random layers that precisions are compared with."""
    rng, builder = np.random.default_rng(1), GraphBuilder()
    x = builder.input("x", "float32", ("batch", "time", features))
    shapes = {"W": (features, gates * units), "R": (units, gates * units), "b": (gates * units,)}
    scale = np.float32(1 / np.sqrt(units))
    weights = [builder.constant(normal(rng, *shape) * scale, name) for name, shape in shapes.items()]
    builder.output("y", builder.add(op, x, *weights, name=op, **attrs))
    return mark(builder.build())


@pytest.mark.parametrize(("op", "gates", "attrs", "units", "limit"), [
    ("lstm", 4, {}, 32, 0.03), ("lstm", 4, {}, 128, 0.015),
    ("gru", 3, {}, 32, 0.04), ("gru", 3, {"reset_after": False}, 32, 0.04), ("gru", 3, {}, 128, 0.025),
    ("simple_rnn", 1, {}, 32, 0.08),
])
def test_error_after_a_thousand_steps(op, gates, attrs, units, limit, rng):
    graph = random_layer(op, 16, units, gates, **attrs)
    x = {"x": normal(rng, 1, 1000, 16)}
    found = exact(integer(graph, normal(rng, 2, 1000, 16)), x)
    assert np.max(np.abs(found - reference.run(graph, x)["y"])) < limit


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_streams_give_what_predict_gives(sequences, batch, rng):
    graph = integer(stacked_graph(sequences=sequences), normal(rng, 4, 50, 5))
    model = edgelstm.load(from_bytes(to_bytes(graph)))
    x = normal(rng, batch, 23, 5)
    whole, stream = model.predict(x), model.stream(batch=batch)
    steps = [stream.step(x[0, t] if batch == 1 else x[:, t]).reshape(batch, -1) for t in range(23)]
    assert np.array_equal(steps[-1], whole[:, -1] if sequences else whole)
    assert {name: array.dtype for name, array in stream.state.items()} == {
        "lstm.h": np.int8, "lstm.c": np.int16, "gru.h": np.int16, "simple_rnn.h": np.int8}
    stream.reset()
    stream.run(x[:, :9])
    kept = stream.state
    last = stream.run(x[:, 9:])
    assert np.array_equal(last, whole[:, 9:] if sequences else whole)
    stream.restore(kept)
    assert np.array_equal(stream.run(x[:, 9:]), last)


@pytest.mark.parametrize("shape", [(0, 7), (2, 0), (1, 1), (3, 17)])
def test_any_batch_and_length(shape, rng):
    graph = integer(stacked_graph(), normal(rng, 4, 50, 5))
    assert exact(graph, {"x": normal(rng, *shape, 5)}).shape == (*shape, 3)


def test_only_the_border_knows_floats(rng):
    graph = integer(stacked_graph(), normal(rng, 4, 50, 5))
    assert ops_of(graph) == ["quantize", "lstm_integer", "gru_integer", "simple_rnn_integer", "dense_integer", "dequantize"]
    assert all(array.dtype == np.int8 or array.ndim == 1 for array in graph.constants.values())
    inner = integer(stacked_graph(), normal(rng, 4, 50, 5), integer_ports=True)
    assert not BORDER & set(ops_of(inner))


def test_integer_ports_take_and_give_what_the_notes_say(rng):
    data, x = normal(rng, 4, 50, 5), normal(rng, 2, 30, 5)
    float_graph = stacked_graph()
    graph = integer(float_graph, data, integer_ports=True)
    assert [(spec.name, spec.dtype) for spec in (*edgelstm.load(graph).inputs, *edgelstm.load(graph).outputs)] == [
        ("x", "int8"), ("y", "int8")]
    steps = steps_of(graph)
    given = np.clip(np.rint(x / steps["x"]), -127, 127).astype(np.int8)
    found = exact(graph, {"x": given})
    assert found.dtype == np.int8
    assert np.max(np.abs(found * steps["y"] - edgelstm.load(float_graph).predict(x))) < 0.04
    edgelstm.load(from_bytes(to_bytes(graph))).stream().step(given[0, 0])


def test_a_nan_counts_as_zero(rng):
    graph = integer(stacked_graph(), normal(rng, 4, 50, 5))
    x = normal(rng, 1, 9, 5)
    x[0, 3, 2] = np.nan
    assert np.array_equal(exact(graph, {"x": x}), edgelstm.load(graph).predict(np.nan_to_num(x)))


def state_graph(joined: bool):
    """An LSTM step with explicit states, each of its own or both in one tensor (2, batch, units)."""
    net, units = Layers(), 9
    b = net.builder
    x = b.input("x", "float32", ("batch", 1, 5))
    if joined:
        both = b.input("state", "float32", (2, "batch", units))
        h0, c0 = (b.add("gather", both, b.constant(np.array(i), "i"), axis=0) for i in range(2))
    else:
        h0, c0 = (b.input(name, "float32", ("batch", units)) for name in ("h", "c"))
    y, h, c = b.add_many("lstm", x, net.weights(5, 36), net.weights(units, 36), None, h0, c0, name="lstm", used=3)
    b.output("y", net.dense(y, 3))
    if joined:
        b.output("stateN", b.add("concat", *(b.add("unsqueeze", s, axes=(0,)) for s in (h, c)), axis=0))
        return mark(b.build(states=[("state", "stateN")]))
    for name, value in (("hN", h), ("cN", c)):
        b.output(name, value)
    return mark(b.build(states=[("h", "hN"), ("c", "cN")]))


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("integer_ports", [False, True])
def test_explicit_states_are_carried_without_loss(joined, integer_ports, rng):
    """Fed back from call to call, or carried by a stream: exactly what one LSTM over all steps gives."""
    graph = state_graph(joined)
    data = {"x": normal(rng, 2, 1, 5)} if graph.inputs[0].time is not None else {"x": normal(rng, 40, 2, 1, 5)}
    found = integer(graph, data, integer_ports=integer_ports)
    model, source = edgelstm.load(found), edgelstm.load(graph)
    frames = normal(rng, 25, 1, 1, 5)
    steps = steps_of(found)
    given = [np.clip(np.rint(f / steps["x"]), -127, 127).astype(np.int8) for f in frames] if integer_ports else frames
    stream, state, plain = model.stream(), {}, {}
    for frame, number in zip(frames, given, strict=True):
        row, wanted = model.run({"x": number} | state), source.run({"x": frame} | plain)
        state = {into: row[out] for into, out in graph.states}
        plain = {into: wanted[out] for into, out in graph.states}
        shown = stream.step(number.reshape(stream.buffers()[0].shape))
        assert np.array_equal(np.ravel(shown), np.ravel(row["y"]))
        assert np.max(np.abs(row["y"] * steps.get("y", 1.0) - wanted["y"])) < 0.05
    if not joined:
        assert {name: array.dtype for name, array in state.items()} == (
            {"h": np.int8, "c": np.int16} if integer_ports else {"h": np.float32, "c": np.float32})


def test_directions_that_are_joined_share_a_scale(rng):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    parts = [net.recurrent("lstm", x, 17, gates=4), net.recurrent("lstm", x, 17, gates=4, reverse=True)]
    graph = net.graph(y=net.dense(net.builder.add("concat", *parts, axis=2), 3))
    found = integer(graph, normal(rng, 4, 50, 5))
    assert ops_of(found) == ["quantize", "lstm_integer", "lstm_integer", "concat", "dense_integer", "dequantize"]
    x = {"x": normal(rng, 2, 30, 5)}
    assert np.max(np.abs(exact(found, x) - reference.run(graph, x)["y"])) < 0.04


def test_tokens_masks_and_softmax(rng):
    """Embedding, a mask from the tokens, the last state of a GRU, dense with relu, softmax."""
    net = Layers()
    b = net.builder
    tokens = b.input("tokens", "float32", ("batch", "time"))
    index = b.add("cast", tokens, to="int64")
    x = b.add("embedding", index, b.constant(normal(net.rng, 11, 7), "table"))
    mask = b.add("not_equal", index, b.constant(np.array(0), "zero"))
    _, h = b.add_many("gru", x, net.weights(7, 27), net.weights(9, 27), None, None, None, mask, name="gru", used=(False, True))
    y = b.add("softmax", net.dense(b.add("relu", net.dense(h, 6)), 4), axis=-1)
    graph = net.graph(y=y)
    data = rng.integers(0, 11, (64, 12)).astype(np.float32)
    found = integer(graph, data)
    assert ops_of(found) == ["cast", "embedding", "not_equal", "gru_integer", "requantize", "dense_integer", "dense_integer",
                             "softmax_integer", "dequantize"]
    x = {"tokens": rng.integers(0, 11, (5, 12)).astype(np.float32)}
    assert np.max(np.abs(exact(found, x) - reference.run(graph, x)["y"])) < 0.02
    inner = integer(graph, data, integer_ports=True)
    assert (inner.inputs[0].dtype, inner.outputs[0].dtype) == ("int32", "int16")
    assert np.array_equal(exact(inner, {"tokens": x["tokens"].astype(np.int32)}) / np.float32(2**15), exact(found, x))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "gelu", "softplus", "hard_sigmoid", "exp"])
def test_functions_of_one_number_become_tables(name, rng):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    h = net.recurrent("lstm", x, 9, gates=4)
    scaled = net.builder.add("mul", h, net.builder.constant(np.array(-2, np.float32), "factor"))
    graph = net.graph(y=net.builder.add(name, scaled))
    found = integer(graph, normal(rng, 4, 50, 5))
    assert ops_of(found) == ["quantize", "lstm_integer", "lookup_integer", "lookup_integer", "dequantize"]
    x = {"x": normal(rng, 2, 30, 5)}
    assert np.max(np.abs(exact(found, x) - reference.run(graph, x)["y"])) < 0.06


def test_a_file_proves_that_another_machine_computes_the_same(rng):
    graph = with_probes(integer(stacked_graph(), normal(rng, 4, 50, 5)))
    report = edgelstm.load(from_bytes(to_bytes(graph))).verify()
    assert report.ok and report.max_error == 0


def test_everything_without_an_integer_form_is_listed():
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    y = net.recurrent("lstm", x, 9, gates=4, activation="relu")
    norm = net.builder.add("layer_norm", y, net.weights(9), net.weights(9), name="norm")
    y = net.builder.add("add", y, norm, name="residual")
    with pytest.raises(UnsupportedError, match="3 of 3 nodes") as error:
        integer(net.graph(y=y), np.zeros((1, 4, 5), np.float32))
    assert [line.split(":")[0] for line in error.value.problems] == ["node 'lstm' (lstm)", "node 'norm' (layer_norm)",
                                                                     "node 'residual' (add)"]


@pytest.mark.parametrize(("data", "message"), [
    (None, "need calibration data"), (np.zeros((2, 3, 4), np.float32), "do not fit"),
    (np.full((1, 4, 5), np.nan, np.float32), "NaN"), (np.zeros((0, 4, 5), np.float32), "empty"),
])
def test_calibration_data_are_checked(data, message):
    with pytest.raises(PrecisionError, match=message):
        integer(stacked_graph(), data)


def test_silent_calibration_data_still_give_a_model(rng):
    graph = integer(stacked_graph(), np.zeros((1, 4, 5), np.float32))
    exact(graph, {"x": normal(rng, 1, 6, 5)})


@pytest.mark.parametrize("name", ["max", "percentile", "mse"])
def test_ranges_of_activations(name, rng):
    graph, x = stacked_graph(), {"x": normal(rng, 2, 30, 5)}
    found = integer(graph, normal(rng, 4, 50, 5), activation_range=name)
    assert np.max(np.abs(exact(found, x) - reference.run(graph, x)["y"])) < 0.12
    with pytest.raises(PrecisionError, match="'best' is not known"):
        integer(graph, x, activation_range="best")
