"""Models: shapes, dtypes, inputs by name and position, pickling, other processes, and clear errors."""

import io
import multiprocessing
import pickle

import numpy as np
import pytest

import edgelstm
from edgelstm import format as elstm
from edgelstm import reference
from tests.conftest import stacked_graph


@pytest.mark.parametrize("units", [1, 3, 17, 33])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (3, 0), (0, 4), (5, 40)])
def test_predict_equals_the_float64_reference(rng, units, shape):
    graph = stacked_graph(units=units)
    x = rng.standard_normal((*shape, 5)).astype(np.float32)
    expected = reference.run(graph, {"x": x})["y"]
    np.testing.assert_allclose(edgelstm.load(graph).predict(x), expected, atol=2e-6, rtol=0)


def test_a_thousand_steps_stay_within_the_documented_tolerance(rng):
    graph = stacked_graph(units=33)
    x = rng.standard_normal((1, 1000, 5)).astype(np.float32)
    np.testing.assert_allclose(edgelstm.load(graph).predict(x), reference.run(graph, {"x": x})["y"], atol=2e-6, rtol=0)


def test_ports(stacked):
    model = edgelstm.load(stacked)
    assert model.inputs == (edgelstm.TensorSpec("x", "float32", (None, None, 5)),)
    assert model.outputs == (edgelstm.TensorSpec("y", "float32", (None, None, 3)),)
    assert [(p.batch, p.time) for p in (*stacked.inputs, *stacked.outputs)] == [(0, 1), (0, 1)]


@pytest.mark.parametrize("given", [np.zeros((2, 5)), np.zeros((1, 2, 4)), {"z": np.zeros((1, 2, 5))}, {}, [], "abc", None,
                                   np.array([["a"]]), [np.zeros((1, 2, 5))] * 2])
def test_wrong_inputs_are_refused(stacked, given):
    with pytest.raises(edgelstm.ShapeError):
        edgelstm.load(stacked).predict(given)


def test_sources_of_a_model(stacked, tmp_path, rng):
    path = tmp_path / "m.elstm"
    elstm.write(stacked, path)
    x = rng.standard_normal((1, 3, 5)).astype(np.float32)
    expected = edgelstm.load(stacked).predict(x)
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file]
        for source in sources:
            np.testing.assert_array_equal(edgelstm.load(source).predict(x), expected)
    with pytest.raises(edgelstm.FormatError, match="missing.elstm"):
        edgelstm.load(tmp_path / "missing.elstm")
    with pytest.raises(edgelstm.DeviceError, match="tpu"):
        edgelstm.load(stacked, device="tpu")


def _predict(model, x):
    return model.predict(x)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_models_pickle_and_run_in_other_processes(stacked, rng, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform cannot {start} a process")
    model = edgelstm.load(stacked)
    x = rng.standard_normal((1, 3, 5)).astype(np.float32)
    expected = model.predict(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), expected)
    with multiprocessing.get_context(start).Pool(1) as workers:
        np.testing.assert_array_equal(workers.apply(_predict, (model, x)), expected)


def test_programs_are_bounded(stacked, rng):
    from edgelstm.model import PROGRAMS_KEPT

    model = edgelstm.load(stacked)
    for steps in range(PROGRAMS_KEPT + 8):
        model.predict(np.zeros((1, steps, 5), np.float32))
    assert len(model._sessions) == PROGRAMS_KEPT


def test_footprint(stacked):
    footprint = edgelstm.load(stacked).footprint()
    assert footprint.weights == sum(a.nbytes for a in stacked.constants.values())
    assert footprint.packed >= footprint.weights
    assert footprint.state >= 4 * 17 * 4
