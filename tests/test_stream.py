"""Streams: step by step equals the whole, state is carried, copied and restored, and misuse is one clear error."""

import gc
import threading

import numpy as np
import pytest

import edgelstm
from edgelstm import axes
from edgelstm.builder import GraphBuilder
from tests.conftest import Layers, stacked_graph


@pytest.mark.parametrize("batch", [1, 3])
def test_steps_equal_predict(stacked, rng, batch):
    model = edgelstm.load(stacked)
    x = rng.standard_normal((batch, 9, 5)).astype(np.float32)
    stream = model.stream(batch=batch)
    frames = [x[0, t] if batch == 1 else x[:, t] for t in range(9)]
    stepped = np.stack([stream.step(frame) for frame in frames], axis=-2)
    np.testing.assert_allclose(stepped.reshape(batch, 9, 3), model.predict(x), atol=1e-6)


def test_last_output_models_step_to_the_same_end(rng):
    model = edgelstm.load(stacked_graph(sequences=False))
    x = rng.standard_normal((1, 6, 5)).astype(np.float32)
    stream = model.stream()
    last = [stream.step(frame) for frame in x[0]][-1]
    np.testing.assert_allclose(last, model.predict(x)[0], atol=1e-6)


def test_run_continues_where_the_last_block_ended(stacked, rng):
    model = edgelstm.load(stacked)
    x = rng.standard_normal((2, 10, 5)).astype(np.float32)
    stream = model.stream(batch=2)
    blocks = [stream.run(x[:, :4]), stream.run(x[:, 4:4]), stream.run(x[:, 4:5]), stream.run(x[:, 5:])]
    assert [b.shape[1] for b in blocks] == [4, 0, 1, 5]
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), model.predict(x), atol=1e-6)


def test_reset_and_restore(stacked, rng):
    model = edgelstm.load(stacked)
    x = rng.standard_normal((6, 5)).astype(np.float32)
    stream = model.stream()
    first = stream.step(x[0])
    saved = stream.state
    after = [stream.step(frame) for frame in x[1:]]
    stream.restore(saved)
    np.testing.assert_array_equal([stream.step(frame) for frame in x[1:]], after)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x[0]), first)
    assert set(saved) == {"lstm.h", "lstm.c", "gru.h", "simple_rnn.h"}
    saved["lstm.h"][:] = 9
    assert not np.any(stream.state["lstm.h"] == 9)


def test_streams_are_independent(stacked, rng):
    model = edgelstm.load(stacked)
    x = rng.standard_normal((4, 5)).astype(np.float32)
    alone = [model.stream().step(x[0])]
    one, two = model.stream(), model.stream()
    two.step(x[3])
    np.testing.assert_array_equal(one.step(x[0]), alone[0])


def test_fresh_outputs_are_no_views(stacked, rng):
    stream = edgelstm.load(stacked).stream()
    x = rng.standard_normal((2, 5)).astype(np.float32)
    first = stream.step(x[0])
    kept = first.copy()
    stream.step(x[1])
    np.testing.assert_array_equal(first, kept)


def test_out_is_filled_and_returned(stacked, rng):
    stream = edgelstm.load(stacked).stream()
    out = np.zeros(3, np.float32)
    assert stream.step(rng.standard_normal(5).astype(np.float32), out=out) is out
    assert np.any(out)


@pytest.mark.parametrize("batch", [1, 3])
def test_buffers_are_filled_and_read_in_place(stacked, rng, batch):
    model = edgelstm.load(stacked)
    x = rng.standard_normal((6, batch, 5)).astype(np.float32).reshape((6, 5) if batch == 1 else (6, batch, 5))
    stream, other = model.stream(batch), model.stream(batch)
    frame, y = stream.buffers()
    for given in x:
        frame[...] = given
        stream.advance()
        np.testing.assert_array_equal(y, other.step(given))


def test_buffers_of_several_inputs_and_outputs_are_lists(layers):
    b = layers.builder
    one, two = (b.input(name, "float32", ("batch", "time", 4)) for name in ("one", "two"))
    y = layers.recurrent("gru", b.add("add", one, two), 3, gates=3)
    stream = edgelstm.load(layers.graph(y=y, z=layers.dense(y, 2))).stream()
    ins, outs = stream.buffers()
    assert [a.shape for a in ins] == [(4,), (4,)] and [a.shape for a in outs] == [(3,), (2,)]


def test_every_way_to_give_a_frame_steps_alike(stacked, rng):
    model = edgelstm.load(stacked)
    x = rng.standard_normal((5, 5)).astype(np.float32)
    expected = model.predict(x[None])[0]
    out, other = np.zeros(3, np.float32), np.zeros((3, 2), np.float32)[:, 0]
    stream = model.stream()
    given = [x[0], x[1].astype(np.float64), list(x[2]), np.stack([x[3], x[3]], 1)[:, 0], x[4:5].reshape(1, 1, 5)]
    for frame, wanted, target in zip(given, expected, [out, out, other, other, out], strict=True):
        assert stream.step(frame, out=target) is target
        np.testing.assert_allclose(target, wanted, atol=1e-6)


@pytest.mark.parametrize("frame", [np.zeros(4, "f4"), np.zeros((), "f4"), 0.0, np.zeros((2, 5), "f4"), "abc", None,
                                   np.zeros(5, complex), [np.zeros(5)] * 2])
def test_wrong_frames_are_refused_and_change_nothing(stacked, frame):
    stream = edgelstm.load(stacked).stream()
    before = stream.state
    with pytest.raises(edgelstm.ShapeError):
        stream.step(frame)
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("out", [np.zeros(4, "f4"), np.zeros(3, "f8"), [0.0] * 3, read_only(np.zeros(3, "f4"))])
def test_wrong_out_is_refused_and_changes_nothing(stacked, out):
    stream = edgelstm.load(stacked).stream()
    before = stream.state
    with pytest.raises(edgelstm.ShapeError):
        stream.step(np.ones(5, "f4"), out=out)
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_unknown_names_and_batches_are_refused(stacked):
    stream = edgelstm.load(stacked).stream()
    with pytest.raises(edgelstm.ShapeError, match="typo"):
        stream.run({"x": np.zeros((1, 2, 5), "f4"), "typo": np.zeros(3)})
    with pytest.raises(edgelstm.ShapeError, match="batch 2"):
        stream.run(np.zeros((2, 3, 5), "f4"))
    for batch in (0, -1, 1.5, True, "2"):
        with pytest.raises(edgelstm.ShapeError, match="whole number"):
            edgelstm.load(stacked).stream(batch=batch)


@pytest.mark.parametrize("state", [None, {}, {"lstm.h": np.zeros((1, 17))}, [1, 2]])
def test_foreign_states_are_refused(stacked, state):
    with pytest.raises(edgelstm.ShapeError):
        edgelstm.load(stacked).stream().restore(state)


def test_a_stream_in_use_refuses_reset_state_and_restore(stacked):
    stream = edgelstm.load(stacked).stream()
    saved = stream.state
    with stream._owned():
        for call in (stream.reset, lambda: stream.state, lambda: stream.restore(saved),
                     lambda: stream.run(np.zeros((1, 2, 5)))):
            with pytest.raises(edgelstm.DeviceError, match="another thread"):
                call()


def test_states_may_have_the_same_name_as_a_node_s_slot(rng):
    net = Layers()
    b = net.builder
    x, s = b.input("x", "float32", ("batch", "time", 4)), b.input("lstm.h", "float32", ("batch", 3))
    y = net.recurrent("lstm", x, 3, gates=4)
    graph = net.graph(y=y, s=b.add("add", s, b.constant(np.float32(1))))
    from dataclasses import replace

    stream = edgelstm.load(replace(graph, states=(("lstm.h", "s"),))).stream()
    first = stream.step(np.ones(4))
    assert len(stream.state) == 3
    stream.reset()
    np.testing.assert_array_equal(stream.step(np.ones(4)), first)


def test_a_value_that_holds_the_number_of_steps_cannot_stream(layers):
    b = layers.builder
    x = b.input("x", "float32", ("batch", "time", 4))
    steps = b.add("cast", b.add("gather", b.add("shape", x), b.constant(np.int64(1))), to="float32")
    mean = b.add("div", layers.recurrent("lstm", x, 3, gates=4), steps, name="mean")
    with pytest.raises(edgelstm.DeviceError, match="'mean'"):
        edgelstm.load(layers.graph(y=mean)).stream()


def test_other_dtypes_and_lists_are_converted(stacked, rng):
    model = edgelstm.load(stacked)
    x = rng.standard_normal(5)
    expected = model.stream().step(x.astype(np.float32))
    np.testing.assert_array_equal(model.stream().step(x), expected)
    np.testing.assert_array_equal(model.stream().step(list(x)), expected)
    np.testing.assert_array_equal(model.stream().step(np.asfortranarray(np.stack([x, x], 1))[:, 0]), expected)
    assert model.stream().step([1, 2, 3, 4, 5]).dtype == np.float32


def test_backward_models_name_the_node_that_needs_the_future(layers):
    x = layers.builder.input("x", "float32", ("batch", "time", 4))
    graph = layers.graph(y=layers.recurrent("lstm", x, 3, gates=4, reverse=True))
    with pytest.raises(edgelstm.DeviceError, match="'lstm'.*backwards"):
        edgelstm.load(graph).stream()


def test_nan_stays_nan(stacked):
    stream = edgelstm.load(stacked).stream()
    assert np.isnan(stream.step(np.full(5, np.nan, np.float32))).all()


def test_a_second_caller_gets_an_error(stacked, rng):
    stream = edgelstm.load(stacked).stream()
    frame = rng.standard_normal(5).astype(np.float32)
    caught = []

    def call():
        try:
            stream.step(frame)
        except edgelstm.DeviceError as error:
            caught.append(str(error))

    with stream._owned():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    stream.step(frame)
    assert "another thread" in caught[0]


def test_threads_share_a_model(rng):
    model = edgelstm.load(stacked_graph(units=33))
    x = rng.standard_normal((4, 40, 5)).astype(np.float32)
    expected = model.predict(x)
    found: dict[int, np.ndarray] = {}

    def work(row: int) -> None:
        stream = model.stream()
        for _ in range(20):
            stream.reset()
            stepped = np.stack([stream.step(frame) for frame in x[row]])
            whole = model.predict(x[row : row + 1])
            np.testing.assert_allclose(stepped, whole[0], atol=1e-6)
        found[row] = stepped

    threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(np.stack([found[row] for row in range(4)]), expected, atol=1e-6)


def explicit_state_graph():
    net = Layers()
    b = net.builder
    x = b.input("x", "float32", ("batch", "time", 4))
    h0 = b.input("h0", "float32", ("batch", 3))
    y, h = b.add_many("simple_rnn", x, net.weights(4, 3), net.weights(3, 3), net.weights(3), h0, used=2)
    graph = net.graph(y=y, hn=h)
    from dataclasses import replace

    return replace(graph, states=(("h0", "hn"),))


def test_explicit_states_are_carried_by_streams_and_plain_elsewhere(rng):
    model = edgelstm.load(explicit_state_graph())
    x = rng.standard_normal((1, 5, 4)).astype(np.float32)
    y, hn = model.predict(x)
    stream = model.stream()
    np.testing.assert_allclose(np.stack([stream.step(frame) for frame in x[0]]), y[0], atol=1e-6)
    np.testing.assert_allclose(stream.state["h0"], hn, atol=1e-6)
    again = model.run({"x": x, "h0": hn})
    stream.reset()
    stream.run(x)
    np.testing.assert_allclose(stream.run(x), again["y"], atol=1e-6)


def test_pool(stacked, rng):
    model = edgelstm.load(stacked)
    pool = model.pool(2)
    x = rng.standard_normal((3, 5)).astype(np.float32)
    one, two = pool.open(), pool.open()
    with pytest.raises(edgelstm.DeviceError, match="full"):
        pool.open()
    pool.step({one: x[0]})
    found = pool.step({one: x[1], two: x[2]})
    np.testing.assert_array_equal(found[two], model.stream().step(x[2]))
    pool.close(one)
    with pytest.raises(edgelstm.DeviceError, match="no open stream"):
        pool.step({one: x[0]})
    three = pool.open()
    np.testing.assert_array_equal(pool.step({three: x[0]})[three], model.stream().step(x[0]))
    assert three not in (one, two)
    before = pool._open[two].state
    with pytest.raises(edgelstm.ShapeError):
        pool.step({two: x[0], three: x[0][:2]})
    np.testing.assert_array_equal(pool._open[two].state["lstm.h"], before["lstm.h"])


def test_a_last_step_spread_over_time_cannot_stream(layers):
    b = layers.builder
    x = b.input("x", "float32", ("batch", "time", 4))
    y = layers.recurrent("gru", x, 4, gates=3)
    last = b.add("unsqueeze", layers.recurrent("lstm", y, 4, gates=4, sequences=False), axes=[1])
    graph = layers.graph(y=b.add("add", y, last, name="residual"))
    with pytest.raises(edgelstm.DeviceError, match="'residual'"):
        edgelstm.load(graph).stream()


def test_positions_cannot_stream(layers):
    b = layers.builder
    x = b.input("x", "float32", ("batch", "time", 4))
    steps = b.add("gather", b.add("shape", x), b.constant(np.int64(1)))
    positions = b.add("range", b.constant(np.int64(0)), steps, b.constant(np.int64(1)), name="positions")
    added = b.add("unsqueeze", b.add("cast", positions, to="float32"), axes=[1])
    y = b.add("add", layers.recurrent("gru", x, 4, gates=3), added)
    with pytest.raises(edgelstm.DeviceError, match="'positions'"):
        edgelstm.load(layers.graph(y=y)).stream()


def test_advance_outlives_its_stream(rng):
    stream = edgelstm.load(stacked_graph()).stream()
    frame, shown = stream.buffers()
    frame[:] = rng.standard_normal(5)
    advance = stream.advance
    expected = edgelstm.load(stacked_graph()).stream().step(frame.copy())
    del stream
    gc.collect()
    advance()
    np.testing.assert_array_equal(shown, expected)


def framed_graph():
    """frames (batch, samples) and a state: a model that accepts frames of any length from 3 on, and none of length 1."""
    b = GraphBuilder()
    x, s = b.input("x", "float32", ("batch", "samples"), batch=0), b.input("s", "float32", ("batch", 2), batch=0)
    padded = b.add("pad", x, b.constant([0, 2, 0, 0]), mode="reflect")
    total = b.add("add", s, b.add("reduce_sum", padded, axes=[1], keepdims=True))
    return b, total


def test_a_stream_takes_the_length_of_its_first_frame(rng):
    b, total = framed_graph()
    b.output("y", b.add("tanh", total))
    b.output("sn", total)
    model = edgelstm.load(axes.mark(b.build(states=[("s", "sn")])))
    assert model.streaming.open == ("samples",)
    stream = model.stream()
    with pytest.raises(edgelstm.DeviceError, match="first"):
        stream.advance()
    x = rng.standard_normal((3, 6)).astype(np.float32)
    carried = np.zeros((1, 2), np.float32)
    for frame in x:
        expected = model.run({"x": frame[None], "s": carried})
        carried = expected["sn"]
        np.testing.assert_allclose(stream.step(frame), expected["y"][0], atol=1e-6)
    np.testing.assert_array_equal(stream.state["s"], carried)
    with pytest.raises(edgelstm.ShapeError, match="6"):
        stream.step(x[0][:4])
    np.testing.assert_allclose(stream.run(x[:1, :4]), np.tanh(model.run({"x": x[:1, :4], "s": carried})["sn"]), atol=1e-6)
