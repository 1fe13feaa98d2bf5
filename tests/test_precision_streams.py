"""Streams of reduced precision: steps, blocks and a stream that was saved and restored give what `predict` gives."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import edgelstm
from edgelstm.precision.apply import apply
from edgelstm.precision.calibrate import calibrate
from edgelstm.precision.integer import integer
from tests.conftest import Layers

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
REDUCED = ("bfloat16", "int8", "int8-static", "int4")
WHOLE = ("integer", "integer-ports")


def graph_of(cell, units, features, precision, seed=0):
    """x (batch, time, features) -> cell -> dense 3 in a precision."""
    net = Layers(seed)
    x = net.builder.input("x", "float32", ("batch", "time", features))
    graph = net.graph(y=net.dense(net.recurrent(cell, x, units, gates=GATES[cell]), 3))
    data = np.random.default_rng(seed).standard_normal((2, 8, features)).astype(np.float32)
    if precision in WHOLE:
        return integer(graph, data, integer_ports=precision == "integer-ports")
    seen = calibrate(graph, data) if precision == "int8-static" else None
    return apply(graph, {node.name: precision for node in graph.nodes}, seen, scales="max")


def frames_for(model, shape, seed=1):
    """Random inputs of the model's dtype; of integers all that there are."""
    rng, dtype = np.random.default_rng(seed), model.inputs[0].dtype
    return rng.integers(-128, 128, shape).astype(dtype) if dtype == "int8" else rng.standard_normal(shape).astype(dtype)


def streamed(model, x, cuts, batch):
    """The outputs of a stream: single steps and blocks in turn, each by a new stream that goes on from the last one's state."""
    parts, state = [], model.stream(batch).state
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, x.shape[1]], strict=True)):
        stream = model.stream(batch)
        stream.restore(state)
        if number % 2:
            parts.append(stream.run(x[:, start:stop]))
        else:
            frames = x[:, start:stop].swapaxes(0, 1).copy()
            frames = frames[:, 0] if batch == 1 else frames
            parts += [stream.step(frame).reshape(batch, 1, -1) for frame in frames]
        state = stream.state
    return np.concatenate(parts, axis=1) if parts else model.predict(x)


@settings(max_examples=60, deadline=None)
@given(cell=st.sampled_from(sorted(GATES)), units=st.integers(1, 40), features=st.integers(1, 20),
       precision=st.sampled_from(REDUCED + WHOLE), batch=st.integers(1, 3), steps=st.integers(0, 9), data=st.data())
def test_any_way_through_a_sequence_gives_the_same(cell, units, features, precision, batch, steps, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, steps), max_size=4)))
    model = edgelstm.load(graph_of(cell, units, features, precision))
    x = frames_for(model, (batch, steps, features))
    whole, parts = model.predict(x), streamed(model, x, cuts, batch)
    assert parts.dtype == whole.dtype and parts.shape == whole.shape
    if precision == "bfloat16":
        np.testing.assert_allclose(parts, whole, rtol=2e-6, atol=2e-6)
    else:
        np.testing.assert_array_equal(parts, whole)
