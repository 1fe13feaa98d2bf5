"""Pointwise ops: the kernels against the float64 reference, and the reference against NumPy and ONNX Runtime."""

import numpy as np
import pytest

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.facts import evaluate
from edgelstm.graph import Node
from edgelstm.ops import activation, binary, cast, logic, unary
from edgelstm.ops.op import Fact, check_attrs
from tests.guarded import Guarded, GuardedLowering, run_kernels

MODULES = (unary, activation, binary, logic, cast)
CASES = [(op, case) for module in MODULES for op in module.OPS for case in op.cases()]


def reference(op, inputs, attrs=None) -> np.ndarray:
    attrs = check_attrs(op, attrs or {})
    return evaluate(op, Node(op.name, op.name, (), (), attrs), list(inputs))[0]


def as_dtype(array: np.ndarray, dtype) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array).astype(dtype)


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op.name}-{case.name}" for op, case in CASES])
def test_kernel_equals_reference(op, case):
    (y,) = run_kernels(op, case)
    wanted = as_dtype(reference(op, case.inputs, case.attrs), y.dtype)
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=case.rtol, atol=case.atol)


def test_nan_stays_nan():
    x = np.full(3, np.nan, "float32")
    for op in (*unary.OPS, *activation.OPS):
        if op.inputs == ("x",) and op.name != "prelu":
            assert np.isnan(reference(op, [x])).all(), op.name


def test_pow_of_a_known_square_is_a_product(monkeypatch):
    base, exponent = np.array([-3, 0.5, np.inf], "float32"), np.array([2], "float32")
    low, called = GuardedLowering(), []
    monkeypatch.setattr(low, "call", lambda kernel, **params: called.append(kernel))
    y = Guarded((3,), "float32")
    ops.get("pow").lower(low, {}, [Guarded((3,), "float32", base), Guarded((1,), "float32", exponent, known=True)], [y])
    assert called == ["square_f32"]


def test_integer_division_truncates_toward_zero():
    a, b = np.array([7, -7, 7, -7, 5, -(2**63)]), np.array([2, 2, -2, -2, 0, -1])
    assert reference(ops.get("div"), [a, b]).tolist()[:5] == [3, -3, -3, 3, 0]
    (y,) = run_kernels(ops.get("div"), ops.Case("", [a, b]))
    assert y.tolist()[:5] == [3, -3, -3, 3, 0]


def test_known_shape_arithmetic_stays_exact():
    big = np.array([2**53 + 1])
    assert reference(ops.get("add"), [big, np.array([1])]).tolist() == [2**53 + 2]
    assert reference(ops.get("mul"), [big, np.array([3])]).tolist() == [3 * (2**53 + 1)]


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("add", [Fact((2, 3), "float32"), Fact((4,), "float32")], "do not broadcast"),
        ("add", [Fact((2,), "float32"), Fact((2,), "int64")], "cast one"),
        ("tanh", [Fact((2,), "int64")], "supported are float32"),
        ("where", [Fact((2,), "float32"), Fact((2,), "float32"), Fact((2,), "float32")], "condition is float32"),
        ("prelu", [Fact((3,), "float32"), Fact((2, 3), "float32")], "does not broadcast to x"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(name, inputs, words):
    op = ops.get(name)
    with pytest.raises(ShapeError, match=words):
        op.infer(check_attrs(op, {}), inputs)


ONNX_NAMES = {
    "abs": "Abs", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "reciprocal": "Reciprocal", "round": "Round",
    "sin": "Sin", "cos": "Cos", "erf": "Erf", "sign": "Sign", "tanh": "Tanh", "sigmoid": "Sigmoid",
    "hard_sigmoid": "HardSigmoid", "softsign": "Softsign", "softplus": "Softplus", "elu": "Elu", "selu": "Selu",
    "mish": "Mish",
    "hard_silu": "HardSwish", "leaky_relu": "LeakyRelu", "thresholded_relu": "ThresholdedRelu", "add": "Add",
    "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "less": "Less", "and": "And", "xor": "Xor",
    "where": "Where",
}  # fmt: skip


@pytest.mark.parametrize("name", ONNX_NAMES)
def test_reference_equals_onnx_runtime(name):
    from tests.test_ops_against_onnx import runtime

    op = ops.get(name)
    for case in op.cases():
        narrow = any(x.dtype not in (np.float32, np.int64, bool) for x in case.inputs)
        undefined = name == "div" and case.inputs[1].dtype != np.float32 and not case.inputs[1].all()
        choice = name == "where" and case.inputs[1].dtype == bool
        if case.name.startswith("special") or case.attrs or narrow or undefined or choice:
            continue
        wanted = reference(op, case.inputs)
        dtype = "float32" if wanted.dtype == np.float64 else wanted.dtype
        found = runtime(ONNX_NAMES[name], case.inputs, dtype)
        np.testing.assert_allclose(found, as_dtype(wanted, dtype), rtol=1e-5, atol=1e-5, err_msg=case.name)
