"""What calibration sees of activations, held against NumPy on the float64 reference; and the data that it refuses."""

import dataclasses
from importlib import import_module

import numpy as np
import pytest

from edgelstm import PrecisionError, precision, reference
from edgelstm.builder import GraphBuilder
from edgelstm.precision.calibrate import chance
from edgelstm.precision.measure import with_outputs
from tests.conftest import Layers, stacked_graph
from tests.tiny_models import sequence_graph, step_graph, two_in_two_out_graph


def scales_of(graph, data):
    found = precision.calibrate(graph, data).layers
    return {name: {role: dict(seen.scales) for role, seen in pair.items()} for name, pair in found.items()}


def test_ranges_are_those_of_the_activations(rng):
    graph = stacked_graph()
    x = rng.standard_normal((3, 40, 5)).astype(np.float32)
    found = scales_of(graph, x)
    values = reference.run(with_outputs(graph, [node.outputs[0] for node in graph.nodes[:3]]), {"x": x})
    read = {"lstm": ("x", "lstm"), "gru": ("lstm", "gru"), "simple_rnn": ("gru", "simple_rnn"), "dense": ("simple_rnn",)}
    values["x"] = x
    assert list(found) == list(read)
    for name, sources in read.items():
        for role, source in zip("WR", sources, strict=False):
            sizes = np.abs(values[source])
            assert found[name][role]["max"] == pytest.approx(np.max(sizes) / 127, rel=1e-5)
            assert found[name][role]["percentile"] == pytest.approx(np.percentile(sizes, 99.99) / 127, rel=1e-5)
            assert found[name][role]["mse"] <= found[name][role]["max"] * (1 + 1e-6)


def test_mse_cuts_outliers_off_where_that_pays(rng):
    graph = stacked_graph()
    x = rng.standard_normal((3, 4000, 5)).astype(np.float32)
    x[0, 0, 0] = 40
    scales = scales_of(graph, x)["lstm"]["W"]

    def error(scale):
        return np.mean((x - np.clip(np.rint(x / scale), -127, 127) * scale) ** 2)

    assert error(scales["mse"]) < error(scales["max"]) and scales["percentile"] < scales["max"]
    assert error(scales["mse"]) <= min(error(scale) for scale in np.linspace(0.2, 1, 30) * scales["max"]) * 1.05


def test_covariances_are_second_moments(rng):
    graph = sequence_graph()
    x = rng.standard_normal((4, 30, 3)).astype(np.float32)
    seen = precision.calibrate(graph, x).layers["cell"]
    h = reference.run(graph, {"x": x})["y"].reshape(-1, 4)
    rows = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(seen["W"].covariance, rows.T @ rows / 120, rtol=1e-5)
    np.testing.assert_allclose(seen["R"].covariance, h.T @ h / 120, rtol=1e-4, atol=1e-7)


def test_chance_is_the_variance_of_the_moments_over_their_squares(rng):
    rows = rng.standard_normal((60, 7)) @ (np.eye(7) + 0.3 * rng.standard_normal((7, 7)))
    moments, variances = [], []
    for i, j in ((i, j) for i in range(7) for j in range(7) if i != j):
        moments.append(np.mean(rows[:, i] * rows[:, j]))
        variances.append(np.var(rows[:, i] * rows[:, j]) / 60)
    wanted = np.sum(variances) / np.sum(np.square(moments))
    assert 0 < wanted < 1 and chance(rows, rows.T @ rows / 60) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("count", "width"), [(0, 3), (5, 1), (1, 4), (50, 0)])
def test_chance_of_few_rows_and_columns(count, width, rng):
    rows = rng.standard_normal((count, width))
    assert 0 <= chance(rows, rows.T @ rows / max(1, count)) <= 1


def test_of_independent_inputs_nothing_but_chance_is_found(rng):
    """Then calibration data change no weight for the worse: what is left of their moments is nearly diagonal."""
    graph, x = sequence_graph(), rng.standard_normal((1, 200, 3)).astype(np.float32)
    seen = precision.calibrate(graph, x).layers["cell"]["W"]
    apart = ~np.eye(3, dtype=bool)
    assert seen.chance > 0.2 and np.all(np.abs(seen.shrunk[apart]) < 0.1)
    np.testing.assert_allclose(np.diag(seen.shrunk), np.diag(seen.covariance))


def test_initial_states_count_and_last_states_alone_do_not_hide_the_sequence(rng):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    parts = [x, net.weights(5, 24), net.weights(6, 24), None, net.builder.input("h0", "float32", ("batch", 6))]
    graph = net.graph(last=net.builder.add_many("lstm", *parts, used=(False, True), name="cell")[1])
    frames = rng.standard_normal((1, 9, 5))
    for start in (0, 3):
        scale = scales_of(graph, {"x": frames, "h0": np.full((1, 6), start)})["cell"]["R"]["max"]
        assert scale == pytest.approx(3 / 127) if start else 0 < scale < 1 / 127


def test_activations_that_are_all_zero_have_a_scale():
    assert scales_of(sequence_graph(), np.zeros((1, 5, 3)))["cell"]["W"] == dict.fromkeys(precision.RANGES, 1 / 127)


def conv_graph(**attrs):
    builder, rng = GraphBuilder(), np.random.default_rng(4)
    x = builder.input("x", "float32", ("batch", "time", 4))
    W = builder.constant(rng.standard_normal((3, 4 // attrs.get("groups", 1), 6)), "W")
    builder.output("y", builder.add("conv1d", x, W, name="conv1d", **attrs))
    return builder.build()


@pytest.mark.parametrize("steps", [9, 5])
@pytest.mark.parametrize("attrs", [{}, {"dilation": 2}, {"padding": "causal"}, {"groups": 2}, {"stride": 2},
                                   {"padding": "same", "stride": 3}, {"padding": "explicit", "pads": (1, 2), "dilation": 3}],
                         ids=str)
def test_windows_of_convolutions(attrs, steps, rng):
    """Held against the outputs of the float64 reference for kernels that pick out one weight each."""
    graph, x = conv_graph(**attrs), rng.standard_normal((2, steps, 4)).astype(np.float32)
    seen = precision.calibrate(graph, x).layers["conv1d"]["W"]
    groups = attrs.get("groups", 1)
    taps = np.eye(12 // groups).reshape(3, 4 // groups, -1)
    pick = dataclasses.replace(graph, constants={"W": np.concatenate([taps] * groups, axis=2).astype(np.float32)})
    rows = reference.run(pick, {"x": x})["y"].reshape(-1, 12 // groups)
    np.testing.assert_allclose(seen.covariance, rows.T @ rows / len(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
def test_compensated_rounding_is_nearer_on_the_data(name, rng):
    graph = stacked_graph(features=8, units=64)
    x = np.cumsum(rng.standard_normal((4, 200, 8)), axis=1).astype(np.float32) / 10
    exact = reference.run(graph, {"x": x})["y"]
    chosen, seen = precision.resolve(graph, name), precision.calibrate(graph, x)
    found = [reference.run(precision.apply(graph, chosen, data), {"x": x})["y"] for data in (None, seen)]
    errors = [np.sqrt(np.mean((y - exact) ** 2)) for y in found]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
def test_weights_that_nodes_share_stay_shared(name, rng):
    builder = GraphBuilder()
    W = builder.constant(rng.standard_normal((6, 5)), "W")
    for number in range(2):
        x = builder.input(f"x{number}", "float32", ("batch", 6))
        builder.output(f"y{number}", builder.add("dense", x, W, name=f"dense{number}"))
    graph = builder.build()
    seen = precision.calibrate(graph, {f"x{n}": rng.standard_normal((9, 6)) for n in range(2)})
    both = precision.apply(graph, precision.resolve(graph, name), seen)
    assert len(both.constants) == len(precision.apply(graph, precision.resolve(graph, name)).constants)
    assert both.nodes[0].inputs[1] == both.nodes[1].inputs[1]


def test_models_of_one_step_take_the_steps_in_front(rng):
    x = rng.standard_normal((20, 1, 3)).astype(np.float32)
    for data in (x, {"x": x, "h": np.zeros((1, 4), np.float32)}):
        seen = precision.calibrate(step_graph(), data)
        assert seen.layers["dense"]["W"].scales["max"] == pytest.approx(np.max(np.abs(x)) / 127)
    assert precision.calibrate(step_graph(), x[0]).data["x"].shape == (1, 3)


@pytest.mark.parametrize("how", ["array", "list", "dict", "npy", "npz", "npz of another name"])
def test_data_may_be_given_in_many_ways(how, rng, tmp_path):
    graph, x = sequence_graph(), rng.standard_normal((2, 7, 3))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "other.npz", x)
    given = {"array": x, "list": x.tolist(), "dict": {"x": x}, "npy": tmp_path / "x.npy", "npz": str(tmp_path / "x.npz"),
             "npz of another name": tmp_path / "other.npz"}[how]
    found = precision.calibrate(graph, given).data
    assert found["x"].dtype == np.float32
    np.testing.assert_array_equal(found["x"], x.astype(np.float32))


def test_several_inputs_by_name(rng):
    x, s = rng.standard_normal((2, 7, 3)), rng.standard_normal((2, 7, 1))
    assert set(precision.calibrate(two_in_two_out_graph(), {"x": x, "s": s}).data) == {"x", "s"}
    for given in (x, {"x": x}, {"x": x, "s": s[:1]}, {"x": x, "t": s}):
        with pytest.raises(PrecisionError, match="calibration data do not fit the model"):
            precision.calibrate(two_in_two_out_graph(), given)


@pytest.mark.parametrize(("given", "message"), [
    (np.zeros((2, 7, 4)), "do not fit the model.*3"),
    (np.zeros((7, 3)), "do not fit the model"),
    (np.full((2, 7, 3), np.nan), "NaN or infinity in input 'x'"),
    (np.array([[[1, 2, np.inf]]]), "NaN or infinity in input 'x'"),
    (np.zeros((0, 7, 3)), r"are empty.*\[0, 7, 3\]"),
    (np.zeros((2, 0, 3)), r"are empty.*\[2, 0, 3\]"),
    ([], "do not fit the model|are empty"),
    ("words", "only .npy and .npz"),
    (np.array([["a", "b"]]), "do not fit the model"),
    (object(), "do not fit the model"),
    ({}, "do not fit the model"),
    ([[1.0], [1.0, 2.0]], "do not fit the model"),
])
def test_refuses(given, message):
    with pytest.raises(PrecisionError, match=message):
        precision.calibrate(sequence_graph(), given)


def test_refuses_files_that_hold_no_numbers(tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"no array")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    np.save(tmp_path / "words.npy", np.array(["a"]))
    for name in ("bad.npy", "bad.npz", "words.npy", "none.npy"):
        with pytest.raises(PrecisionError, match="calibration data"):
            precision.calibrate(sequence_graph(), tmp_path / name)


def test_many_rows_are_thinned(monkeypatch):
    """40 rows of 5 steps: 15 numbers of x and 20 of y each, and 128 weights: five times of what may be."""
    monkeypatch.setattr(import_module("edgelstm.precision.calibrate"), "MOST_NUMBERS", 320)
    found = precision.calibrate(sequence_graph(), np.arange(40 * 5 * 3).reshape(40, 5, 3) / 600).data["x"]
    assert found.shape == (8, 5, 3) and found[1, 0, 0] == pytest.approx(5 * 15 / 600)
