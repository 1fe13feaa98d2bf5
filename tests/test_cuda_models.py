"""Models on the device through the public interface, by the simulator."""

import gc
import importlib
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import edgelstm
from edgelstm import DeviceError, ShapeError, reference
from tests import cuda_simulator
from tests.conftest import Layers
from tests.tiny_models import sequence_graph, step_graph, two_in_two_out_graph

pytestmark = cuda_simulator.on_simulator

if cuda_simulator.CHOSEN:
    from numba import cuda

LENGTHS = [(1, 1), (2, 3), (3, 2), (1, 0), (0, 2)]


def feeds_for(graph, batch, steps, rng):
    lengths = {"B": batch, "T": steps}
    return {port.name: rng.standard_normal([lengths.get(d, d) for d in port.shape]).astype(np.float32) for port in graph.inputs}


@pytest.mark.parametrize("make", [sequence_graph, lambda: sequence_graph(True), two_in_two_out_graph, step_graph])
@pytest.mark.parametrize(("batch", "steps"), LENGTHS)
def test_run_equals_reference(make, batch, steps, rng):
    graph = make()
    feeds = feeds_for(graph, batch, steps, rng)
    found, expected = edgelstm.load(graph, device="cuda").run(feeds), reference.run(graph, feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-6, err_msg=name)


def test_repeated_runs_read_what_they_are_given(rng):
    graph = sequence_graph()
    model = edgelstm.load(graph, device="cuda")
    for _ in range(3):
        feeds = feeds_for(graph, 2, 2, rng)
        np.testing.assert_allclose(model.run(feeds)["y"], reference.run(graph, feeds)["y"], rtol=0, atol=2e-6)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("make", [sequence_graph, two_in_two_out_graph, step_graph])
def test_streams_carry_the_state(make, batch, rng):
    graph = make()
    ours, theirs = edgelstm.load(graph, device="cuda").stream(batch), edgelstm.load(graph).stream(batch)
    names = [port for port in graph.inputs if port.name not in dict(graph.states)]
    lead = () if batch == 1 else (batch,)
    for _ in range(3):
        frame = {port.name: rng.standard_normal((*lead, port.shape[-1])).astype(np.float32) for port in names}
        for found, expected in zip(as_list(ours.step(frame)), as_list(theirs.step(frame)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    assert_states_agree(ours, theirs)


def assert_states_agree(ours, theirs):
    assert set(ours.state) == set(theirs.state)
    for name, state in theirs.state.items():
        np.testing.assert_allclose(ours.state[name], state, rtol=0, atol=2e-6)


def as_list(found):
    return found if isinstance(found, list) else [found]


def test_blocks_steps_reset_and_restore_share_one_state(rng):
    graph = sequence_graph()
    x = rng.standard_normal((1, 5, 3)).astype(np.float32)
    whole = reference.run(graph, {"x": x})["y"]
    stream = edgelstm.load(graph, device="cuda").stream()
    np.testing.assert_allclose(stream.run(x[:, :3]), whole[:, :3], rtol=0, atol=2e-6)
    state = stream.state
    np.testing.assert_allclose(stream.step(x[0, 3]), whole[0, 3], rtol=0, atol=2e-6)
    stream.restore(state)
    np.testing.assert_allclose(stream.run(x[:, 3:]), whole[:, 3:], rtol=0, atol=2e-6)
    stream.reset()
    assert not any(array.any() for array in stream.state.values())


def causal_graph():
    """x (B, T, 3) -> causal Conv1D -> GRU -> y (B, T, 5): states of both, that of the convolution with the batch outside."""
    net = Layers()
    x = net.builder.input("x", "float32", ("B", "T", 3))
    y = net.builder.add("conv1d", x, net.weights(3, 3, 4), net.weights(4), name="conv", padding="causal")
    return net.graph(y=net.recurrent("gru", y, 5, gates=3))


def initial_graph():
    """x (B, T, 3) -> LSTM whose h and c begin at numbers of the graph -> y (B, T, 4)."""
    net = Layers()
    x = net.builder.input("x", "float32", ("B", "T", 3))
    size = net.builder.add("concat", net.builder.add("shape", x, start=0, end=1), net.builder.constant(np.array([4])), axis=0)
    starts = [net.builder.add("constant_of_shape", size, value=value, dtype="float32") for value in (0.5, -0.25)]
    weights = [net.weights(*shape) for shape in ((3, 16), (4, 16), (16,))]
    return net.graph(y=net.builder.add("lstm", x, *weights, *starts, name="cell"))


POOLED = [sequence_graph, two_in_two_out_graph, step_graph, causal_graph]


@pytest.mark.parametrize("make", POOLED)
@pytest.mark.parametrize("capacity", [1, 3, 5])
def test_a_pool_serves_streams_that_come_and_go(make, capacity, rng):
    """Some of the streams step, others rest; what closed streams leave is not seen by those that follow."""
    graph = make()
    ours, theirs = edgelstm.load(graph, device="cuda").pool(capacity), edgelstm.load(graph).pool(capacity)
    assert type(ours).__name__ == "DevicePool"
    names = [port for port in graph.inputs if port.name not in dict(graph.states)]
    handles = {ours.open(): theirs.open() for _ in range(capacity)}
    for turn in range(4):
        stepping = [handle for handle in handles if rng.random() < 0.7] or list(handles)[:1]
        frames = {handle: {port.name: rng.standard_normal(port.shape[-1]).astype(np.float32) for port in names}
                  for handle in stepping}
        found = ours.step(frames)
        expected = theirs.step({handles[handle]: frame for handle, frame in frames.items()})
        assert list(found) == stepping
        for handle in stepping:
            for one, other in zip(as_list(found[handle]), as_list(expected[handles[handle]]), strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
        if turn % 2:
            ours.close(stepping[0])
            theirs.close(handles.pop(stepping[0]))
            handles[ours.open()] = theirs.open()
    assert len(ours) == capacity


def test_a_pool_refuses_what_does_not_fit_and_moves_nothing(rng):
    pool = edgelstm.load(sequence_graph(), device="cuda").pool(2)
    first, second = pool.open(), pool.open()
    x = rng.standard_normal((2, 3)).astype(np.float32)
    start = pool.step({first: x[0]})[first]
    with pytest.raises(DeviceError, match="full"):
        pool.open()
    with pytest.raises(ShapeError):
        pool.step({first: x[0], second: x[1, :2]})
    with pytest.raises(DeviceError, match="no open stream 7"):
        pool.step({first: x[0], 7: x[1]})
    np.testing.assert_allclose(pool.step({second: x[0]})[second], start, rtol=0, atol=1e-7)
    assert pool.step({}) == {}
    pool.close(first)
    with pytest.raises(DeviceError):
        pool.close(first)
    again = pool.open()
    np.testing.assert_allclose(pool.step({again: x[0]})[again], start, rtol=0, atol=1e-7)


def test_a_pool_carries_streams_that_show_nothing():
    graph = step_graph()
    graph = replace(graph, outputs=tuple(port for port in graph.outputs if port.name == "hn"))
    frame, found = np.ones(3, np.float32), []
    for device in ("cpu", "cuda"):
        pool = edgelstm.load(graph, device=device).pool(3)
        found.append(pool.step({pool.open(): frame for _ in range(2)}))
    assert found == [{0: [], 1: []}] * 2


def test_parts_of_out_can_not_be_left_out(rng):
    graph, one = two_in_two_out_graph(), cuda.to_device(np.zeros((2, 3), np.float32))
    stream, frame = edgelstm.load(graph, device="cuda").stream(2), [one, cuda.to_device(np.zeros((2, 1), np.float32))]
    with pytest.raises(DeviceError, match="out is a NoneType"):
        stream.step(frame, [one, None])


def test_streams_begin_with_the_initial_state_of_the_graph(rng):
    graph = initial_graph()
    x = rng.standard_normal((1, 2, 3)).astype(np.float32)
    whole, model = reference.run(graph, {"x": x})["y"], edgelstm.load(graph, device="cuda")
    stream, pool = model.stream(), model.pool(3)
    handle = pool.open()
    for t in range(2):
        np.testing.assert_allclose(stream.step(x[0, t]), whole[0, t], rtol=0, atol=2e-6)
        np.testing.assert_allclose(pool.step({handle: x[0, t]})[handle], whole[0, t], rtol=0, atol=2e-6)


def test_blocks_carry_explicit_states(rng):
    graph = step_graph()
    ours, theirs = (edgelstm.load(graph, device=device).stream(2) for device in ("cuda", "cpu"))
    for _ in range(2):
        x = rng.standard_normal((2, 3)).astype(np.float32)
        np.testing.assert_allclose(ours.run(x), theirs.run(x), rtol=0, atol=2e-6)
        np.testing.assert_allclose(ours.step(x), theirs.step(x), rtol=0, atol=2e-6)
    assert_states_agree(ours, theirs)


def test_a_stream_runs_in_place_over_its_own_buffers(rng):
    ours, theirs = (edgelstm.load(two_in_two_out_graph(), device=device).stream(3) for device in ("cuda", "cpu"))
    for stream in (ours, theirs):
        for buffer in stream.buffers()[0]:
            buffer[...] = np.arange(buffer.size).reshape(buffer.shape)
        stream.advance()
    for found, expected in zip(ours.buffers()[1], theirs.buffers()[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("make", [sequence_graph, two_in_two_out_graph, step_graph])
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_take_and_give_arrays_of_the_device(make, batch, rng):
    """With new arrays every time, with the same ones every time, and in turns with steps of the host."""
    graph = make()
    ours, theirs = edgelstm.load(graph, device="cuda").stream(batch), edgelstm.load(graph).stream(batch)
    names = [port for port in graph.inputs if port.name not in dict(graph.states)]
    lead = () if batch == 1 else (batch,)
    kept = {port.name: cuda.to_device(np.zeros((*lead, port.shape[-1]), np.float32)) for port in names}
    out = None
    for turn in range(6):
        frame = {port.name: rng.standard_normal((*lead, port.shape[-1])).astype(np.float32) for port in names}
        expected = as_list(theirs.step(frame))
        if turn == 3:
            found = as_list(ours.step(frame))
        elif turn % 2:
            found = [array.copy_to_host() for array in as_list(ours.step({n: cuda.to_device(a) for n, a in frame.items()}))]
        else:
            for name, array in frame.items():
                kept[name].copy_to_device(array)
            given = kept if len(kept) > 1 else next(iter(kept.values()))
            result = ours.step(given, out)
            assert out is None or result is out
            out, found = result, [array.copy_to_host() for array in as_list(result)]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    assert_states_agree(ours, theirs)


def test_blocks_take_and_give_arrays_of_the_device(rng):
    graph = sequence_graph()
    x = rng.standard_normal((2, 4, 3)).astype(np.float32)
    whole, stream = reference.run(graph, {"x": x})["y"], edgelstm.load(graph, device="cuda").stream(2)
    for part in (slice(0, 3), slice(3, 4)):
        found = stream.run(cuda.to_device(np.ascontiguousarray(x[:, part])))
        np.testing.assert_allclose(found.copy_to_host(), whole[:, part], rtol=0, atol=2e-6)


@pytest.mark.parametrize("put", [np.copy, lambda array: cuda.to_device(array)])
@pytest.mark.parametrize("use", ["run", "block", "step"])
def test_arrays_of_users_are_not_kept(put, use, rng):
    model = edgelstm.load(sequence_graph(), device="cuda")
    stream, shape = model.stream(2), (2, 3) if use == "step" else (2, 4, 3)
    calls = {"run": model.predict, "block": stream.run, "step": stream.step}
    alive, again = [], edgelstm.load(sequence_graph()).stream(2)
    expect = {"run": edgelstm.load(sequence_graph()).predict, "block": again.run, "step": again.step}
    for _ in range(4):
        x = rng.standard_normal(shape).astype(np.float32)
        given = put(x)
        found = calls[use](given)
        computed = found.copy() if put is np.copy else found.copy_to_host()
        np.testing.assert_allclose(computed, expect[use](x), rtol=0, atol=2e-6)
        alive += [weakref.ref(getattr(array, "_ary", array)) for array in (given, found)]
        del given, found
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)


def test_blocks_of_one_shape_share_a_session(rng, monkeypatch):
    made = []
    graph, session = sequence_graph(), importlib.import_module("edgelstm.cuda.host.session")
    monkeypatch.setattr(session, "fused", lambda calls, real=session.fused: made.append(1) or real(calls))
    stream, x = edgelstm.load(graph, device="cuda").stream(2), rng.standard_normal((2, 13, 3)).astype(np.float32)
    made.clear()
    parts = [stream.run(x[:, a:b]) for a, b in ((0, 4), (4, 8), (8, 9), (9, 13))]
    np.testing.assert_allclose(np.concatenate(parts, 1), reference.run(graph, {"x": x})["y"], rtol=0, atol=2e-6)
    assert len(made) == 2


def test_frames_on_the_device_that_do_not_fit_are_refused(rng):
    stream = edgelstm.load(sequence_graph(), device="cuda").stream(2)
    frame = cuda.to_device(np.zeros((2, 3), np.float32))
    before = stream.state
    for bad, out, message in [
        (cuda.to_device(np.zeros((3, 2), np.float32)), None, "shape"), (cuda.to_device(np.zeros((2, 3))), None, "float64"),
        (cuda.to_device(np.zeros((2, 6), np.float32))[:, ::2], None, "contiguous"),
        (frame, cuda.to_device(np.zeros((2, 4))), "float64"),
        (frame, cuda.to_device(np.zeros((4, 2), np.float32)), "out has the shape"),
    ]:  # fmt: skip
        with pytest.raises(ShapeError, match=message):
            stream.step(bad, out)
    for out, message in [(np.zeros((2, 4), np.float32), "array of the host"), ([frame, frame], "a list")]:
        with pytest.raises(DeviceError, match=message):
            stream.step(frame, out)
    for name, state in stream.state.items():
        np.testing.assert_array_equal(state, before[name])


def test_other_threads_run_the_model(rng):
    """One after the other: the simulator itself can't run two kernels at once."""
    graph = sequence_graph()
    model, x = edgelstm.load(graph, device="cuda"), rng.standard_normal((3, 2, 2, 3)).astype(np.float32)
    for given in x:
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(model.predict, given).result()
        np.testing.assert_allclose(found, reference.run(graph, {"x": given})["y"], rtol=0, atol=2e-6)


def test_auto_measures_both_devices():
    """The CPU is the faster one for a model so small, and on the simulator by far."""
    with pytest.warns(edgelstm.DeviceWarning, match="on 'cpu': a step at batch 2 takes .* us on cpu, .* us on cuda"):
        assert edgelstm.load(sequence_graph(), device="auto", batch=2).device == "cpu"


@pytest.mark.skipif(cuda_simulator.ON_GPU, reason="a machine may have several GPUs")
def test_the_simulator_has_one_device():
    assert edgelstm.load(sequence_graph(), device="cuda:0").device == "cuda:0"
    with pytest.raises(DeviceError, match="no device 1"):
        edgelstm.load(sequence_graph(), device="cuda:1")


def test_models_pickle_with_their_device_and_verify():
    model = pickle.loads(pickle.dumps(edgelstm.load(sequence_graph(), device="cuda")))
    assert model.device == "cuda"
    assert model.verify().ok


def test_the_device_can_not_be_shared_by_threads():
    with pytest.raises(DeviceError, match="threads=2"):
        edgelstm.load(sequence_graph(), device="cuda", threads=2)


def test_arrays_of_the_device_go_in_and_come_out(rng):
    graph = sequence_graph()
    x = rng.standard_normal((2, 3, 3)).astype(np.float32)
    model = edgelstm.load(graph, device="cuda")
    given = cuda.to_device(x)
    found = model.run({"x": given})["y"]
    assert not isinstance(found, np.ndarray)
    np.testing.assert_array_equal(model.predict(given).copy_to_host(), found.copy_to_host())
    np.testing.assert_allclose(found.copy_to_host(), reference.run(graph, {"x": x})["y"], rtol=0, atol=2e-6)
    with pytest.raises(ShapeError, match="float64"):
        model.run({"x": cuda.to_device(x.astype(np.float64))})
    with pytest.raises(ShapeError, match="input 'z'"):
        model.run({"x": given, "z": given})


def test_states_may_be_left_out_beside_arrays_of_the_device(rng):
    graph = step_graph()
    x, h = rng.standard_normal((2, 3)).astype(np.float32), rng.standard_normal((2, 4)).astype(np.float32)
    model = edgelstm.load(graph, device="cuda")
    for feeds in ({"x": x}, {"x": x, "h": h}):
        found = model.run({name: cuda.to_device(array) for name, array in feeds.items()})
        expected = reference.run(graph, {"h": np.zeros((2, 4), np.float32)} | feeds)
        for name, array in found.items():
            np.testing.assert_allclose(array.copy_to_host(), expected[name], rtol=0, atol=2e-6)
    with pytest.raises(DeviceError, match="array of the host"):
        model.run({"x": cuda.to_device(x), "h": h})
