"""Where a reduced model differs from float32: distances, rows of layers, drift, tables, JSON and the picture."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.drift import absolute_errors, default_limit, distance
from edgelstm.errors import FormatError, ShapeError
from edgelstm.graph import Graph
from edgelstm.precision.alone import Layers as LayersAlone
from edgelstm.precision.measure import default_data, observe
from edgelstm.precision.reduce import Request, reduce
from edgelstm.precision.report import compare, draw
from tests.conftest import Layers, stacked_graph


def disturbed(graph: Graph, only: str = "", size: float = 1e-3) -> Graph:
    """The graph with other weights, in all layers or in one."""
    rng, constants = np.random.default_rng(9), dict(graph.constants)
    for node in graph.nodes:
        for name in node.inputs if only in ("", node.name) else ():
            if name in constants and constants[name].ndim > 1:
                noise = size * rng.standard_normal(constants[name].shape)
                constants[name] = (constants[name] + noise).astype(np.float32)
    return replace(graph, constants=constants)


def by_name(report):
    return {row.name: row for row in report.rows}


def data_of(steps: int, batch: int = 2, features: int = 5) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((batch, steps, features)).astype(np.float32)}


@pytest.mark.parametrize(("expected", "found", "snr", "error"), [
    ([3.0, 4.0], [3.0, 4.5], 20.0, 0.5),
    ([1.0, 2.0], [1.0, 2.0], np.inf, 0.0),
    ([np.nan, 2.0], [np.nan, 2.0], np.inf, 0.0),
    ([np.inf, -np.inf], [np.inf, -np.inf], np.inf, 0.0),
    ([np.inf, 1.0], [-np.inf, 1.0], -np.inf, np.inf),
    ([1.0, 2.0], [np.nan, 2.0], -np.inf, np.inf),
    ([0.0, 0.0], [0.0, 1.0], -np.inf, 1.0),
    ([], [], np.inf, 0.0),
])
def test_distance(expected, found, snr, error):
    apart = distance(np.array(expected, np.float32), np.array(found, np.float32))
    assert apart.snr_db == pytest.approx(snr) and apart.max_error == error and apart.drift == {}


def test_distance_of_other_shapes_and_of_integers():
    assert distance(np.zeros(3), np.zeros((3, 1))).max_error == np.inf
    assert absolute_errors(np.array([0, 255], np.uint8), np.array([1, 250], np.uint8)).tolist() == [1, 5]
    assert absolute_errors(np.array([True, False]), np.array([True, True])).tolist() == [0, 1]


@pytest.mark.parametrize("steps", [1, 9, 10, 101, 1000])
@pytest.mark.parametrize("time", [0, 1, 2])
def test_drift_is_the_largest_error_of_each_step(steps, time):
    growing = np.zeros((steps, 2, 3))
    growing[:, 1, 2] = np.arange(1, steps + 1)
    apart = distance(np.zeros_like(growing).swapaxes(0, time), -growing.swapaxes(0, time), time)
    assert apart.drift == {t: t for t in (1, 10, 100, 1000) if t <= steps}


def test_default_limit():
    assert default_limit([np.array([-3.0, np.inf]), np.array([1.0])]) == pytest.approx(0.03)
    assert default_limit([np.array([np.nan]), np.zeros(0)]) == 0 and default_limit([]) == 0


def test_the_same_model_has_no_error():
    graph = stacked_graph(units=3)
    report = compare(graph, graph, data_of(11))
    assert [row.name for row in report.rows] == ["lstm", "gru", "simple_rnn", "dense", "y"]
    assert report.max_error == 0 and all(row.whole.snr_db == np.inf for row in report.rows)


@pytest.mark.parametrize("units", [1, 17])
@pytest.mark.parametrize("steps", [1, 30])
def test_rows_agree_with_the_float64_equations(units, steps):
    graph, data = stacked_graph(units=units), data_of(steps)
    other = disturbed(graph, size=0.05)
    exact, found = (reference.run(g, data)["y"] for g in (graph, other))
    row = by_name(compare(graph, other, data))["y"]
    assert row.whole.max_error == pytest.approx(np.max(np.abs(exact - found)), rel=1e-3, abs=1e-5)
    assert row.whole.snr_db == pytest.approx(10 * np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)), abs=0.05)
    assert row.whole.drift[1] == pytest.approx(np.max(np.abs(exact - found)[:, 0]), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("layer", ["lstm", "gru", "simple_rnn", "dense"])
def test_the_layer_that_lost_the_accuracy_is_named(layer):
    graph = stacked_graph()
    rows = by_name(compare(graph, disturbed(graph, layer), data_of(20)))
    order = ["lstm", "gru", "simple_rnn", "dense"]
    for name in order:
        assert np.isfinite(rows[name].own.snr_db) == (name == layer)
        assert np.isfinite(rows[name].whole.snr_db) == (order.index(name) >= order.index(layer))


def test_a_layer_that_shows_its_last_state_drifts_too():
    graph = stacked_graph(sequences=False)
    rows = by_name(compare(graph, disturbed(graph), data_of(12)))
    assert set(rows["simple_rnn"].whole.drift) == {1, 10} and rows["y"].whole.drift == {}


def test_an_output_called_like_another_value():
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    y = net.recurrent("lstm", x, 3, gates=4)
    graph = net.graph(lstm=net.dense(y, 2))
    other = disturbed(graph, "dense")
    rows = compare(graph, other, data_of(4)).rows
    assert [(row.name, row.op, row.whole.max_error > 0) for row in rows] == [
        ("lstm", "lstm", False), ("dense", "dense", True), ("lstm", "output", True)]


def stepped_graph() -> Graph:
    """One step of an LSTM with explicit states: x (batch, 1, 5), h0, c0 -> y, h, c."""
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", 1, 5), batch=0)
    states = [net.builder.input(name, "float32", ("batch", 3), batch=0) for name in ("h0", "c0")]
    weights = [net.weights(5, 12), net.weights(3, 12), net.weights(12)]
    y, h, c = net.builder.add_many("lstm", x, *weights, *states, name="lstm", used=3)
    for name, value in (("y", net.dense(y, 2)), ("h", h), ("c", c)):
        net.builder.output(name, value)
    return net.builder.build(states=(("h0", "h"), ("c0", "c")))


def test_a_model_called_once_a_step_carries_its_states():
    graph = stepped_graph()
    frames = np.random.default_rng(2).standard_normal((15, 1, 1, 5)).astype(np.float32)
    found = observe(graph, (), {"x": frames}).outputs["y"]
    state = {"h0": np.zeros((1, 3)), "c0": np.zeros((1, 3))}
    for t, frame in enumerate(frames):
        exact = reference.run(graph, {"x": frame} | state)
        state = {"h0": exact["h"], "c0": exact["c"]}
        np.testing.assert_allclose(found.array[t], exact["y"], atol=2e-6)
    report = compare(graph, disturbed(graph), {"x": frames})
    rows = by_name(report)
    assert rows["h"].op == "state" and rows["y"].op == "output" and set(rows["lstm"].whole.drift) == {1, 10}
    assert report.max_error == rows["y"].whole.max_error


@pytest.mark.parametrize("sequences", [True, False])
def test_layers_in_integers_alone_are_told_in_floats(sequences):
    graph, data = stacked_graph(sequences=sequences), data_of(30)
    reduced = reduce(graph, Request("integer", data["x"])).graph
    rows = by_name(compare(graph, reduced, data))
    assert {rows[name].precision for name in ("lstm", "gru", "simple_rnn", "dense")} == {"integer"}
    assert all(row.whole.snr_db > 20 for row in rows.values()) and rows["dense"].own is None
    assert rows["dense"].whole.max_error == pytest.approx(rows["y"].whole.max_error, rel=1e-3)


def test_layers_behind_a_pooled_sequence():
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    short = net.builder.add("max_pool1d", net.builder.add("conv1d", x, net.weights(3, 5, 4)), size=2, stride=2)
    graph = net.graph(y=net.recurrent("gru", short, 3, gates=3))
    row = by_name(compare(graph, disturbed(graph, "gru"), data_of(25)))["gru"]
    assert row.own.max_error == row.whole.max_error > 0
    layers = LayersAlone(graph)
    node = next(node for node in graph.nodes if node.op == "gru")
    one, two = (timing.sequence_us for timing in layers.time([layers.alone(node, graph.constants)] * 2))
    assert one > 1 and 0.2 < one / two < 5


def test_default_data_are_a_thousand_steps():
    assert default_data(stacked_graph(units=3))["x"].shape == (1, 1000, 5)
    assert default_data(stepped_graph())["x"].shape == (1000, 1, 1, 5)


def test_data_that_do_not_fit_are_refused():
    graph = stacked_graph(units=3)
    with pytest.raises(ShapeError):
        compare(graph, graph, data_of(3, features=6))


def test_table_and_json_tell_the_same():
    graph = stacked_graph(units=3)
    report = compare(graph, disturbed(graph), data_of(12))
    heads, cells = report.cells()
    plain = json.loads(json.dumps(report.as_dict()))
    assert len(cells) == len(plain["rows"]) == 5 and all(len(row) == len(heads) for row in cells)
    for row, told in zip(cells, plain["rows"], strict=True):
        assert row[0] == told["name"] and float(row[2]) == pytest.approx(told["snr_db"], abs=0.06)
        assert set(told["drift"]) == {"1", "10"}
    assert plain["max_error"] == report.max_error > 0


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    graph = stacked_graph(units=3)
    for number, other in enumerate((disturbed(graph), graph)):
        draw(compare(graph, other, data_of(12)), tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FormatError, match="cannot write"):
        draw(compare(graph, graph, data_of(2)), tmp_path / "missing" / "a.png")
