"""Models: shapes, dtypes, inputs by name and position, pickling, other processes, and clear errors."""

import io
import multiprocessing
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import edgelstm
from edgelstm import format as elstm
from edgelstm import reference
from edgelstm.builder import GraphBuilder
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
    from edgelstm.programs import PROGRAMS_KEPT

    model = edgelstm.load(stacked)
    for steps in range(PROGRAMS_KEPT + 8):
        model.predict(np.zeros((1, steps, 5), np.float32))
    assert len(model._programs) == PROGRAMS_KEPT


def test_shape_dependent_weights_are_not_shared_between_shapes():
    b = GraphBuilder()
    x = b.input("x", "float32", ("batch", 1))
    batch = b.add("cast", b.add("slice", b.add("shape", x), b.constant([0]), b.constant([1])), to="float32")
    b.output("y", b.add("dense", x, b.add("reshape", batch, b.constant([1, 1]))))
    model = edgelstm.load(b.build())
    for batch in (1, 2, 3):
        np.testing.assert_array_equal(model.predict(np.ones((batch, 1))), np.full((batch, 1), batch))


def test_tables_are_not_copied_for_every_shape():
    b = GraphBuilder()
    x = b.input("x", "int64", ("batch", "time"))
    table = b.constant(np.ones((5000, 100), np.float32))
    b.output("y", b.add("embedding", x, table))
    model = edgelstm.load(b.build())
    model.predict(np.zeros((1, 1), np.int64))
    tracemalloc.start()
    for steps in range(2, 12):
        model.predict(np.zeros((1, steps), np.int64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("change", [{"dtype": "uint8"}, {"batch": 0, "time": 0}])
def test_ports_that_promise_another_type_are_refused(change):
    b = GraphBuilder()
    x = b.input("x", "float32", ("batch", 4))
    b.output("y", b.add("tanh", x))
    graph = b.build()
    with pytest.raises(edgelstm.FormatError, match="'y'"):
        edgelstm.load(replace(graph, outputs=(replace(graph.outputs[0], **change),))).predict(np.ones((2, 4)))


def test_state_pairs_of_different_types_are_refused():
    b = GraphBuilder()
    x, s = b.input("x", "float32", (1, 6)), b.input("s", "float32", (1, 2))
    b.output("y", b.add("tanh", s))
    b.output("sn", b.add("tanh", x))
    with pytest.raises(edgelstm.FormatError, match="'s'.*'sn'"):
        edgelstm.load(b.build(states=[("s", "sn")])).stream()


def test_a_child_forked_while_a_program_is_made_can_predict(stacked):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this platform cannot fork a process")
    model = edgelstm.load(stacked)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with model._programs._lock:
        child = context.Process(target=_put_prediction, args=(model, answers), daemon=True)
        child.start()
    assert answers.get(timeout=30) == (1, 2, 3)
    child.join()


def _put_prediction(model, answers):
    answers.put(model.predict(np.zeros((1, 2, 5), np.float32)).shape)


def test_numbers_that_float32_cannot_hold_are_refused(stacked):
    for given in (np.full((1, 2, 5), 1e300), np.ma.masked_array(np.zeros((1, 2, 5)), np.ones((1, 2, 5)))):
        with pytest.raises(edgelstm.ShapeError):
            edgelstm.load(stacked).predict(given)


def test_footprint(stacked):
    footprint = edgelstm.load(stacked).footprint()
    assert footprint.weights == sum(a.nbytes for a in stacked.constants.values())
    assert footprint.packed >= footprint.weights
    assert footprint.state >= 4 * 17 * 4
