"""Recurrent weights in the registers of threads: every cell and format against the equations, or the bits of processors."""

import functools
from unittest import mock

import numpy as np
import pytest

from edgelstm.model import Model
from edgelstm.precision.apply import apply
from tests import cuda_simulator
from tests.test_cuda_recurrent import PARTS, SPECIAL, check, layer
from tests.test_cuda_reduced import assert_close_to_processors

pytestmark = cuda_simulator.on_simulator

CELLS = [("lstm", {}, ()), ("gru", {}, ("b_recurrent",)), ("simple_rnn", {}, ())]
ALONE = [described for described in SPECIAL if described[1].get("reset_after", True)]


def held(sharing, rows, limits, layer):
    """The candidate with weights in registers, for blocks in which so many threads share a unit."""
    from edgelstm.cuda import driver
    from edgelstm.cuda.recurrence import forms

    threads = min(256, sharing * layer.width)
    every = forms.candidates(driver.Limits(1, threads, 48 << 10, False), layer)
    found = [form for form in every if form.held and form.rows == rows]
    assert len(found) == 1 and found[0].kind == "whole" and found[0].threads == threads
    return found[0]


def run(graph, feeds, sharing, rows):
    from edgelstm.cuda.recurrence import forms

    with mock.patch.object(forms, "plan_recurrent", functools.partial(held, sharing, rows)):
        return Model(graph, device="cuda").run(feeds)


@pytest.mark.parametrize(("units", "sharing", "rows", "batch", "steps"), [
    (4, 1, 1, 1, 3), (5, 1, 2, 3, 2), (8, 2, 1, 2, 1), (17, 2, 2, 3, 2), (17, 2, 4, 3, 0), (33, 1, 1, 1, 2)])
@pytest.mark.parametrize("described", CELLS, ids=str)
def test_plain_layers_of_all_sizes(described, units, sharing, rows, batch, steps, rng):
    graph, feeds = layer(*described, rng, units, steps, batch)
    check(run(graph, feeds, sharing, rows), graph, feeds)


@pytest.mark.parametrize("number", range(len(ALONE)), ids=lambda number: str(ALONE[number]))
def test_masks_states_and_activations(number, rng):
    graph, feeds = layer(*ALONE[number], rng, 9, 2)
    check(run(graph, feeds, 2, 2), graph, feeds)


def test_a_row_of_nan_stays_alone(rng):
    graph, feeds = layer(*CELLS[0], rng, 9)
    feeds["x"][1, 1] = np.nan
    found = run(graph, feeds, 2, 2)
    assert np.isnan(found["y"]).any() and not np.isnan(found["y"][[0, 2]]).any()
    check(found, graph, feeds)


@pytest.mark.parametrize(("precision", "units", "sharing"), [
    ("bfloat16", 9, 2), ("int8", 17, 2), ("int8x16", 17, 2), ("int4", 35, 1)])
@pytest.mark.parametrize("described", CELLS, ids=str)
def test_every_format(described, precision, units, sharing, rng):
    graph, feeds = layer(*described, rng, units, steps=2)
    graph = apply(graph, {node.name: precision for node in graph.nodes}, scales="max")
    found = run(graph, feeds, sharing, 2)
    if precision == "bfloat16":
        check(found, graph, feeds)
    else:
        assert_close_to_processors(found, Model(graph).run(feeds), 0.0)


def test_two_products_of_a_step_stay_in_shared_memory():
    from edgelstm.cuda import driver
    from edgelstm.cuda.recurrence import forms

    limits, asked = driver.Limits(1, 64, 48 << 10, False), forms.Layer("gru_before", "float32", 1, 16 * PARTS, 5)
    assert not any(form.held for form in forms.candidates(limits, asked))
