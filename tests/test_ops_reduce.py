"""Reductions, softmax, layer_norm, cumsum and arg_max: the kernels against the float64 reference, and their rules."""

import numpy as np
import pytest

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.ops import cumsum, layer_norm, reduce, softmax
from edgelstm.ops.op import Case, Fact, NeedsFuture, check_attrs
from tests.guarded import run_kernels
from tests.test_ops_pointwise import as_dtype, reference

CASES = [(op, case) for module in (reduce, softmax, layer_norm, cumsum) for op in module.OPS for case in op.cases()]
TIME = 1009


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op.name}-{case.name}" for op, case in CASES])
def test_kernel_equals_reference(op, case):
    (y,) = run_kernels(op, case)
    wanted = as_dtype(reference(op, case.inputs, case.attrs), y.dtype)
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_long_sum_keeps_its_accuracy(axis, rng):
    x = rng.uniform(0, 1, (1000, 1000)).astype("float32")
    (y,) = run_kernels(ops.get("reduce_sum"), Case("", [x], {"axes": (axis,)}))
    np.testing.assert_allclose(y, x.astype(np.float64).sum(axis), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "attrs", "wanted"),
    [
        ("reduce_sum", {"axes": (-1,)}, [[6.0], [15.0]]),
        ("reduce_mean", {"axes": ()}, [[3.5]]),
        ("reduce_l2", {"axes": (0,)}, [[17**0.5, 29**0.5, 45**0.5]]),
        ("reduce_max", {"axes": (1, 0)}, [[6.0]]),
    ],
)
def test_reductions_of_a_small_matrix(name, attrs, wanted):
    x = np.arange(1, 7, dtype="float32").reshape(2, 3)
    op = ops.get(name)
    np.testing.assert_allclose(reference(op, [x], {**attrs, "keepdims": True}), wanted)
    np.testing.assert_allclose(run_kernels(op, Case("", [x], {**attrs, "keepdims": True}))[0], wanted, rtol=1e-6)


def test_an_empty_axis_has_a_sum_but_no_maximum():
    x = Fact((2, 0), "float32")
    assert ops.get("reduce_sum").infer(check_attrs(ops.get("reduce_sum"), {"axes": (1,)}), [x])[0].shape == (2,)
    with pytest.raises(ShapeError, match="nothing to reduce"):
        ops.get("reduce_max").infer(check_attrs(ops.get("reduce_max"), {"axes": (1,)}), [x])
    empty = Case("", [np.zeros((2, 0), "float32")], {"axes": (1,)})
    assert run_kernels(ops.get("reduce_sum"), empty)[0].tolist() == [0.0, 0.0]
    assert np.isnan(run_kernels(ops.get("reduce_mean"), empty)[0]).all()


@pytest.mark.parametrize(
    ("name", "attrs", "words"),
    [
        ("reduce_sum", {"axes": (2,)}, "axis 2"),
        ("reduce_sum", {"axes": (0, -2)}, "twice"),
        ("softmax", {"axis": 5}, "axis 5"),
        ("layer_norm", {"axes": (0,)}, "not its last ones"),
        ("cumsum", {"axis": -3}, "axis -3"),
        ("arg_max", {"axis": 2}, "axis 2"),
    ],
)
def test_axes_that_do_not_exist_are_refused(name, attrs, words):
    op = ops.get(name)
    with pytest.raises(ShapeError, match=words):
        op.infer(check_attrs(op, attrs), [Fact((2, 3), "float32"), None, None][: len(op.inputs)])


@pytest.mark.parametrize("name", ["softmax", "reduce_mean", "layer_norm", "arg_max", "cumsum"])
def test_streams_only_where_time_is_not_mixed(name):
    op = ops.get(name)
    x = Fact((1, TIME, 8), "float32")
    for axis in (1, 2):
        attrs = check_attrs(op, {"axis": axis} if "axis" in op.attrs else {"axes": (axis,)})
        if name == "layer_norm" and axis == 1:
            continue
        if axis == 1:
            with pytest.raises(NeedsFuture):
                op.stream(attrs, [x], [x], TIME)
        else:
            op.stream(attrs, [x], [x], TIME)


@pytest.mark.parametrize(
    ("name", "attrs", "onnx_name", "extra", "onnx_attrs"),
    [
        ("softmax", {"axis": 1}, "Softmax", [], {"axis": 1}),
        ("log_softmax", {"axis": -1}, "LogSoftmax", [], {"axis": -1}),
        ("reduce_sum", {"axes": (1,)}, "ReduceSum", [np.array([1])], {"keepdims": 0}),
        ("reduce_mean", {"axes": (0, 2), "keepdims": True}, "ReduceMean", [np.array([0, 2])], {}),
        ("reduce_prod", {}, "ReduceProd", [], {"keepdims": 0}),
        ("reduce_l2", {"axes": (-1,)}, "ReduceL2", [np.array([-1])], {"keepdims": 0}),
        ("reduce_min", {"axes": (1, 2)}, "ReduceMin", [np.array([1, 2])], {"keepdims": 0}),
        ("arg_max", {"axis": 1, "keepdims": True}, "ArgMax", [], {"axis": 1}),
        ("cumsum", {"axis": 1, "reverse": True}, "CumSum", [np.array(1)], {"reverse": 1}),
        ("cumsum", {"axis": 1, "exclusive": True}, "CumSum", [np.array(1)], {"exclusive": 1}),
        ("layer_norm", {"axes": (1, 2)}, "LayerNormalization", [np.full((5, 7), 2, "float32")], {"axis": 1}),
    ],
)
def test_reference_equals_onnx_runtime(name, attrs, onnx_name, extra, onnx_attrs, rng):
    from tests.test_ops_against_onnx import runtime

    x = rng.standard_normal((3, 5, 7)).astype("float32")
    weights = [array for array in extra if array.dtype == np.float32]
    op = ops.get(name)
    wanted = reference(op, [x, *weights], attrs)
    found = runtime(onnx_name, [x, *extra], "int64" if name == "arg_max" else "float32", **onnx_attrs)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
