"""edgelstm.evaluate: a user's measure over data, weighted by samples."""

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.errors import ShapeError
from edgelstm.format import to_bytes
from tests.conftest import stacked_graph


def absolute(y, found):
    return np.abs(y - found).mean()


@pytest.fixture(scope="module")
def graph():
    return stacked_graph(units=3)


@pytest.fixture
def data(graph, rng):
    x = rng.standard_normal((7, 4, 5)).astype(np.float32)
    return x, reference.run(graph, {"x": x})["y"] + rng.standard_normal((7, 4, 3))


def test_one_pair_is_the_metric_itself(graph, data):
    model = edgelstm.load(graph)
    assert edgelstm.evaluate(model, data, absolute) == pytest.approx(absolute(data[1], model.predict(data[0])), rel=1e-12)


@pytest.mark.parametrize("kind", [list, tuple, iter])
@pytest.mark.parametrize("cut", [1, 3, 6])
def test_batches_count_by_their_samples(graph, data, kind, cut):
    x, y = data
    batches = kind([(x[:cut], y[:cut]), (x[cut:], y[cut:])])
    assert edgelstm.evaluate(graph, batches, absolute) == pytest.approx(edgelstm.evaluate(graph, data, absolute), rel=1e-6)


def test_a_model_a_graph_and_a_path_give_the_same(graph, data, tmp_path):
    path = tmp_path / "model.elstm"
    path.write_bytes(to_bytes(graph))
    found = {edgelstm.evaluate(model, data, absolute) for model in (edgelstm.load(graph), graph, path, str(path))}
    assert len(found) == 1


def test_inputs_by_name_and_answers_as_lists(graph, data):
    x, y = data
    found = edgelstm.evaluate(graph, [({"x": x}, y.tolist())], absolute)
    assert found == pytest.approx(edgelstm.evaluate(graph, data, absolute), rel=1e-12)


def test_the_metric_sees_the_answers_as_given(graph, data):
    labels = {"names": ["a"] * 7}
    assert edgelstm.evaluate(graph, [(data[0], labels)], lambda y, found: len(found) if y is labels else -1) == 7


@pytest.mark.parametrize(("data", "told"), [
    ([], "no samples"), ((np.zeros((0, 4, 5), np.float32), np.zeros((0, 4, 3))), "no samples"), (5, "int"),
    (np.zeros((2, 4, 5), np.float32), "ndarray"), ([np.zeros((2, 4, 5))], "ndarray where a pair"), ("xy", "str"), ({}, "dict"),
    ([(np.zeros((2, 4, 6), np.float32), np.zeros(2))], "expected"),
])
def test_data_that_do_not_fit(graph, data, told):
    with pytest.raises(ShapeError, match=told):
        edgelstm.evaluate(graph, data, lambda y, found: 0.0)


def test_nan_predictions_stay_seen(graph, data):
    assert np.isnan(edgelstm.evaluate(graph, (data[0] * np.nan, data[1]), absolute))
