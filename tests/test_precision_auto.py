"""The choice of precisions by measurement: the search itself, what it never takes, and the table that it leaves."""

import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgelstm
from edgelstm import reference
from edgelstm.errors import PrecisionError
from edgelstm.precision import apply, auto, calibrate
from edgelstm.precision.alone import Timing
from edgelstm.precision.measure import default_data
from tests.conftest import stacked_graph

NAMES = ("float32", "bfloat16", "int8", "int4")
SPEED = {"float32": 1.0, "bfloat16": 0.6, "int8": 0.3, "int4": 0.4, "int8-static": 0.2, "int8x16": 0.35}


def tried(layer: int, times: list[float], errors: list[float]) -> list[auto.Tried]:
    return [auto.Tried(f"layer{layer}", "lstm", name, Timing(time, 100 * time), error)
            for name, time, error in zip(NAMES, times, errors, strict=True)]


def by_precision(layers, graphs) -> list[Timing]:
    """A clock that tells the same times everywhere."""
    names = [graph.nodes[0].attrs["precision"] for graph in graphs]
    return [Timing(SPEED[name], 100 * SPEED[name]) for name in names]


def cost(layers: list[list[auto.Tried]], chosen: dict[str, str]) -> float:
    return sum(row.timing.decisive for rows in layers for row in rows if chosen[row.layer] == row.precision)


numbers = st.floats(0, 2, allow_nan=False)
rows = st.tuples(st.lists(numbers, min_size=4, max_size=4), st.lists(numbers, min_size=3, max_size=3))
tables = st.lists(rows, min_size=1, max_size=3)


@given(tables, st.floats(0, 3), st.sampled_from(["sum", "max", "worse"]))
def test_the_search_keeps_the_limit_and_takes_nothing_slow(drawn, limit, how):
    layers = [tried(i, times, [0.0, *errors]) for i, (times, errors) in enumerate(drawn)]
    alone = {(row.layer, row.precision): row.error for rows in layers for row in rows}

    def error_of(chosen):
        errors = [alone[pair] for pair in chosen.items()]
        whole = max(errors) if how == "max" else sum(errors)
        return whole * (1 + sum(error > 0 for error in errors)) if how == "worse" else whole

    chosen, error = auto.fastest(layers, error_of, limit)
    assert error == error_of(chosen) and error <= limit
    for rows in layers:
        exact, taken = rows[0], next(row for row in rows if row.precision == chosen[row.layer])
        assert taken is exact or taken.timing.decisive < auto.CLEARLY_FASTER * exact.timing.decisive
        if how == "max":
            bound = auto.CLEARLY_FASTER * exact.timing.decisive
            allowed = [row.timing.decisive for row in rows if row.error <= limit and row.timing.decisive < bound]
            assert not allowed or taken.timing.decisive == min(allowed)


def test_the_search_backs_off_where_it_costs_least():
    layers = [tried(0, [1.0, 0.9, 0.1, 2.0], [0, 0.1, 0.6, 9]), tried(1, [1.0, 0.8, 0.7, 2.0], [0, 0.1, 0.6, 9])]
    alone = {(row.layer, row.precision): row.error for rows in layers for row in rows}
    chosen, error = auto.fastest(layers, lambda chosen: sum(alone[pair] for pair in chosen.items()), 0.75)
    assert chosen == {"layer0": "int8", "layer1": "bfloat16"} and error == pytest.approx(0.7)


def test_the_search_is_near_the_best_of_all_combinations():
    rng, ratios = np.random.default_rng(4), []
    for _ in range(50):
        layers = [tried(i, [1.0, *rng.uniform(0.2, 1, 3)], [0.0, *rng.uniform(0, 1, 3)]) for i in range(3)]
        alone = {(row.layer, row.precision): row.error for rows in layers for row in rows}

        def error_of(chosen, alone=alone):
            return sum(alone[pair] for pair in chosen.items())

        names = [row.layer for row, *_ in layers]
        every = [dict(zip(names, combination, strict=True)) for combination in product(NAMES, repeat=3)]
        best = min(cost(layers, chosen) for chosen in every if error_of(chosen) <= 0.9)
        ratios.append(cost(layers, auto.fastest(layers, error_of, 0.9)[0]) / best)
    assert np.median(ratios) < 1.05 and max(ratios) < 1.5


@pytest.fixture(scope="module")
def graph():
    return stacked_graph(units=33)


@pytest.mark.parametrize("limit", [0.0, 2e-3, 2e-2, 10.0])
def test_the_whole_model_keeps_the_limit(graph, limit):
    precisions, choice = auto.choose(graph, None, limit, by_precision)
    x = default_data(graph)
    exact = reference.run(graph, x)["y"]
    found = edgelstm.load(apply(graph, precisions)).predict(x["x"])
    assert np.max(np.abs(found - exact)) <= limit + 2e-6
    assert choice.error <= limit and set(precisions) == {"lstm", "gru", "simple_rnn", "dense"}
    assert (set(precisions.values()) == {"float32"}) == (limit == 0)
    if limit == 10:
        assert precisions == dict.fromkeys(("lstm", "gru", "simple_rnn"), "int8") | {"dense": "int8x16"}


def test_float32_stays_where_nothing_is_faster(graph):
    precisions, choice = auto.choose(graph, None, 10.0, lambda layers, graphs: [Timing(1.0, 100.0)] * len(graphs))
    assert set(precisions.values()) == {"float32"} and choice.error == 0
    assert "every layer stays float32" in choice.note


def test_the_clock_times_every_variant_of_every_layer(graph):
    seen = []

    def clock(layers, graphs):
        seen.append([one.nodes[0].attrs["precision"] for one in graphs])
        timings = layers.time(graphs)
        assert all(timing.step_us > 0 and timing.sequence_us > timing.step_us / 10 for timing in timings)
        return timings

    auto.choose(graph, None, None, clock)
    assert seen == [["float32", "bfloat16", "int8", "int8x16", "int4"]] * 3 + [["float32", "bfloat16", "int8x16", "int4"]]


def test_calibration_adds_the_fixed_scales(graph, rng):
    calibration = calibrate(graph, rng.standard_normal((2, 40, 5)).astype(np.float32))
    precisions, choice = auto.choose(graph, calibration, 10.0, by_precision)
    assert set(precisions.values()) == {"int8-static"}
    assert choice.error <= 10.0


def test_the_default_limit_is_a_hundredth_of_the_largest_output(graph):
    _, choice = auto.choose(graph, None, None, by_precision)
    exact = reference.run(graph, default_data(graph))["y"]
    assert choice.limit == pytest.approx(np.max(np.abs(exact)) / 100, rel=1e-4)


def test_table_and_json(graph):
    precisions, choice = auto.choose(graph, None, 0.05, by_precision)
    heads, cells = choice.cells()
    plain = json.loads(json.dumps(choice.as_dict()))
    assert len(cells) == len(plain["tried"]) == 19 and all(len(row) == len(heads) for row in cells)
    assert {row["layer"]: row["precision"] for row in plain["tried"] if row["chosen"]} == precisions == plain["precisions"]
    assert [row[-1] == "chosen" for row in cells] == [row["chosen"] for row in plain["tried"]]


def test_weights_that_are_not_finite_are_rounded_to_bfloat16_at_most(graph):
    constants = dict(graph.constants)
    name = next(node.inputs[1] for node in graph.nodes if node.op == "dense")
    constants[name] = np.where(np.arange(constants[name].size).reshape(constants[name].shape) == 3, np.inf, constants[name])
    broken = type(graph)(graph.inputs, graph.outputs, graph.nodes, {**constants, name: constants[name].astype(np.float32)})
    _, choice = auto.choose(broken, None, 1.0, by_precision)
    assert [row.precision for row in choice.tried if row.layer == "dense"] == ["float32", "bfloat16"]


@pytest.mark.parametrize("limit", [-1e-9, math.nan, math.inf, "0.1", True])
def test_what_is_no_limit(graph, limit):
    with pytest.raises(PrecisionError, match="max_error"):
        auto.choose(graph, None, limit)


def test_a_model_without_weights():
    from edgelstm.builder import GraphBuilder

    builder = GraphBuilder()
    builder.output("y", builder.add("relu", builder.input("x", "float32", ("batch", 3), batch=0)))
    assert auto.choose(builder.build())[0] == {}
