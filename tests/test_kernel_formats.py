"""Kernels of every weight format against float64 equations on the widened weights, rows rounded as the format reads them."""

import numpy as np
import pytest

from edgelstm import kernels
from edgelstm.kernels import formats
from edgelstm.kernels.vectors import plain_vectors
from edgelstm.kernels.vectors.plain_pointer import Pointer
from edgelstm.native import link, run_table
from edgelstm.native.block import block
from edgelstm.program import packing
from tests.quantizing import FORMATS, rows_as_read, stored
from tests.recurrent_runs import FORMS, GATES, TOLERANCE, Memory, make, reference, run, run_step

everywhere = pytest.mark.parametrize("form", FORMS)
each_cell = pytest.mark.parametrize("cell", GATES)
each_format = pytest.mark.parametrize("precision", FORMATS)


def test_every_format_is_tested():
    assert set(formats.FORMATS) == {"float32", *FORMATS}


def reduced(case, precision, h_scale=0.0):
    """The case with its recurrent weights in a precision."""
    case.stored, case.h_scale = stored(case.R, precision), h_scale
    case.R, case.rows = case.stored.widened(np.float64), rows_as_read(precision, h_scale)
    return case


def check(case, target, **how):
    """Each step from the outputs of the last one, so that a rounding of h to the other side is not carried on."""
    found = run(case, target, **how)
    for got, wanted, what in zip(found, reference(case, found[0]), "yhc", strict=True):
        if what == "c" and case.cell != "lstm":
            continue
        if case.cell == "gru_before" and case.precision != "bfloat16":
            check_mostly(got, wanted, case.precision)
        else:
            np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def check_mostly(got, wanted, precision):
    """The product r h is rounded by the kernel itself: a number of it in a hundred thousand may fall to the other side.

    The steps of int8x16 are 254 times as fine: as many more numbers lie beside a border, and fall as much less deep.
    """
    error = abs(got - wanted)
    if precision == "int8x16":
        assert error.max(initial=0) < 0.01 / 254
        return
    off = (error > TOLERANCE * (1 + abs(wanted))).any(axis=-1)
    assert off.sum() <= max(1, 0.02 * off.size) and error.max(initial=0) < 0.01


@everywhere
@each_cell
@each_format
def test_every_size(form, cell, precision):
    for units in (1, 3, 16, 17, 33, 65):
        for batch in (1, 3, 6):
            check(reduced(make(cell, units, batch, seed=units), precision), FORMS[form])


@everywhere
@each_cell
@each_format
def test_no_steps_no_rows_and_no_states(form, cell, precision):
    for shape in ({"steps": 0}, {"batch": 0}, {"steps": 0, "states": False}, {"steps": 1, "states": False}):
        check(reduced(make(cell, **shape), precision), FORMS[form])


@each_cell
@each_format
@pytest.mark.parametrize("reverse", [False, True])
def test_masks(cell, precision, reverse):
    for hold in (1, 2):
        for target in FORMS.values():
            check(reduced(make(cell, 17, masked=True, hold=hold, reverse=reverse), precision), target)


@each_cell
@each_format
def test_general_kernels_agree_with_the_standard_ones(cell, precision):
    for target in {min(FORMS), max(FORMS, key=lambda name: FORMS[name].lanes)}:
        target = FORMS[target]
        check(reduced(make(cell, 17), precision), target, general=True)
        chosen = ("hard_sigmoid", 0.2, 0.5)
        check(reduced(make(cell, 33, steps=3, f=chosen, general={"clip": 2.0}), precision), target)


@each_cell
@each_format
def test_nan_in_gives_nan_out(cell, precision):
    for target in FORMS.values():
        case = reduced(make(cell, 17, batch=2), precision)
        case.projected[3, 1] = np.nan
        y, h, _ = run(case, target)
        assert np.isnan(y[3:, 1]).all() and np.isnan(h[1]).all()
        assert np.isfinite(y[:3]).all() and np.isfinite(y[:, 0]).all() and np.isfinite(h[0]).all()
        case = reduced(make(cell, 17, batch=2), precision)
        case.h0[1, 16] = np.nan
        y, _, _ = run(case, target)
        assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, 0]).all()


@everywhere
@each_cell
def test_fixed_scales_of_h(form, cell):
    """Of int8-static: some of h lies beyond the scale's range, and is bounded there."""
    for units, h_scale in ((17, 0.004), (33, 0.01)):
        check(reduced(make(cell, units), "int8", h_scale), FORMS[form])


@everywhere
@each_format
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("biased", [True, False])
def test_a_single_step_of_every_size(form, cell, precision, biased):
    for units in (1, 3, 16, 17, 33, 65):
        for n_in in (1, 5, 16, 31, 32, 40, 65):
            check_step(form, cell, precision, (units, n_in, biased), 0.0)
            if precision == "int8":
                check_step(form, cell, precision, (units, n_in, biased), 0.015)


def check_step(form, cell, precision, shape, scale):
    units, n_in, biased = shape
    case = reduced(make(cell, units, batch=1, steps=1, seed=units), precision, scale)
    rng, width = np.random.default_rng(n_in), GATES[cell] * units
    x, W = rng.standard_normal(n_in).astype(np.float32), stored(rng.standard_normal((n_in, width)), precision)
    b = rng.standard_normal(width).astype(np.float32) if biased else None
    case.rb = case.rb if biased else None
    read = rows_as_read(precision, scale)(x[None].astype(np.float64))
    case.projected = (read @ W.widened(np.float64) + (0 if b is None else b))[None]
    y, h, c = reference(case)
    for got, wanted in zip(run_step(case, x, W, b, FORMS[form], scale), (y[0, 0], h[0], c[0]), strict=True):
        if wanted is not c[0] or cell == "lstm":
            np.testing.assert_allclose(got, wanted, rtol=2 * TOLERANCE, atol=2 * TOLERANCE)


@each_format
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_nan_in_a_single_step_gives_nan_out(cell, precision):
    for target in FORMS.values():
        case = reduced(make(cell, 17, batch=1, steps=1), precision)
        W = stored(np.ones((2, GATES[cell] * 17)), precision)
        y, h, _ = run_step(case, np.array([1, np.nan], np.float32), W, None, target)
        assert np.isnan(y).all() and np.isnan(h).all()


def product(target, x, W, bias, vectors, *, kernel="gemm", plain=False):
    """y = bias + x @ W by the kernel, its rows prepared, within sentinels."""
    memory, precision, (rows, n_in), n_out = Memory(), W.precision, x.shape, W.shape[1]
    words = packing.row_words(precision, n_in)
    ready = memory.place(np.full(rows * words, np.nan, np.float32)) if words else memory.place(x)
    execute = run_plain if plain else run_compiled
    if words:
        execute(target, f"quantize_{precision}", x=memory.place(x), y=ready, batch=1, count=rows, n=n_in, x_start=0, x_batch=0,
                x_row=n_in, scale=0.0)
    w = memory.place(packing.packed(W, 1, target.lanes, vectors))
    b = None if bias is None else memory.place(packing.packed(bias[None], 1, target.lanes, vectors))
    y = memory.place(np.full(rows * n_out, 7, np.float32))
    execute(target, f"{kernel}{vectors}_{precision}", x=ready, w=w, bias=b, y=y, rows=rows, n_in=n_in, n_out=n_out,
            x_stride=words or n_in, y_stride=n_out)
    assert memory.intact()
    return y.reshape(rows, n_out)


def run_compiled(target, name, **arguments):
    table = block(name, **arguments)
    run_table(np.array([1, link([name], target)[name], table.ctypes.data], np.int64))


def run_plain(target, name, **arguments):
    decl = kernels.get(name)
    given = {key: Pointer(value) if kind.endswith("*") else value
             for key, kind in decl.params for value in [arguments[key]]}
    with np.errstate(all="ignore"):
        decl.factory(plain_vectors.make(target.lanes, target.dot))(*given.values())


@everywhere
@each_format
@pytest.mark.parametrize("vectors", [1, 3, 4])
def test_products(form, precision, vectors):
    for rows, n_in, n_out in ((1, 1, 1), (2, 15, 17), (3, 17, 33), (5, 33, 16), (4, 49, 70), (7, 64, 65), (0, 4, 3), (6, 0, 3)):
        rng = np.random.default_rng(rows + n_in)
        x, bias = rng.standard_normal((rows, n_in)).astype(np.float32), rng.standard_normal(n_out).astype(np.float32)
        W = stored(rng.standard_normal((n_in, n_out)), precision)
        wanted = rows_as_read(precision)(x) @ W.widened(np.float64)
        for b in (None, bias):
            got = product(FORMS[form], x, W, b, vectors)
            np.testing.assert_allclose(got, wanted + (0 if b is None else b), rtol=3e-6, atol=1e-5)


@everywhere
@each_format
def test_products_are_what_their_python_says(form, precision):
    rng = np.random.default_rng(2)
    x, W = rng.standard_normal((3, 37)).astype(np.float32), stored(rng.standard_normal((37, 9)), precision)
    x[1, 36] = np.nan
    for vectors in (1, 3):
        compiled, plain = (product(FORMS[form], x, W, None, vectors, plain=way) for way in (False, True))
        np.testing.assert_allclose(compiled, plain, rtol=2e-6, atol=2e-6)
        assert np.isnan(compiled[1]).all() and np.isfinite(compiled[[0, 2]]).all()


@each_format
def test_infinite_numbers_in_the_last_place_of_a_row_keep_their_sign(precision):
    """What fills a row or a panel up must meet nothing but zeros."""
    for target in FORMS.values():
        x = np.zeros((1, 33), np.float32)
        x[0, 32] = 3e38
        got = product(target, x, stored(np.ones((33, 3)), precision), None, 1)
        np.testing.assert_allclose(got, 3e38, rtol=0.01)


TABLE = np.random.default_rng(8).standard_normal((9, 67)).astype(np.float32)


@everywhere
@pytest.mark.parametrize("precision", [name for name in FORMATS if name != "int8x16"])  # whose tables are those of int8
@pytest.mark.parametrize("width", [1, 15, 16, 17, 32, 33, 67])
def test_rows_of_tables(form, precision, width):
    memory, indices = Memory(), np.array([8, 0, 3, 3], np.int64)
    table = stored(TABLE[:, :width].T, precision)
    y = memory.place(np.full(4 * width, 7, np.float32))
    scale = {} if table.scale is None else {"scale": memory.place(table.scale.T)}
    run_compiled(FORMS[form], f"gather_{precision}", x=memory.place(table.values.T), **scale, y=y, count=4, width=width,
                 indices=memory.place(indices))
    assert memory.intact()
    np.testing.assert_allclose(y.reshape(4, width), table.widened(np.float64).T[indices], rtol=1e-6)
