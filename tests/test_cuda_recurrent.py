"""Every form of the recurrent kernels against the float64 equations, on the simulator; its blocks run at once where they meet."""

from contextlib import nullcontext
from unittest import mock

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.builder import GraphBuilder
from edgelstm.model import Model
from tests import cuda_simulator

pytestmark = cuda_simulator.on_simulator

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
]  # fmt: skip
BATCH, STEPS, UNITS, FEATURES = 3, 3, 5, 2


def layer(op, attrs, given, rng, steps=STEPS, units=UNITS, batch=BATCH):
    """A graph of one layer, and its feeds."""
    gates = GATES[op]
    shapes = {"x": (batch, steps, FEATURES), "W": (FEATURES, gates * units), "R": (units, gates * units), "b": (gates * units,)}
    shapes |= {"b_recurrent": (gates * units,), "h0": (batch, units), "c0": (batch, units), "mask": (batch, steps),
               "peephole": (3 * units,)}
    builder, feeds, values = GraphBuilder(), {}, []
    from edgelstm import ops

    declared = [name.rstrip("?") for name in ops.get(op).inputs]
    for name in declared:
        if name not in ("x", "W", "R", "b", *given):
            values.append(None)
            continue
        array = rng.standard_normal(shapes[name]).astype(np.float32)
        if name == "mask":
            array = rng.random(shapes[name]) < 0.6
        if name in ops.get(op).parameters:
            values.append(builder.constant(array))
        else:
            values.append(builder.input(name, str(array.dtype), array.shape, exact=True))
            feeds[name] = array
    count = len(ops.get(op).outputs)
    outputs = builder.add_many(op, *values, used=[True] * count, **attrs)
    for name, value in zip("yhc", outputs, strict=False):
        builder.output(name, value)
    return builder.build(), feeds


def chosen(form, limits, layer):
    """The candidate that FORMS describes."""
    from edgelstm.cuda import forms

    kind, span, rows, groups, resident = form
    found = [each for each in forms.candidates(limits, layer)
             if (each.kind, each.span, each.rows, each.blocks[1], each.resident) == (kind, span, rows, groups, resident)]
    assert len(found) == 1, list(forms.candidates(limits, layer))
    return found[0]


def run(graph, feeds, form):
    from edgelstm.cuda import forms, recurrent
    from edgelstm.cuda.driver import Limits
    from tests.cuda_grid import all_blocks_at_once

    together = all_blocks_at_once()
    with (mock.patch.object(forms, "plan_recurrent", lambda limits, layer: chosen(form, limits, layer)),
          mock.patch.object(recurrent, "limits", lambda: Limits(16, 4, 48 << 10, True)),
          mock.patch.object(recurrent, "resident_blocks", lambda *args, shared: 16), together):
        return Model(graph, device="cuda").run(feeds)


def check(graph, feeds, form):
    expected = reference.run(graph, feeds)
    for name, array in run(graph, feeds, form).items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("described", PLAIN, ids=str)
def test_plain_layers_in_every_form(described, form, rng):
    check(*layer(*described, rng), form)


@pytest.mark.parametrize("number", range(len(SPECIAL)), ids=lambda number: str(SPECIAL[number]))
def test_masks_states_and_activations(number, rng):
    for form in (FORMS[2 + number % 2], FORMS[4 + number % 4]):
        check(*layer(*SPECIAL[number], rng), form)
