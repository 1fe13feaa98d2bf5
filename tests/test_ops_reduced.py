"""Ops with weights of reduced precision, through their lowering: every case against the reference on the widened weights."""

import numpy as np
import pytest

import edgelstm
from edgelstm import ops, threads
from edgelstm.ops.op import Case, check_attrs
from edgelstm.precision.apply import apply
from tests.conftest import Layers
from tests.guarded import run_kernels
from tests.quantizing import rows_as_read, stored

WEIGHTS = {"lstm": ("W", "R"), "gru": ("W", "R"), "simple_rnn": ("W", "R"), "dense": ("W",), "conv1d": ("W",),
           "embedding": ("table",)}
PRECISIONS = ("bfloat16", "int8", "int8-static", "int8x16", "int4")
ROUNDING = {"int8": 0.04, "int8-static": 0.1, "int8x16": 1.6e-4, "int4": 0.04}  # of activations alone


def reduced(op, case, precision):
    """(the case with stored weights, the case with the float weights they stand for)."""
    names = [name.rstrip("?") for name in op.inputs]
    arrays = dict(zip(names, op.padded(case.inputs), strict=True))
    attrs, wide = {"precision": precision}, dict(arrays)
    for name in WEIGHTS[op.name]:
        array = arrays[name]
        turned = array.T if op.name == "embedding" else array.reshape(-1, array.shape[-1])
        found = stored(turned, precision)
        values, scale = found.values, found.scale
        if precision == "int4" and name != "R":
            attrs["grouped"] = found.shape[0]
        wide[name] = found.widened(np.float64)
        if op.name == "embedding":
            values, scale, wide[name] = values.T.copy(), None if scale is None else scale.T.copy(), wide[name].T
        elif precision != "int4":
            values = values.reshape(array.shape)
        arrays |= {name: values} | ({} if scale is None else {f"{name}_scale": scale})
        wide[name] = wide[name].reshape(array.shape)
    if precision == "int8-static":
        largest = {"x_scale": arrays.get("x"), "h_scale": arrays.get("h0")}
        attrs |= {name: max(1.0 if array is None else abs(array).max(initial=1.0), 4.0 * (name == "h_scale")) / 127
                  for name, array in largest.items() if name in op.attrs}
    return (Case(case.name, list(arrays.values()), {**case.attrs, **attrs}),
            Case(case.name, [wide[name] for name in names], case.attrs))


EVERY_CASE = [pytest.param(name, case, precision, id=f"{name}-{case.name}-{precision}")
              for name in WEIGHTS for case in ops.get(name).cases() for precision in PRECISIONS]


@pytest.mark.parametrize(("name", "case", "precision"), EVERY_CASE)
def test_every_case(name, case, precision):
    """bfloat16 and tables are exact to the tolerance of the case; int8 rows differ by the rounding of activations."""
    op = ops.get(name)
    narrow, wide = reduced(op, case, precision)
    found, wanted = run_kernels(op, narrow), op.reference(check_attrs(op, wide.attrs), widened(wide.inputs))
    rounding = 0.0 if name == "embedding" or is_depthwise(op, case) else ROUNDING.get(precision, 0.0)
    for got, want in zip(found, wanted, strict=True):
        size = max(1.0, abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=case.rtol, atol=max(case.atol, 4e-6) + rounding * size)


def widened(inputs):
    return [a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in inputs]


def is_depthwise(op, case):
    return op.name == "conv1d" and case.attrs.get("groups") == case.inputs[0].shape[2] == case.inputs[1].shape[2]


@pytest.mark.parametrize("precision", ["int8", "int8x16", "int4"])
@pytest.mark.parametrize("name", ["dense", "conv1d"])
def test_products_have_the_sums_of_rounded_rows(name, precision):
    """To the tolerance of floats where every row, or window, is rounded beforehand."""
    op = ops.get(name)
    for case in op.cases():
        narrow, wide = reduced(op, case, precision)
        if name == "conv1d" and (is_depthwise(op, case) or wide.attrs.get("groups", 1) > 1 or 0 in case.inputs[0].shape):
            continue
        wanted = dense_of_rounded(wide, precision) if name == "dense" else conv_of_rounded(op, wide, precision)
        np.testing.assert_allclose(run_kernels(op, narrow)[0], wanted, rtol=4e-6, atol=1e-5, err_msg=case.name)


def dense_of_rounded(wide, precision):
    x, W, b = wide.inputs[:3]
    return rows_as_read(precision)(x) @ W + (0.0 if b is None else b)


def conv_of_rounded(op, wide, precision):
    """A convolution whose window is read as one row: by the reference of one that only gathers windows."""
    x, W, b = wide.inputs[:3]
    taps, channels, filters = W.shape
    gather = np.eye(taps * channels).reshape(taps, channels, taps * channels)
    windows, = op.reference(check_attrs(op, wide.attrs), [x.astype(np.float64), gather, None, None, None])
    return rows_as_read(precision)(windows) @ W.reshape(-1, filters) + (0.0 if b is None else b)


def reduced_model(cell, units, precision):
    """x (batch, time, 5) -> cell -> dense 3, both in a precision."""
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    gates = {"lstm": 4, "gru": 3, "simple_rnn": 1}[cell]
    graph = net.graph(y=net.dense(net.recurrent(cell, x, units, gates=gates), 3))
    return apply(graph, {node.name: precision for node in graph.nodes}, scales="max")


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8x16", "int4"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("units", [1, 16, 33])
def test_steps_give_what_a_run_gives(cell, units, precision, rng):
    """Sums of integers are exact and scaled in the same order, so that no number is rounded to another side."""
    model = edgelstm.load(reduced_model(cell, units, precision))
    x = rng.standard_normal((1, 50, 5)).astype(np.float32)
    stream, whole = model.stream(), model.predict(x)[0]
    steps = np.stack([stream.step(frame) for frame in x[0]])
    others = model.predict(np.concatenate([-x, x, x]))[2]
    for found in (steps, others):
        if precision == "bfloat16":
            np.testing.assert_allclose(found, whole, rtol=2e-6, atol=2e-6)
        else:
            np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8x16", "int4"])
def test_a_team_gives_what_one_thread_gives(precision, rng, monkeypatch):
    monkeypatch.setattr(threads, "WORTH", 0)
    graph = reduced_model("lstm", 113, precision)
    x = rng.standard_normal((1, 20, 5)).astype(np.float32)
    np.testing.assert_array_equal(edgelstm.load(graph, threads=2).predict(x), edgelstm.load(graph).predict(x))
