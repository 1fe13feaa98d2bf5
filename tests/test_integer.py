"""Integer-only ops and kernels: exact arithmetic, no floating point, and how near they come to the float64 equations."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm import kernels, ops
from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.native.compiler import kernel_ir
from edgelstm.native.optimise import emit
from edgelstm.native.symbols import undefined_symbols
from edgelstm.native.target import CROSS_TARGETS, Target
from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.op import Case
from tests.guarded import run_kernels, run_reference

OPS = [op for name, op in ops.all_ops().items() if name.endswith(("_integer", "quantize"))]
CASES = [(op, case) for op in OPS for case in op.cases()]
CELLS = ("lstm_integer", "gru_integer", "simple_rnn_integer")
KERNELS = [name for name in kernels.names() if name.startswith("integer_") and not name.startswith("integer_border")]
BARE = [  # cores without floating-point registers
    CROSS_TARGETS["cortex-m0"],
    CROSS_TARGETS["riscv32"],
    Target("cortex-m4 without FPU", "thumbv7em-none-unknown-eabi", "cortex-m4", "", lanes=1),
]
DIVISION = {("integer_softmax_i8", "cortex-m0"), ("integer_softmax_i16", "cortex-m0")}  # which has no division


def assert_equal(op, case):
    expected, found = run_reference(op, case), run_kernels(op, case)
    for wanted, array in zip(expected, found, strict=True):
        assert array.dtype == (np.float32 if wanted.dtype == np.float64 else wanted.dtype)
        np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op.name}-{case.name}" for op, case in CASES])
def test_kernels_give_exactly_what_the_reference_gives(op, case):
    assert_equal(op, case)


@st.composite
def cell_cases(draw):
    """A cell of any size, scales of any order, with or without mask, bias and initial states."""
    op = ops.get(draw(st.sampled_from(CELLS)))
    features, units, steps, batch = (draw(st.integers(low, high)) for low, high in ((1, 9), (1, 19), (0, 6), (0, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    whole = {"int8": lambda shape: rng.integers(-127, 128, shape).astype(np.int8),
             "int16": lambda shape: rng.integers(-32767, 32768, shape).astype(np.int16)}
    columns, attrs = op.gates * units, {"layout": draw(st.sampled_from(["btf", "tbf"])), "reverse": draw(st.booleans()),
                                        "masked_output": draw(st.sampled_from(["hold", "zero"]))}
    attrs |= {"x_scale": 10.0 ** draw(st.floats(-6, -1)), "h_scale": 10.0 ** draw(st.floats(-4, -1))}
    if op.fraction:
        attrs[op.fraction] = draw(st.integers(*op.fractions))
    if op.name == "gru_integer":
        attrs["reset_after"] = draw(st.booleans())
    inputs = {"x": whole["int8"]((batch, steps, features) if attrs["layout"] == "btf" else (steps, batch, features)),
              "W": whole["int8"]((features, columns)), "R": whole["int8"]((units, columns))}
    for name in ("W_scale", "R_scale"):
        inputs[name] = (10.0 ** rng.uniform(-5, 0, columns) * (rng.random(columns) < 0.95)).astype(np.float32)
    for name, array in {"b": (columns,), "rb": (columns,)}.items():
        if draw(st.booleans()):
            inputs[name] = (rng.standard_normal(array) * 10.0 ** draw(st.integers(-2, 8))).astype(np.float32)
    for state, kind in zip(op.carried, op.kinds, strict=True):
        if draw(st.booleans()):
            inputs[f"{state}0"] = whole[kind]((batch, units))
    if draw(st.booleans()):
        inputs["mask"] = rng.random((batch, steps)) < 0.6
    return op, Case("drawn", [inputs.get(name.rstrip("?")) for name in op.inputs], attrs)


@settings(max_examples=150, deadline=None)
@given(cell_cases())
def test_any_cell_is_exact(drawn):
    assert_equal(*drawn)


@pytest.mark.parametrize("target", BARE, ids=lambda target: target.name)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_hold_no_float_and_need_no_runtime(name, target):
    """An undefined symbol would be a call for floating point or for 64-bit arithmetic."""
    ir = kernel_ir(name, target)
    assert re.findall(r"\b(?:half|bfloat|float|double|fadd|fmul|fcmp|[us]itofp|fpto[us]i)\b", ir) == []
    needed = undefined_symbols(emit(ir, target))
    assert needed == ({"__aeabi_uidiv"} if (name, target.name) in DIVISION else set())


def exact_rescale(a: int, word: int) -> int:
    """The factor of a word times a, rounded half up, from the documented meaning of its fields."""
    m, k, q = word & 0x7FFF, word >> 16 & 31, word >> 24 & 31
    product = Fraction(a * m) * Fraction(2) ** (k - 17 - q)
    return int((product + Fraction(1, 2)).__floor__())


@given(st.floats(1e-12, 1e4), st.integers(1, 2**30), st.data())
def test_rescaling_is_correctly_rounded_and_stays_within_32_bits(factor, bound, data):
    try:
        word = int(formulas.rescale_words(factor, bound))
    except UnsupportedError:
        assert factor * bound > 2**27
        return
    a = data.draw(st.integers(-bound, bound))
    found = int(formulas.rescaled(np.array(a), word))
    assert found == exact_rescale(a, word)
    assert abs(found - a * factor) <= 0.5 + abs(a) * factor * 2.0**-14
    shifted = a << (word >> 16 & 31)
    assert -(2**31) <= shifted < 2**31
    assert abs((shifted >> 16) * (word & 0x7FFF)) + (1 << 15) < 2**31


@pytest.mark.parametrize("fraction", [6, 12, 14, 15])
def test_tables_follow_the_functions(fraction):
    z = np.arange(-(20 << fraction), 20 << fraction, max(1, (1 << fraction) // 512))
    x = z / 2.0**fraction
    t, s = formulas.tanh(z, fraction) / formulas.ONE, formulas.sigmoid(z, fraction) / formulas.ONE
    assert np.max(np.abs(t - np.tanh(x))) < 1.3e-4
    assert np.max(np.abs(s - 1 / (1 + np.exp(-x)))) < 6.5e-5
    assert np.all(np.diff(t) >= 0) and np.all(np.diff(s) >= 0)
    assert (t[0], t[-1], s[0], s[-1]) == (-1, 1, 0, 1)
    assert np.array_equal(t[1:], -t[1:][::-1])


def test_tables_are_the_same_on_every_machine():
    """No entry lies so near to a half that another libm could round it to another integer."""
    from edgelstm.ops.softmax_integer import EXP_TABLE

    for table, exact in ((formulas.TANH_TABLE, np.tanh(np.arange(257) / 32)), (EXP_TABLE, np.exp(-np.arange(257) / 16))):
        assert np.max(np.abs(table - exact * 2**15)) < 0.4999


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("attr", "value"), [("x_scale", 0.0), ("h_scale", -1.0), ("x_scale", np.inf), ("h_scale", np.nan)])
def test_scales_must_be_positive(name, attr, value):
    op = ops.get(name)
    case = next(iter(op.cases()))
    with pytest.raises(ShapeError, match=attr):
        run_kernels(op, Case("bad", case.inputs, {**case.attrs, attr: value}))


@pytest.mark.parametrize("name", ["lstm_integer", "gru_integer"])
def test_states_have_a_limited_number_of_bits(name):
    op = ops.get(name)
    case = next(iter(op.cases()))
    with pytest.raises(ShapeError, match=op.fraction):
        run_kernels(op, Case("bad", case.inputs, {**case.attrs, op.fraction: 16}))


def test_a_latch_keeps_its_state():
    """Open forget gate, shut input gate: c stays as it is for good, which a sigmoid that never reaches 1 would not let it."""
    op, units, steps = ops.get("lstm_integer"), 5, 1000
    zeros = np.zeros((1, 4 * units), np.int8), np.zeros((units, 4 * units), np.int8)
    scale, b = np.ones(4 * units, np.float32), np.repeat(np.array([-12, 12, 0, 12], np.float32), units)
    c0 = np.array([[1, -3000, 12345, -32767, 4096]], np.int16)
    inputs = {"x": np.ones((1, steps, 1), np.int8), "W": zeros[0], "R": zeros[1], "W_scale": scale, "R_scale": scale, "b": b,
              "c0": c0}
    case = Case("latch", [inputs.get(name.rstrip("?")) for name in op.inputs], {"x_scale": 1.0, "h_scale": 1 / 127})
    assert np.array_equal(run_reference(op, case)[2], c0)
    assert_equal(op, case)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_slow_gru_still_moves(reset_after):
    """z = 0.998: one step changes h by less than half a step of int8, but the 16-bit state follows the float64 one."""
    op, steps, z = ops.get("gru_integer"), 1000, 0.998
    b = np.array([np.log(z / (1 - z)), 0, 1], np.float32)
    inputs = {"x": np.zeros((1, steps, 1), np.int8), "W": np.zeros((1, 3), np.int8), "R": np.zeros((1, 3), np.int8),
              "W_scale": np.ones(3, np.float32), "R_scale": np.ones(3, np.float32), "b": b}
    case = Case("slow", [inputs.get(name.rstrip("?")) for name in op.inputs],
                {"x_scale": 1.0, "h_scale": 1 / 127, "reset_after": reset_after})
    expected = np.tanh(1) * (1 - z ** np.arange(1, steps + 1))
    assert np.max(np.abs(run_reference(op, case)[0][0, :, 0] / 127 - expected)) < 0.02
    assert_equal(op, case)


def test_quantizing_rounds_to_nearest_and_has_no_place_for_nan():
    op = ops.get("quantize")
    x = np.array([0.49, 0.51, -0.51, 1.5, -2.5, 1e9, -np.inf, np.nan], np.float32)
    assert run_kernels(op, Case("", [x], {"scale": 1.0}))[0].tolist() == [0, 1, -1, 2, -3, 127, -127, 0]
    with pytest.raises(ShapeError, match="too small"):
        run_kernels(op, Case("", [x], {"scale": 1e-45}))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_softmax_against_the_equation(dtype, rng):
    x = rng.integers(*np.array([-1, 1]) * formulas.BOUNDS[dtype], (7, 33)).astype(dtype)
    scale = 5 / formulas.BOUNDS[dtype]
    e = np.exp(x * scale - np.max(x * scale, axis=1, keepdims=True))
    found = run_kernels(ops.get("softmax_integer"), Case("", [x], {"x_scale": scale}))[0]
    assert np.max(np.abs(found / 2.0**15 - e / e.sum(axis=1, keepdims=True))) < 5e-4


def test_sums_of_too_many_products_are_refused():
    op, n = ops.get("dense_integer"), formulas.MOST_INPUTS + 1
    inputs = [np.zeros((1, n), np.int8), np.zeros((n, 1), np.int8), np.ones(1, np.float32)]
    case = Case("", inputs, {"x_scale": 1.0, "y_scale": 1.0})
    with pytest.raises(ShapeError, match="65537 products"):
        run_kernels(op, case)


def test_scales_beyond_32_bits_are_refused():
    op = ops.get("dense_integer")
    inputs = [np.ones((1, 9), np.int8), np.ones((9, 1), np.int8), np.ones(1, np.float32)]
    case = Case("", inputs, {"x_scale": 1e6, "y_scale": 1e-6})
    with pytest.raises(UnsupportedError, match="at most 268435456"):
        run_reference(op, case)
