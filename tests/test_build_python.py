"""The folder of a native build in Python: the same model as the file's, without a compiler, and also without edgelstm."""

import json
import pickle
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgelstm
from edgelstm import axes, reference
from edgelstm.builder import GraphBuilder
from edgelstm.probe import with_probes
from tests.built import GRAPHS, cell, compiler, run, starting_state
from tests.test_stream import explicit_state_graph

MODELS = {**GRAPHS, "carried": explicit_state_graph, "starting": starting_state}
ONE_ROW = {"starting"}  # the model's own batch is 1


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every model, built for one row and for three."""
    place, found = tmp_path_factory.mktemp("built"), {}
    for name, make in MODELS.items():
        for batch in (1,) if name in ONE_ROW else (1, 3):
            edgelstm.build(make(), place / f"{name}{batch}", batch=batch)
            found[name, batch] = place / f"{name}{batch}"
    return found


def drawn(graph, batch, steps, seed=0):
    """Inputs of this size, the states of explicit ones among them."""
    rng = np.random.default_rng(seed)
    found = {}
    for port in graph.inputs:
        shape = [batch if a == port.batch else steps if a == port.time else d for a, d in enumerate(port.shape)]
        array = rng.standard_normal(shape) if port.dtype == "float32" else rng.integers(0, 11, shape)
        found[port.name] = array.astype(port.dtype)
    return found


@pytest.mark.parametrize("built_for", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_any_batch_and_length_gives_the_reference(folders, name, built_for):
    if (name, built_for) not in folders:
        pytest.skip(f"{name} accepts one row only")
    graph, model = MODELS[name](), edgelstm.load(folders[name, built_for])
    for batch in (1,) if name in ONE_ROW else (1, 2, 3, 7):
        for steps in (1, 2, 33):
            given = drawn(graph, batch, steps)
            found, expected = model.run(given), reference.run(graph, given)
            assert list(found) == [port.name for port in graph.outputs]
            for key, array in found.items():
                assert array.dtype == expected[key].dtype or array.dtype == np.float32
                np.testing.assert_allclose(array, expected[key], atol=2e-6, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(0, 9), blocks=st.lists(st.integers(0, 6), min_size=1, max_size=4), built_for=st.sampled_from([1, 3]))
def test_a_stream_cut_anyhow_equals_the_file_s(folders, batch, blocks, built_for):
    graph = GRAPHS["two_in_two_out"]()
    batch, blocks = max(batch, 1), [max(n, 1) for n in blocks]
    ours = edgelstm.load(folders["two_in_two_out", built_for]).stream(batch=batch)
    theirs = edgelstm.load(graph).stream(batch=batch)
    given, at = drawn(graph, batch, sum(blocks)), 0
    for steps in blocks:
        block = {name: array[:, at : at + steps] for name, array in given.items()}
        for found, expected in zip(ours.run(block), theirs.run(block), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-6)
        at += steps
    for name, state in theirs.state.items():
        np.testing.assert_allclose(ours.state[name], state, atol=2e-6)


@pytest.mark.parametrize("built_for", [1, 3])
@pytest.mark.parametrize("batch", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["lstm", "stack", "tokens", "explicit_state", "carried"])
def test_steps_states_reset_and_restore(folders, name, batch, built_for):
    graph = MODELS[name]()
    ours, theirs = (model.stream(batch=batch) for model in (edgelstm.load(folders[name, built_for]), edgelstm.load(graph)))
    port = next(port for port in graph.inputs if port.name not in dict(graph.states))
    frames = [drawn(graph, batch, 1, seed)[port.name] for seed in range(4)]
    first = [ours.step(frame) for frame in frames]
    for found, frame in zip(first, frames, strict=True):
        np.testing.assert_allclose(found, theirs.step(frame), atol=2e-6)
    saved = ours.state
    assert {name: array.shape for name, array in saved.items()} == {name: array.shape for name, array in theirs.state.items()}
    again = ours.step(frames[0])
    ours.restore(saved)
    np.testing.assert_array_equal(ours.step(frames[0], out=np.empty_like(again)), again)
    ours.reset()
    np.testing.assert_array_equal(ours.step(frames[0]), first[0])


def test_the_model_tells_the_same_of_itself(folders):
    for (name, _), folder in folders.items():
        ours, theirs = edgelstm.load(folder), edgelstm.load(MODELS[name]())
        assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
        assert ours.streaming.ok and str(ours.streaming) == "can stream"
        assert ours.verify().ok == theirs.verify().ok
        assert len(ours.verify().rows) == len(theirs.verify().rows)


def test_nan_stays_and_rows_do_not_touch(folders):
    model, x = edgelstm.load(folders["lstm", 3]), np.zeros((4, 5, 3), np.float32)
    x[1, 2] = np.nan
    bad = np.isnan(model.predict(x)).any(axis=2)
    assert bad.tolist() == [[False] * 5, [False, False, True, True, True], [False] * 5, [False] * 5]


def test_empty_batches_and_sequences(folders):
    every, last = edgelstm.load(folders["lstm", 1]), edgelstm.load(folders["last", 1])
    assert every.predict(np.zeros((0, 4, 3))).shape == (0, 4, 17)
    assert every.predict(np.zeros((2, 0, 3))).shape == (2, 0, 17)
    assert last.predict(np.zeros((0, 4, 3))).shape == (0, 33)
    with pytest.raises(edgelstm.ShapeError, match="last time step"):
        last.predict(np.zeros((2, 0, 3)))


@pytest.mark.parametrize("given", [np.zeros((1, 2, 4)), np.zeros(3), {"z": np.zeros((1, 2, 3))}, "text", [[["a"]]]], ids=str)
def test_what_does_not_fit_is_refused_as_everywhere(folders, given):
    for model in (edgelstm.load(folders["lstm", 1]), edgelstm.load(MODELS["lstm"]())):
        with pytest.raises(edgelstm.ShapeError):
            model.predict(given)


def test_models_are_shared_by_threads_and_pickle(folders):
    model, x = edgelstm.load(folders["stack", 1]), np.random.default_rng(0).standard_normal((8, 3, 9, 5)).astype(np.float32)
    expected, found = [model.predict(part) for part in x], {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: [model.predict(x[i]) for _ in range(20)]}))
               for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, results in found.items():
        assert all(np.array_equal(result, expected[i]) for result in results)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x[0]), expected[0])


def test_pools_hold_streams(folders):
    pool = edgelstm.load(folders["lstm", 1]).pool(2)
    one, two = pool.open(), pool.open()
    found = pool.step({one: np.ones(3, np.float32), two: np.zeros(3, np.float32)})
    assert not np.array_equal(found[one], found[two])


def test_a_rebuilt_folder_gives_the_new_model_in_the_same_process(tmp_path):
    for gates, op in ((4, "lstm"), (3, "gru"), (1, "simple_rnn")):
        graph = cell(op, gates=gates)
        edgelstm.build(graph, tmp_path / "m")
        assert edgelstm.load(tmp_path / "m").verify().ok
    assert len(list((tmp_path / "m").glob("libm-*"))) == 1


def test_weights_in_a_file_of_their_own(tmp_path):
    report = edgelstm.build(cell("lstm"), tmp_path / "m", weights="blob")
    assert edgelstm.load(tmp_path / "m").verify().ok
    blob = tmp_path / "m" / "m.weights"
    assert blob.stat().st_size == report.weights and report.code < 8000
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(edgelstm.FormatError, match=r"m\.weights"):
        edgelstm.load(tmp_path / "m")


ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("edgelstm", "numba", "llvmlite", "onnx", "h5py"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
import forecast
model = forecast.load()
x = np.load("x.npy")
np.save("y.npy", model.predict(x))
stream = forecast.stream()
np.save("steps.npy", np.stack([stream.step(frame) for frame in x[0]]))
assert forecast.verify().ok and forecast.inputs[0].name == "x"
try:
    forecast.predict(np.zeros(1))
except forecast.ShapeError as error:
    assert isinstance(error, forecast.EdgeLSTMError)
else:
    raise AssertionError
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_the_folder_is_a_package_of_its_own(tmp_path):
    graph = cell("lstm")
    edgelstm.build(graph, tmp_path / "forecast")
    x = np.random.default_rng(1).standard_normal((1, 9, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = reference.run(graph, {"x": x})["y"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=2e-6)
    np.testing.assert_allclose(np.load(tmp_path / "steps.npy"), expected[0], atol=2e-6)
    assert not {"edgelstm", "numba", "llvmlite"} & set(done.stdout.split())


def test_the_folder_can_be_moved(tmp_path):
    edgelstm.build(cell("gru", gates=3), tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert edgelstm.load(tmp_path / "there").verify().ok


def test_loading_a_folder_needs_no_compiler(folders):
    code = ("import sys, edgelstm; m = edgelstm.load(sys.argv[1]); m.stream().step([0, 0, 0]); assert m.verify().ok\n"
            "print(' '.join(sorted({m.split('.')[0] for m in sys.modules})))")
    done = subprocess.run([sys.executable, "-c", code, folders["lstm", 1]], capture_output=True, text=True, check=True)
    assert not {"numba", "llvmlite", "onnx", "h5py", "edgelstm_converters"} & set(done.stdout.split())


def test_rows_that_depend_on_each_other_need_their_own_batch(tmp_path):
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("B", "T", 2), batch=0, time=1)
    mean = builder.add("reduce_mean", x, axes=[0], keepdims=True)
    builder.output("y", builder.add("sub", x, mean))
    graph = axes.mark(builder.build())
    edgelstm.build(with_probes(graph), tmp_path / "m", batch=3, self_test=True)
    assert edgelstm.load(tmp_path / "m").verify().ok
    model, x = edgelstm.load(tmp_path / "m"), np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), x - x.mean(0), atol=1e-6)
    with pytest.raises(edgelstm.ShapeError, match="batch=2"):
        model.predict(x[:2])


def test_probes_are_those_that_a_build_can_run(tmp_path):
    """A model with an explicit state and no time axis: its file proves other lengths than the one of a step."""
    builder = GraphBuilder()
    x, s = builder.input("x", "float32", ("B", "samples"), batch=0), builder.input("s", "float32", ("B", 1), batch=0)
    total = builder.add("add", s, builder.add("reduce_sum", x, axes=[1], keepdims=True))
    builder.output("y", builder.add("tanh", builder.add("mul", x, total)))
    builder.output("sn", total)
    graph = with_probes(axes.mark(builder.build(states=[("s", "sn")])))
    assert all(probe.inputs["x"].shape[1] > 1 for probe in graph.probes)
    edgelstm.build(graph, tmp_path / "m", self_test=True)
    model = edgelstm.load(tmp_path / "m")
    assert model.verify().ok and len(model.verify().rows) == 4
    command = [compiler(), "-fsanitize=address,undefined", "main.c", "libm.a", "-o", "program"]
    subprocess.run(command, cwd=tmp_path / "m", check=True)
    run(tmp_path / "m" / "program")


def test_bad_folders_are_format_errors(tmp_path):
    with pytest.raises(edgelstm.FormatError, match="no native build"):
        edgelstm.load(tmp_path)
    edgelstm.build(cell("lstm"), tmp_path / "m")
    listed = json.loads((tmp_path / "m" / "model.json").read_text())
    for text in ("", "[]", "{}", json.dumps({**listed, "format": 99}), json.dumps({**listed, "library": "absent.so"}),
                 json.dumps({key: value for key, value in listed.items() if key != "states"})):
        (tmp_path / "m" / "model.json").write_text(text)
        with pytest.raises(edgelstm.FormatError, match="m"):
            edgelstm.load(tmp_path / "m")


@pytest.mark.parametrize("how", [{"device": "cuda"}, {"threads": 2}])
def test_other_devices_are_refused(folders, how):
    with pytest.raises(edgelstm.DeviceError, match="native build"):
        edgelstm.load(folders["lstm", 1], **how)
