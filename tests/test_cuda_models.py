"""Models on the device through the public interface, by the simulator."""

import pickle

import numpy as np
import pytest

import edgelstm
from edgelstm import DeviceError, ShapeError, reference
from tests import cuda_simulator
from tests.tiny_models import sequence_graph, step_graph, two_in_two_out_graph

pytestmark = cuda_simulator.on_simulator

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


def test_pool_serves_several_streams(rng):
    graph = sequence_graph()
    pool = edgelstm.load(graph, device="cuda").pool(2)
    first, second = pool.open(), pool.open()
    x = rng.standard_normal((2, 2, 3)).astype(np.float32)
    whole = reference.run(graph, {"x": x})["y"]
    for t in range(2):
        found = pool.step({first: x[0, t], second: x[1, t]})
        np.testing.assert_allclose(found[first], whole[0, t], rtol=0, atol=2e-6)
        np.testing.assert_allclose(found[second], whole[1, t], rtol=0, atol=2e-6)


def test_models_pickle_with_their_device_and_verify():
    model = pickle.loads(pickle.dumps(edgelstm.load(sequence_graph(), device="cuda")))
    assert model._device == "cuda"
    assert model.verify().ok


def test_the_device_can_not_be_shared_by_threads():
    with pytest.raises(DeviceError, match="threads=2"):
        edgelstm.load(sequence_graph(), device="cuda", threads=2)


def test_arrays_of_the_device_go_in_and_come_out(rng):
    from numba import cuda

    graph = sequence_graph()
    x = rng.standard_normal((2, 3, 3)).astype(np.float32)
    model = edgelstm.load(graph, device="cuda")
    given = cuda.to_device(x)
    found = model.run({"x": given})["y"]
    assert not isinstance(found, np.ndarray)
    np.testing.assert_allclose(found.copy_to_host(), reference.run(graph, {"x": x})["y"], rtol=0, atol=2e-6)
    with pytest.raises(ShapeError, match="float64"):
        model.run({"x": cuda.to_device(x.astype(np.float64))})
