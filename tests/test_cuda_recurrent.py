"""Every form of the recurrent kernels against the float64 equations, blocks that meet included."""

from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import pytest

from edgelstm import ops, reference
from edgelstm.builder import GraphBuilder
from edgelstm.model import Model
from tests import cuda_simulator

pytestmark = cuda_simulator.on_simulator

PARTS = 16 if cuda_simulator.ON_GPU else 1  # units for each unit below: a vector has 32 lanes instead of 2
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
PLAIN = [(op, {}, ()) for op in GATES] + [("gru", {"reset_after": False}, ())]
SPECIAL = [
    ("lstm", {"reverse": True, "masked_output": "hold"}, ("mask", "h0", "c0")),
    ("lstm", {"recurrent_activation": ("hard_sigmoid", 0.2, 0.5), "clip": 0.7}, ("peephole", "c0")),
    ("lstm", {"input_forget": True, "masked_output": "zero"}, ("mask",)),
    ("gru", {"reverse": True, "masked_output": "hold"}, ("b_recurrent", "mask", "h0")),
    ("gru", {"reset_after": False, "activation": "relu", "clip": 0.7}, ("b_recurrent", "h0")),
    ("gru", {"reset_after": False, "masked_output": "zero"}, ("mask", "h0")),
    ("simple_rnn", {"reverse": True, "activation": "relu"}, ("mask", "h0")),
]
FORMS = [  # kind, units of a block, rows at once, groups of rows, whether the weights are in shared memory
    ("whole", 6, 1, 3, True), ("whole", 6, 2, 2, False), ("stepwise", 2, 2, 1, False), ("stepwise", 4, 1, 3, False),
    ("persistent", 2, 1, 2, True), ("persistent", 1, 2, 1, True), ("persistent", 4, 1, 1, False), ("persistent", 2, 2, 2, True),
    ("cluster", 2, 1, 3, True), ("cluster", 1, 2, 2, True), ("cluster", 4, 2, 2, True),
]  # fmt: skip
SIZES = [("persistent", 1, 1), ("persistent", 7, 2), ("persistent", 16, 2), ("persistent", 17, 2), ("persistent", 9, 0),
         ("stepwise", 3, 0), ("stepwise", 8, 2), ("whole", 17, 1), ("cluster", 7, 2), ("cluster", 16, 1), ("cluster", 17, 2),
         ("cluster", 9, 0)]
BATCH, STEPS, UNITS, FEATURES = 3, 3, 5, 2


def layer(op, attrs, given, rng, units=UNITS, steps=STEPS, batch=BATCH):
    """A graph of one layer, and its feeds."""
    units, gates = units * PARTS, GATES[op]
    shapes = {"x": (batch, steps, FEATURES), "W": (FEATURES, gates * units), "R": (units, gates * units), "b": (gates * units,),
              "b_recurrent": (gates * units,), "h0": (batch, units), "c0": (batch, units), "mask": (batch, steps),
              "peephole": (3 * units,)}
    builder, feeds, values = GraphBuilder(), {}, []
    for name in (name.rstrip("?") for name in ops.get(op).inputs):
        if name not in ("x", "W", "R", "b", *given):
            values.append(None)
            continue
        array = rng.standard_normal(shapes[name]).astype(np.float32) / (np.sqrt(units) if name == "R" else 1)
        array = rng.random(shapes[name]) < 0.6 if name == "mask" else array.astype(np.float32)
        if name in ops.get(op).parameters:
            values.append(builder.constant(array))
        else:
            values.append(builder.input(name, str(array.dtype), array.shape, exact=True))
            feeds[name] = array
    names = [name.rstrip("?") for name in ops.get(op).outputs]
    for name, value in zip(names, builder.add_many(op, *values, used=[True] * len(names), **attrs), strict=True):
        builder.output(name, value)
    return builder.build(), feeds


def chosen(form, limits, layer):
    """The candidate that FORMS describes."""
    from edgelstm.cuda.recurrence import forms

    kind, span, rows, groups, resident = form
    wanted = (kind, span * PARTS, rows, groups, resident)
    found = [each for each in forms.candidates(limits, layer)
             if (each.kind, each.span, each.rows, each.blocks[1], each.resident) == wanted and not each.held]
    assert len(found) == 1, list(forms.candidates(limits, layer))
    return found[0]


@contextmanager
def planned(choose, room=32):
    """All layers run in the form that choose(limits, layer) gives. A simulated device runs all blocks at once, and says that
    it has room for so many.
    """
    from edgelstm.cuda import driver
    from edgelstm.cuda.recurrence import forms, recurrent

    with ExitStack() as stack:
        if not cuda_simulator.ON_GPU:
            from tests.cuda_grid import all_blocks_at_once

            stack.enter_context(all_blocks_at_once())
            stack.enter_context(mock.patch.object(recurrent, "limits", lambda: driver.Limits(32, 4, 48 << 10, True, 16)))
            stack.enter_context(mock.patch.object(recurrent, "resident_blocks", lambda *args, shared: room))
        stack.enter_context(mock.patch.object(forms, "plan_recurrent", choose))
        yield


def run(graph, feeds, form):
    """What the layers give in one of FORMS."""
    with planned(lambda limits, layer: chosen(form, limits, layer)):
        return Model(graph, device="cuda").run(feeds)


def check(found, graph, feeds):
    expected = reference.run(graph, feeds)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("described", PLAIN, ids=str)
def test_plain_layers_in_every_form(described, form, rng):
    graph, feeds = layer(*described, rng)
    check(run(graph, feeds, form), graph, feeds)


@pytest.mark.parametrize("number", range(len(SPECIAL)), ids=lambda number: str(SPECIAL[number]))
def test_masks_states_and_activations(number, rng):
    for form in (FORMS[2 + number % 2], FORMS[4 + number % 4], FORMS[8 + number % 3]):
        graph, feeds = layer(*SPECIAL[number], rng)
        check(run(graph, feeds, form), graph, feeds)


@pytest.mark.parametrize(("kind", "units", "steps"), SIZES)
@pytest.mark.parametrize("described", [PLAIN[0], PLAIN[3]], ids=str)
def test_odd_sizes(kind, units, steps, described, rng):
    from edgelstm.cuda.recurrence import forms

    graph, feeds = layer(*described, rng, units, steps, 1)
    with planned(lambda limits, layer: [form for form in forms.candidates(limits, layer) if form.kind == kind][units % 2]):
        check(Model(graph, device="cuda").run(feeds), graph, feeds)


def test_a_meeting_needs_nothing_reset_between_runs(rng):
    """As in a CUDA graph, the same launch is made again over the same counters."""
    graph, feeds = layer(*PLAIN[3], rng)
    with planned(lambda limits, layer: chosen(FORMS[4], limits, layer)):
        model = Model(graph, device="cuda")
        for _ in range(3):
            feeds = {name: rng.standard_normal(array.shape).astype(np.float32) for name, array in feeds.items()}
            check(model.run(feeds), graph, feeds)


def test_a_row_of_nan_stays_alone(rng):
    graph, feeds = layer(*PLAIN[0], rng)
    feeds["x"][1, 1] = np.nan
    found = run(graph, feeds, FORMS[7])
    assert np.isnan(found["y"]).any() and not np.isnan(found["y"][[0, 2]]).any()
    check(found, graph, feeds)


def test_blocks_that_do_not_fit_at_once_take_a_launch_a_step(rng, monkeypatch):
    """The plan counted on more blocks at once than there is room for."""
    from edgelstm.cuda.recurrence import grid

    kinds = []
    for kind in ("persistent", "stepwise"):
        real = getattr(grid, kind)
        monkeypatch.setattr(grid, kind, lambda *args, kind=kind, real=real: kinds.append(kind) or real(*args))
    graph, feeds = layer(*PLAIN[0], rng)
    with planned(lambda limits, layer: chosen(FORMS[4] if limits.cooperative else FORMS[3], limits, layer), room=5):
        check(Model(graph, device="cuda").run(feeds), graph, feeds)
    assert kinds == ["persistent", "stepwise"]


@pytest.mark.skipif(cuda_simulator.ON_GPU, reason="a GPU does not tell of races")
@pytest.mark.parametrize(("described", "meetings"), [(PLAIN[0], STEPS + 1), (PLAIN[3], 2 * STEPS + 1)], ids=str)
def test_every_meeting_of_a_cluster_is_needed(described, meetings, rng):
    from edgelstm.cuda.recurrence import peers
    from tests import cuda_grid

    graph, feeds = layer(*described, rng)
    for missing in range(meetings + 1):
        with planned(lambda limits, layer: chosen(FORMS[8], limits, layer)), mock.patch.object(
                peers, "_barrier", cuda_grid.all_meetings_but(missing)):
            model = Model(graph, device="cuda")
            if missing < meetings:
                with pytest.raises(AssertionError, match=r"is used while|is sent while|is sent to"):
                    model.run(feeds)
            else:
                check(model.run(feeds), graph, feeds)


def test_a_cluster_that_has_no_room_becomes_a_smaller_one(rng, monkeypatch):
    from edgelstm.cuda.recurrence import forms, recurrent

    real, asked = recurrent.launch_clusters, []

    def launch_clusters(kernel, blocks, threads, *args, shared, at_once):
        asked.append((blocks[0], at_once))
        return real(kernel, blocks, threads, *args, shared=shared, at_once=at_once) if blocks[0] < 4 else []

    def chosen(limits, layer):
        return next(form for form in forms.candidates(limits, layer) if form.kind == "cluster" and form.rows == 1)

    monkeypatch.setattr(recurrent, "launch_clusters", launch_clusters)
    graph, feeds = layer(*PLAIN[0], rng, units=7)
    with planned(chosen):
        check(Model(graph, device="cuda").run(feeds), graph, feeds)
    assert asked == [(7, BATCH), (4, BATCH), (2, BATCH)]
