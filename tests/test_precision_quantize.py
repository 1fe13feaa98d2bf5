"""Matrices made into stored weights: against ml_dtypes for bfloat16, and against a decoder written from docs/format.md."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.errors import PrecisionError
from edgelstm.ops.stored import nibbles, pack_nibbles
from edgelstm.precision.quantize import bfloat16, quantize, quantize_with_factors

SHAPES = [(1, 1), (3, 17), (31, 5), (32, 4), (33, 8), (65, 33), (0, 4), (4, 0)]
ODD_FLOATS = np.array([0.0, -0.0, 1.0, 1.00390625, 1.01171875, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, -np.nan, 1e-40, 1e-45,
                       np.float32(1 + 2**-8), np.float32(1 + 3 * 2**-8)], np.float32)


def matrix(rng, shape, spread=1.0):
    return (rng.standard_normal(shape) * spread).astype(np.float32)


def decoded(stored):
    """The floats of stored weights, number by number as the specification says."""
    n_in, n_out = stored.shape
    found = np.zeros(stored.shape)
    for i in range(n_in):
        for j in range(n_out):
            found[i, j] = decoded_number(stored, i, j)
    return found


def decoded_number(stored, i, j):
    if stored.precision == "bfloat16":
        return float(stored.values.view(ml_dtypes.bfloat16)[i, j])
    if stored.precision != "int4":
        return int(stored.values[i, j]) * float(stored.scale[j])
    group, place = divmod(i, 32)
    byte = int(stored.values[16 * group + place % 16, j])
    nibble = byte & 15 if place < 16 else byte >> 4
    return (nibble - 8) * float(stored.scale.view(ml_dtypes.bfloat16)[group, j])


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_bfloat16_is_the_nearest(bits):
    array = np.array(bits, np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):
        wanted = array.astype(ml_dtypes.bfloat16)
    found = bfloat16(array).view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(array))
    np.testing.assert_array_equal(found[~np.isnan(array)].view(np.uint16), wanted[~np.isnan(array)].view(np.uint16))


def test_bfloat16_of_odd_numbers():
    found = bfloat16(ODD_FLOATS).view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found, ODD_FLOATS.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8-static", "int4"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_widened_weights_are_what_the_format_says(precision, shape, rng):
    stored = quantize(matrix(rng, shape), precision)
    assert stored.shape == shape
    np.testing.assert_array_equal(stored.widened(np.float64), decoded(stored))
    np.testing.assert_allclose(stored.widened(), decoded(stored), rtol=1e-6)


@pytest.mark.parametrize(("precision", "dtypes", "sizes"), [
    ("bfloat16", ("uint16", None), ((33, 5), None)),
    ("int8", ("int8", "float32"), ((33, 5), (5,))),
    ("int4", ("uint8", "uint16"), ((32, 5), (2, 5))),
])
def test_canonical_storage(precision, dtypes, sizes, rng):
    stored = quantize(matrix(rng, (33, 5)), precision)
    arrays = (stored.values, stored.scale)
    assert tuple(None if a is None else str(a.dtype) for a in arrays) == dtypes
    assert tuple(None if a is None else a.shape for a in arrays) == sizes


@pytest.mark.parametrize("scales", ["max", "mse"])
@pytest.mark.parametrize("shape", [(3, 17), (33, 8), (200, 33)], ids=str)
def test_int8_is_within_half_a_step(scales, shape, rng):
    weights = matrix(rng, shape) * np.geomspace(1e-6, 1e6, shape[1]).astype(np.float32)
    stored = quantize(weights, "int8", scales=scales)
    assert np.min(stored.values) >= -127
    clipped = np.abs(stored.values) == 127
    errors = np.abs(weights - stored.widened(np.float64)) / stored.scale
    assert np.all(errors[~clipped] <= 0.5 + 1e-5)
    if scales == "max":
        assert np.all(errors <= 0.5 + 1e-5) and np.array_equal(np.max(np.abs(stored.values), axis=0), np.full(shape[1], 127))


@pytest.mark.parametrize("precision", ["int8", "int4"])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 70), heavy=st.booleans())
def test_scales_by_mse_are_never_worse(precision, seed, rows, heavy):
    rng = np.random.default_rng(seed)
    weights = (rng.standard_t(2, (rows, 7)) if heavy else rng.standard_normal((rows, 7))).astype(np.float32)
    errors = {scales: np.sum((weights - quantize(weights, precision, scales=scales).widened(np.float64)) ** 2, axis=0)
              for scales in ("max", "mse")}
    noise = 1e-12 * np.sum(np.square(weights), axis=0)
    if precision == "int8":
        assert np.all(errors["mse"] <= errors["max"] * (1 + 1e-5) + noise)
    assert np.sum(errors["mse"]) <= np.sum(errors["max"] * (1 + 1e-5) + noise)


def test_int4_by_mse_beats_the_largest_weight(rng):
    weights = matrix(rng, (256, 64))
    errors = {scales: np.sqrt(np.mean((weights - quantize(weights, "int4", scales=scales).widened()) ** 2))
              for scales in ("max", "mse")}
    assert errors["mse"] < 0.88 * errors["max"]


def test_int4_uses_minus_eight(rng):
    """A scale may be negative: the weight of largest size then takes the one number that has no opposite."""
    weights = np.zeros((32, 2), np.float32)
    weights[5] = (8, -8)
    weights[7] = (-3, 3)
    stored = quantize(weights, "int4")
    assert set(nibbles(stored.values)[5]) == {-8}
    np.testing.assert_array_equal(stored.widened(), weights)


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("scales", ["max", "mse"])
def test_columns_of_zeros_and_of_almost_nothing(precision, scales, rng):
    weights = matrix(rng, (40, 4))
    weights[:, 1], weights[:, 2] = 0, 1e-42
    stored = quantize(weights, precision, scales=scales)
    assert np.all(stored.widened()[:, 1:3] == 0) and np.all(np.isfinite(stored.widened()))
    assert np.max(np.abs(weights - stored.widened())) < (0.3 if precision == "int4" else 0.02) * np.max(np.abs(weights))


@pytest.mark.parametrize("precision", ["int8", "int8-static", "int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_integers_refuse_weights_that_are_not_finite(precision, bad, rng):
    weights = matrix(rng, (5, 3))
    weights[2, 1] = bad
    with pytest.raises(PrecisionError, match="NaN or infinity"):
        quantize(weights, precision)
    assert not np.all(np.isfinite(quantize(weights, "bfloat16").widened()))


@given(rows=st.integers(0, 70), columns=st.integers(0, 5), seed=st.integers(0, 99))
def test_nibbles_are_packed_and_unpacked(rows, columns, seed):
    numbers = np.random.default_rng(seed).integers(-8, 8, (rows, columns)).astype(np.int8)
    packed = pack_nibbles(numbers)
    assert packed.dtype == np.uint8 and packed.shape == (-(-rows // 32) * 16, columns)
    np.testing.assert_array_equal(nibbles(packed)[:rows], numbers)
    assert not np.any(nibbles(packed)[rows:])


COMPENSATED = pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8-static", "int4"])


@COMPENSATED
@pytest.mark.parametrize("shape", [(17, 5), (64, 33), (100, 40)], ids=str)
def test_compensated_rounding_errs_less_on_correlated_inputs(precision, shape, rng):
    weights = matrix(rng, shape)
    mixing = rng.standard_normal((shape[0], shape[0])) / np.sqrt(shape[0]) + np.eye(shape[0])
    mixed = rng.standard_normal((500, shape[0])) @ mixing
    seen, fresh = mixed[:400], mixed[400:]
    plain = quantize(weights, precision).widened(np.float64)
    compensated = quantize(weights, precision, covariance=seen.T @ seen / len(seen)).widened(np.float64)
    errors = [np.sqrt(np.mean((fresh @ (weights - found)) ** 2)) for found in (plain, compensated)]
    assert errors[1] < 0.95 * errors[0]


@COMPENSATED
@pytest.mark.parametrize("shape", [*SHAPES, (70, 9)], ids=str)
def test_compensated_rounding_of_uncorrelated_inputs_is_plain_rounding(precision, shape, rng):
    weights = matrix(rng, shape)
    for variances in (np.ones(shape[0]), rng.uniform(0.1, 9, shape[0]), np.zeros(shape[0])):
        found = quantize(weights, precision, covariance=np.diag(variances))
        np.testing.assert_array_equal(found.values, quantize(weights, precision).values)


@COMPENSATED
def test_compensated_rounding_beats_every_single_change(precision, rng):
    """A hundred inputs that move as three: what they share is kept far better than by rounding each weight alone."""
    seen = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 100))
    weights = matrix(rng, (100, 7))
    plain, found = (quantize(weights, precision, covariance=moments).widened(np.float64)
                    for moments in (None, seen.T @ seen / len(seen)))
    errors = [np.sqrt(np.mean((seen @ (weights - widened)) ** 2)) for widened in (plain, found)]
    assert errors[1] < 0.25 * errors[0]


@COMPENSATED
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_compensated_rounding_takes_any_covariance(precision, rank, rng):
    """Inputs that never move, or move together, leave a singular covariance."""
    seen = rng.standard_normal((50, rank)) @ rng.standard_normal((rank, 40))
    weights = matrix(rng, (40, 6))
    stored = quantize(weights, precision, covariance=seen.T @ seen / 50)
    assert np.all(np.isfinite(stored.widened()))
    exact, found = seen @ weights, seen @ stored.widened(np.float64)
    assert np.sqrt(np.mean((exact - found) ** 2)) <= 0.3 * np.sqrt(np.mean(exact**2)) if rank else True


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.4e38])
def test_bfloat16_that_is_not_finite_spoils_no_other_weight(bad, rng):
    weights = matrix(rng, (40, 6))
    weights[3, 2] = bad
    np.testing.assert_array_equal(quantize(weights, "bfloat16", covariance=np.ones((40, 40))).values, bfloat16(weights))


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_parts_of_stored_weights(precision, rng):
    stored = quantize(matrix(rng, (70, 12)), precision)
    whole = stored.widened()
    np.testing.assert_array_equal(stored.columns(3, 9).widened(), whole[:, 3:9])
    np.testing.assert_array_equal(stored.rows(32, 70).widened(), whole[32:70])
    np.testing.assert_array_equal(stored.rows(0, 64).columns(1, 2).widened(), whole[:64, 1:2])
    assert stored.rows(32, 70).shape == (38, 12) and stored.columns(3, 9).shape == (70, 6)
    if precision == "int4":
        with pytest.raises(ValueError, match="whole groups"):
            stored.rows(3, 70)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 70), spread=st.floats(0, 4))
def test_factors_of_inputs_let_every_input_have_steps_that_fit_it(seed, rows, spread):
    """Weights decode as value * scale * factor, and the error of an input's weights is small beside the largest of them."""
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((rows, 9)) * 10 ** rng.uniform(-spread, 0, (rows, 1))).astype(np.float32)
    weights[rng.random(rows) < 0.1] = 0
    stored = quantize_with_factors(weights, scales="max")
    if stored.factor is None:
        np.testing.assert_array_equal(stored.values, quantize(weights, "int8x16", scales="max").values)
        return
    assert stored.factor.dtype == np.float32 and stored.factor.shape == (rows,) and np.max(np.abs(stored.factor)) <= 1
    wide = stored.values.astype(np.float64) * stored.scale * stored.factor[:, None].astype(np.float64)
    np.testing.assert_allclose(stored.widened(np.float64), wide, rtol=1e-12)
    assert np.all(np.abs(weights - wide) <= np.max(np.abs(weights), axis=1, keepdims=True) * (0.5 / 127 + 1e-6))


def test_factors_are_there_where_they_help(rng):
    """A window's weights fade towards its ends; weights of one size gain nothing; one large column would drown the others."""
    alike = rng.uniform(0.5, 1, (256, 40)) * rng.choice([-1, 1], (256, 40))
    faded, lopsided = alike * np.hanning(256)[:, None], rng.standard_normal((256, 40)) * np.where(np.arange(40), 1, 1e6)
    assert quantize_with_factors(faded).factor is not None and quantize_with_factors(lopsided).factor is None
    errors = [np.sum(np.square(found.widened(np.float64) - faded))
              for found in (quantize_with_factors(faded), quantize(faded, "int8"))]
    assert errors[0] < 0.5 * errors[1]
    seen = np.diag(np.geomspace(1, 1e-6, 256)) + 1e-9
    grown = alike * np.geomspace(1, 1e3, 256)[:, None]
    found = [quantize_with_factors(grown, covariance=seen), quantize(grown, "int8", covariance=seen)]
    noise = [np.trace((one.widened(np.float64) - grown).T @ seen @ (one.widened(np.float64) - grown)) for one in found]
    assert found[0].factor is not None and noise[0] < 0.1 * noise[1]


@pytest.mark.parametrize("make", [quantize_with_factors, lambda weights: quantize(weights, "int8"),
                                  lambda weights: quantize(weights, "int4")], ids=["factors", "int8", "int4"])
@pytest.mark.parametrize("size", [1e-30, 1e12, 1e25, 3e37])
def test_weights_of_any_size(make, size, rng):
    """Also where their squares leave float32."""
    weights = matrix(rng, (70, 9))
    weights[:, 1:] *= np.float32(size)
    stored = make(weights)
    found, errors = stored.widened(np.float64), {"int8": 0.005, "int4": 0.12, "int8x16": 0.2}[stored.precision]
    assert np.all(np.abs(found - weights) <= errors * np.max(np.abs(weights), axis=0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_factors_refuse_weights_that_are_not_finite(bad, rng):
    weights = matrix(rng, (5, 33))
    weights[2, 1] = bad
    with pytest.raises(PrecisionError, match="NaN or infinity"):
        quantize_with_factors(weights)
