"""Recurrent kernels against the equations in float64, with sentinels around every buffer, in every width of this machine."""

from itertools import product

import numpy as np
import pytest

from edgelstm import kernels
from tests.recurrent_runs import ACTIVATIONS, FORMS, GATES, TOLERANCE, make, reference, run, run_step


def check(case, target, **how):
    for got, wanted, what in zip(run(case, target, **how), reference(case), "yhc", strict=True):
        if what == "c" and case.cell != "lstm":
            continue
        np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


everywhere = pytest.mark.parametrize("form", FORMS)
each_cell = pytest.mark.parametrize("cell", GATES)


@everywhere
@each_cell
def test_every_size(form, cell):
    for units in (1, 3, 8, 9, 17, 33, 65):
        for batch in (1, 3, 6):
            check(make(cell, units, batch, seed=units), FORMS[form])


@everywhere
@each_cell
def test_no_steps_copy_the_state_and_no_rows_do_nothing(form, cell):
    check(make(cell, steps=0), FORMS[form])
    check(make(cell, batch=0), FORMS[form])
    check(make(cell, steps=0, states=False), FORMS[form])


@everywhere
@each_cell
@pytest.mark.parametrize("hold", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_masks(form, cell, hold, reverse):
    for units in (5, 17):
        check(make(cell, units, masked=True, hold=hold, reverse=reverse), FORMS[form])
        check(make(cell, units, masked=True, hold=hold, reverse=reverse, states=False), FORMS[form])
    nothing = make(cell, hold=hold, reverse=reverse)
    nothing.mask = np.zeros((3, 7), np.uint8)
    check(nothing, FORMS[form])


@each_cell
def test_states_may_alias_and_zeros_may_be_left_out(cell):
    for target in FORMS.values():
        check(make(cell, 33), target, aliased=True)
        check(make(cell, 33, states=False), target)


@each_cell
def test_without_outputs_the_final_state_remains(cell):
    for target in FORMS.values():
        case = make(cell, 17, masked=True)
        _, h, _ = run(case, target, with_y=False)
        np.testing.assert_allclose(h, reference(case)[1], atol=TOLERANCE)


@each_cell
def test_general_kernels_agree_with_the_standard_ones(cell):
    for target in FORMS.values():
        case = make(cell, 17)
        check(case, target, general=True)


def test_the_table_of_activations_is_complete():
    assert ACTIVATIONS.keys() == kernels.ACTIVATIONS.keys()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@each_cell
def test_every_activation(cell, activation):
    for target in FORMS.values():
        chosen = (activation, 0.3, 0.4)
        case = make(cell, 9, steps=2, general={"clip": 0.4}, f=chosen, g=chosen, h=chosen)
        check(case, target)


@pytest.mark.parametrize("options", [{"clip": 0.7}, {"input_forget": True}, {"peep": True}, {"peep": True, "clip": 1.0}])
def test_options_of_the_general_lstm(options):
    for target in FORMS.values():
        case = make("lstm", 17, masked=True, general=dict(options))
        if "peep" in options:
            case.general["peep"] = np.random.default_rng(1).standard_normal(51).astype(np.float32)
        check(case, target)


@each_cell
@pytest.mark.parametrize("general", [False, True])
def test_nan_in_gives_nan_out(cell, general):
    for target in FORMS.values():
        case = make(cell, 17, batch=2)
        case.projected[3, 1] = np.nan
        y, h, _ = run(case, target, general=general)
        assert np.isnan(y[3:, 1]).all() and np.isnan(h[1]).all()
        assert np.isfinite(y[:3]).all() and np.isfinite(y[:, 0]).all() and np.isfinite(h[0]).all()


@each_cell
def test_infinite_inputs_saturate(cell):
    for target in FORMS.values():
        case = make(cell, 5)
        case.projected[...] = np.where(case.projected > 0, np.inf, -np.inf)
        y, _, _ = run(case, target)
        assert np.isfinite(y).all()


@everywhere
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("biased", [True, False])
def test_a_single_step_of_every_size(form, cell, biased):
    for units in (1, 3, 8, 16, 17, 32, 33, 65):
        for n_in in (1, 5, 16):
            case = make(cell, units, batch=1, steps=1, seed=units)
            rng, width = np.random.default_rng(n_in), GATES[cell] * units
            x, W = rng.standard_normal(n_in).astype(np.float32), rng.standard_normal((n_in, width)).astype(np.float32)
            b = rng.standard_normal(width).astype(np.float32) if biased else None
            case.rb = case.rb if biased else None
            case.projected = (x.astype(np.float64) @ W + (0 if b is None else b))[None, None]
            y, h, c = reference(case)
            for got, wanted in zip(run_step(case, x, W, b, FORMS[form]), (y[0, 0], h[0], c[0]), strict=True):
                if wanted is not c[0] or cell == "lstm":
                    np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_nan_in_a_single_step_gives_nan_out(cell):
    for target, units in product(FORMS.values(), (5, 17)):
        case = make(cell, units, batch=1, steps=1)
        W = np.ones((2, GATES[cell] * units), np.float32)
        y, h, _ = run_step(case, np.array([1, np.nan], np.float32), W, None, target)
        assert np.isnan(y).all() and np.isnan(h).all()
