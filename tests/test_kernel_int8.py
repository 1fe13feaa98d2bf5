"""Rows as bytes and products with int8 panels, against NumPy: integers exactly, floats within their rounding."""

import numpy as np
import pytest

from edgelstm.kernels import get
from edgelstm.kernels.formats import int8
from edgelstm.kernels.panels import pack_gates, pack_panels
from edgelstm.kernels.panels_int8 import pack_int8
from edgelstm.kernels.vectors import plain_vectors
from edgelstm.kernels.vectors.plain_pointer import Pointer
from edgelstm.native import host_forms, link, run_table
from edgelstm.native.block import block

FORMS = {target.name: target for target in host_forms()}
everywhere = pytest.mark.parametrize("target", FORMS.values(), ids=FORMS)
GUARD = 32
LENGTHS = (0, 1, 3, 4, 16, 17, 33, 60, 61, 64, 130)
SIZES = ((0, 5, 3), (1, 1, 1), (2, 17, 17), (3, 4, 33), (5, 33, 16), (7, 64, 40), (4, 0, 3))


def row_words(n):
    return int8.row_words(plain_vectors.make(4))(n)


def expected_rows(x, scale=0.0):
    """(numbers, scales) of rows of finite floats, as kernels/rounding.py says, in float32."""
    x = np.asarray(x, np.float32)
    if scale:
        inverse, scales = np.full(len(x), np.float32(1) / np.float32(scale)), np.full(len(x), scale, np.float32)
    else:
        top = abs(x).max(1, initial=0).astype(np.float32)
        small = top < np.float32(2.0**-100)
        inverse = np.where(small, 0, np.float32(127) / np.where(small, 1, top)).astype(np.float32)
        scales = np.where(small, 0, top / np.float32(127)).astype(np.float32)
    return np.rint(np.clip(x * inverse[:, None], -127, 127)).astype(np.int64), scales


def quantized(target, x, scale=0.0):
    """(bytes as stored, scales) of the rows of x (count, n) by the kernel, which must write nowhere else."""
    count, n = x.shape
    words = row_words(n)
    y = np.full(count * words + GUARD, np.float32(7.5))
    arguments = dict(batch=1, count=count, n=n, x_start=0, x_batch=0, x_row=n, scale=scale)
    call("quantize_int8", target, x=np.ascontiguousarray(x), y=y, **arguments)
    assert (y[count * words :] == 7.5).all()
    rows = y[: count * words].reshape(count, words)
    return rows.view(np.uint8)[:, :n], rows[:, -1]


def call(name, target, **arguments):
    words = block(name, **arguments)
    run_table(np.array([1, link([name], target)[name], words.ctypes.data], np.int64))


def offset(target):
    return 128 if target.dot == "vnni" else 0


def some_rows(count, n, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, n)) * 10.0 ** rng.uniform(-6, 6, (count, 1))).astype(np.float32)


@everywhere
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("scale", [0.0, 0.03125, 0.017])
def test_rows_become_bytes(target, n, scale):
    x = some_rows(5, n, n)
    numbers, scales = expected_rows(x, scale)
    stored, found = quantized(target, x, scale)
    np.testing.assert_array_equal(stored, (numbers + offset(target)) % 256)
    np.testing.assert_array_equal(found, scales)
    if not scale and n:
        assert (abs(numbers).max(1) == 127).all()


@everywhere
def test_rows_without_numbers_to_speak_of_are_zero(target):
    x = np.array([[0, 0, 0], [-0.0, 0, 0], [1e-31, -1e-33, 0], [1e-30, 0, -1e-30], [3e38, -3e38, 1]], np.float32)
    stored, scales = quantized(target, x)
    whole = (stored.astype(int) - offset(target) + 128) % 256 - 128
    np.testing.assert_array_equal(whole, [[0, 0, 0]] * 3 + [[127, 0, -127], [127, -127, 0]])
    np.testing.assert_array_equal(scales[:3], 0)
    np.testing.assert_allclose(scales[3:], [1e-30 / 127, 3e38 / 127], rtol=1e-6)


@everywhere
@pytest.mark.parametrize("n", [1, 5, 33])
@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_what_is_not_a_number_spoils_its_row_alone(target, n, scale):
    for place in {0, n // 2, n - 1}:
        x = some_rows(3, n)
        x[1, place] = np.nan
        scales = quantized(target, x, scale)[1]
        assert np.isnan(scales).tolist() == [False, True, False]


@everywhere
def test_infinities_are_all_that_counts_in_their_row(target):
    x = np.array([[1, -np.inf, 0, 3e38, np.inf]], np.float32)
    stored, scales = quantized(target, x)
    whole = (stored.astype(int) - offset(target) + 128) % 256 - 128
    assert whole[0, [0, 1, 2, 4]].tolist() == [0, -127, 0, 127] and scales[0] == np.inf
    stored, scales = quantized(target, x, 0.5)
    whole = (stored.astype(int) - offset(target) + 128) % 256 - 128
    assert whole.tolist() == [[2, -127, 0, 127, 127]] and scales[0] == 0.5


@everywhere
def test_windows_overlap(target):
    """Rows of a convolution: two batches of four windows of three taps."""
    x, n = some_rows(1, 2 * 50, 3)[0], 15
    y = np.zeros(8 * row_words(n), np.float32)
    arguments = dict(batch=2, count=4, n=n, x_start=2, x_batch=50, x_row=5, scale=0.0)
    call("quantize_int8", target, x=x, y=y, **arguments)
    windows = np.stack([x[2 + b * 50 + t * 5 :][:n] for b in range(2) for t in range(4)])
    numbers, scales = expected_rows(windows)
    rows = y.reshape(8, -1)
    np.testing.assert_array_equal(rows.view(np.uint8)[:, :n], (numbers + offset(target)) % 256)
    np.testing.assert_array_equal(rows[:, -1], scales)


@everywhere
@pytest.mark.parametrize("vectors", [1, 3, 4])
@pytest.mark.parametrize(("rows", "n_in", "units"), SIZES)
def test_products_with_int8_panels(target, vectors, rows, n_in, units):
    """The integers are exact, so all that is left is the rounding of two scales and one sum."""
    rng, lanes = np.random.default_rng(rows + units), target.lanes
    x, weights = some_rows(rows, n_in, 1), rng.integers(-127, 128, (n_in, vectors * units)).astype(np.int8)
    scale, bias = (rng.uniform(0.1, 2, vectors * units).astype(np.float32) for _ in range(2))
    columns = -(-units // lanes) * lanes * vectors
    padded = np.full(rows * row_words(n_in) + GUARD, np.float32(np.nan))
    arguments = dict(batch=1, count=rows, n=n_in, x_start=0, x_batch=0, x_row=n_in, scale=0.0)
    call("quantize_int8", target, x=x, y=padded, **arguments)
    y = np.full((rows + 1, columns), np.float32(7.5))
    w, b = pack_int8(weights, scale, vectors, lanes), pack_gates(bias, vectors, lanes)
    call(f"gemm{vectors}_int8", target, x=padded, w=w, bias=b, y=y, rows=rows, n_in=n_in, n_out=columns,
         x_stride=row_words(n_in), y_stride=columns)
    numbers, scales = expected_rows(x)
    sums = (numbers @ weights).astype(np.float64)
    wanted = bias + sums * scale * scales[:, None]
    blocks = y[:rows].reshape(rows, -(-units // lanes), vectors, lanes).swapaxes(1, 2)
    found = blocks.reshape(rows, vectors, columns // vectors)[:, :, :units].reshape(rows, vectors * units)
    for got, row in zip(found, wanted, strict=True):
        assert abs(got - row).max() <= 3e-7 * max(2, abs(row).max())
    assert (y[rows] == 7.5).all()


def test_every_machine_gets_the_same_numbers():
    """Bytes and sums agree bit for bit; the forms differ at most in how the last product is rounded."""
    found = []
    x, weights = some_rows(3, 50, 9), np.random.default_rng(9).integers(-127, 128, (50, 20)).astype(np.int8)
    for target in FORMS.values():
        rows, y = np.zeros(3 * row_words(50), np.float32), np.zeros((3, 32), np.float32)
        call("quantize_int8", target, x=x, y=rows, batch=1, count=3, n=50, x_start=0, x_batch=0, x_row=50, scale=0.0)
        w = pack_int8(weights, np.ones(20, np.float32), 1, target.lanes)
        call("gemm1_int8", target, x=rows, w=w, bias=None, y=y, rows=3, n_in=50, n_out=20, x_stride=row_words(50), y_stride=32)
        found.append(y)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("dot", ["plain", "vnni"])
@pytest.mark.parametrize("name", ["gru_step_int8", "lstm_step_int8"])
def test_a_step_is_what_its_python_says(name, dot):
    """The compiled step against the same Python over the twin, with and without the offset of stored bytes."""
    target = next((form for form in FORMS.values() if form.dot == dot), None)
    if target is None:
        pytest.skip(f"this machine multiplies no bytes by {dot}")
    gates, n_in, units, lanes = (3 if "gru" in name else 4), 7, 5, target.lanes
    rng = np.random.default_rng(0)
    panel = lambda n: pack_int8(rng.integers(-127, 128, (n, gates * units)).astype(np.int8),  # noqa: E731
                                rng.uniform(0, 0.01, gates * units).astype(np.float32), gates, lanes)
    bias = lambda: pack_gates(rng.standard_normal(gates * units).astype(np.float32), gates, lanes)  # noqa: E731
    states = {"h": rng.standard_normal(units), "rb": None, "c": rng.standard_normal(units)}
    arrays = dict(x=rng.standard_normal(n_in).astype(np.float32), w=panel(n_in), bias=bias(), r=panel(units),
                  y=np.zeros(units, np.float32), work=np.zeros(row_words(n_in) + row_words(units) + 1, np.float32),
                  h=states["h"].astype(np.float32))
    arrays |= {"rb": bias()} if gates == 3 else {"c": states["c"].astype(np.float32)}
    numbers = dict(n_in=n_in, units=units, x_scale=0.0, h_scale=0.0)
    compiled, plain = ({key: array.copy() for key, array in arrays.items()} for _ in range(2))
    call(name, target, **compiled, **numbers)
    arguments = {key: Pointer(array) for key, array in plain.items()} | numbers
    decl = get(name)
    decl.factory(plain_vectors.make(lanes, target.dot))(*(arguments[key] for key, _ in decl.params))
    np.testing.assert_array_equal(compiled["work"].view(np.uint8)[:n_in], plain["work"].view(np.uint8)[:n_in])
    for key in ("y", "h"):
        np.testing.assert_allclose(compiled[key], plain[key], rtol=1e-6, atol=1e-6)


@everywhere
@pytest.mark.parametrize("name", ["lstm_step", "lstm_step_int8"])
@pytest.mark.parametrize("units", [1, 16, 50])
def test_steps_go_there_and_back(target, name, units):
    """The word after the rows turns with every step of many blocks, and the numbers are the same either way.

    Steps of a block, of half a block or of two at once have nowhere to turn, and may leave the word.
    """
    rng, lanes, n_in = np.random.default_rng(units), target.lanes, 3
    scale = np.full(4 * units, 0.01, np.float32)
    weights = [rng.integers(-127, 128, (n, 4 * units)).astype(np.int8) for n in (n_in, units)]
    int8_weights = name.endswith("int8")
    w, r = (pack_int8(q, scale, 4, lanes) if int8_weights else pack_panels(q * scale, 4, lanes) for q in weights)
    after = row_words(n_in) + row_words(units) if int8_weights else 0
    found, turns = [], []
    for turn in (0, -1):
        work = np.zeros(after + 1, np.float32)
        work.view(np.int32)[after] = turn
        x, h, c, y = (np.linspace(-1, 1, n).astype(np.float32) for n in (n_in, units, units, units))
        call(name, target, x=x, w=w, bias=None, r=r, h=h, c=c, y=y, n_in=n_in, units=units, work=work, x_scale=0.0, h_scale=0.0)
        found.append(np.concatenate([h, c, y]))
        turns.append(int(work.view(np.int32)[after]))
    np.testing.assert_array_equal(found[0], found[1])
    assert turns == [-1, 0] or (units <= 16 and turns == [0, -1])
