"""Weights of few bits on the device, by the simulator: products bit for bit, cells against the equations with rounded rows."""

import numpy as np
import pytest

import edgelstm
from edgelstm import ops
from edgelstm.builder import GraphBuilder
from edgelstm.model import Model
from edgelstm.ops.op import check_attrs
from edgelstm.precision.apply import apply
from tests import cuda_simulator
from tests.test_cuda_recurrent import FORMS, PLAIN, layer, run
from tests.test_ops_reduced import WEIGHTS, reduced, reduced_model, widened

if cuda_simulator.CHOSEN:
    from edgelstm.cuda.driver import cuda

pytestmark = cuda_simulator.on_simulator

PRECISIONS = ("bfloat16", "int8", "int8-static", "int8x16", "int4")
LARGEST = 10**9 if cuda_simulator.ON_GPU else 700  # elements of a case's inputs
PER_OP = 10**9 if cuda_simulator.ON_GPU else 4
ROWS = ("int8", "int8x16", "int4")
LENGTHS = (0, 1, 3, 4, 5, 17, 33, 64)


def chosen():
    """Some of the smaller cases of every op that has weights, in every precision."""
    for name in WEIGHTS:
        sizes = [(sum(np.size(array) for array in case.inputs if array is not None), case) for case in ops.get(name).cases()]
        small = [case for size, case in sorted(sizes, key=lambda entry: entry[0]) if 1 < size <= LARGEST]
        for case in small[:: max(1, len(small) // PER_OP)]:
            yield from (pytest.param(name, case, precision, id=f"{name}-{case.name}-{precision}") for precision in PRECISIONS
                        if (name, precision) != ("embedding", "int8x16"))


def graph_of(op, case):
    """A graph of one node with stored weights, and what it is fed."""
    builder, feeds, values = GraphBuilder(), {}, []
    for name, array in zip([name.rstrip("?") for name in op.inputs], op.padded(case.inputs), strict=True):
        if array is None:
            values.append(None)
        elif name in op.parameters or name in op.narrow:
            values.append(builder.stored(array, name))
        else:
            values.append(builder.input(name, str(array.dtype), array.shape, exact=True))
            feeds[name] = array
    for i, value in enumerate(builder.add_many(op.name, *values, used=len(op.outputs), **case.attrs)):
        builder.output(f"y{i}", value)
    return builder.build(), feeds


@pytest.mark.parametrize(("name", "case", "precision"), chosen())
def test_device_gives_the_equations_with_rounded_rows(name, case, precision):
    op = ops.get(name)
    narrow, _ = reduced(op, case, precision)
    graph, feeds = graph_of(op, narrow)
    found = Model(graph, device="cuda").run(feeds)
    inputs = _as_stored(op, narrow, widened(op.padded(narrow.inputs)))
    for name, wanted in zip(found, op.rounded(check_attrs(op, narrow.attrs), inputs, None), strict=False):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)


def _as_stored(op, case, inputs):
    """The inputs as the reference takes them: parameters as they are stored."""
    names = [name.rstrip("?") for name in op.inputs]
    return [stored if name in op.narrow else wide
            for name, stored, wide in zip(names, op.padded(case.inputs), inputs, strict=True)]


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_steps_runs_and_processors_give_the_same_bits(cell, precision, rng):
    """Sums are exact and scaled in the same order on both; what cells compute the compiler of a GPU may contract."""
    graph = reduced_model(cell, 5, precision)
    model, x = edgelstm.load(graph, device="cuda"), rng.standard_normal((1, 4, 5)).astype(np.float32)
    stream, whole = model.stream(), edgelstm.load(graph).predict(x)[0]
    steps, run = np.stack([stream.step(frame) for frame in x[0]]), model.predict(np.concatenate([-x, x, x]))[2]
    np.testing.assert_array_equal(steps, run)
    if cuda_simulator.ON_GPU:
        np.testing.assert_allclose(run, whole, rtol=0, atol=5e-3)
    else:
        np.testing.assert_array_equal(run, whole)


@pytest.mark.parametrize(("name", "precision"), [(name, form) for name in ("dense", "conv1d") for form in ROWS])
def test_products_have_the_bits_of_processors(name, precision):
    op = ops.get(name)
    for case in [case for case in op.cases() if case.name in ("7x33x65", "sequence", "strided", "groups", "pointwise")]:
        graph, feeds = graph_of(op, reduced(op, case, precision)[0])
        np.testing.assert_array_equal(Model(graph, device="cuda").run(feeds)["y0"], Model(graph).run(feeds)["y0"])


def prepared(form, x, scale):
    """(numbers, scales) of each part of the rows of x by the twin of the kernel."""
    from edgelstm.cuda.tiled import rounding

    count, n = x.shape
    words, y = rounding.ROW_WORDS[form](n), cuda.to_device(np.full(count * rounding.ROW_WORDS[form](n), 7.5, np.float32))
    for launch in rounding.quantize(form).bind({"x": cuda.to_device(x.ravel()), "y": y, "batch": 1, "count": count, "n": n,
                                                "x_start": 0, "x_batch": 0, "x_row": n, "scale": np.float32(scale)}):
        launch(cuda.stream())
    cuda.synchronize()
    parts = y.copy_to_host().reshape(count, 2 if form == "int8x16" else 1, -1)
    assert parts.size == count * words
    octets = np.ascontiguousarray(parts).view(np.int8)
    filled = 4 * rounding.number_words(form)(n)
    assert not octets[..., n:filled].any()
    return octets[..., :n].astype(np.int64), parts[..., -1]


def rounded(x, scale):
    """The numbers and scales that kernels/rounding.py tells of finite rows, and what rounding left."""
    top = abs(x).max(1, initial=0)
    small = top < np.float32(2.0**-100)
    inverse, scales = np.where(small, 0, np.float32(127) / np.where(small, 1, top)), np.where(small, 0, top / np.float32(127))
    if scale:
        inverse, scales = np.full(len(x), 1 / np.float32(scale)), np.full(len(x), scale)
    near = np.clip(x * inverse.astype(np.float32)[:, None], -127, 127)
    return np.rint(near), np.rint((near - np.rint(near)) * np.float32(254)), scales.astype(np.float32)


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("scale", [0.0, 0.017])
def test_rows_become_bytes(form, scale, rng):
    for n in LENGTHS:
        x = (rng.standard_normal((3, n)) * 10.0 ** rng.uniform(-6, 6, (3, 1))).astype(np.float32)
        numbers, scales = prepared(form, x, scale)
        near, left, wanted = rounded(x, scale)
        np.testing.assert_array_equal(numbers[:, 0], near)
        np.testing.assert_array_equal(scales[:, 0], wanted)
        if form == "int8x16":
            np.testing.assert_array_equal(numbers[:, 1], left)
            np.testing.assert_array_equal(scales[:, 1], wanted / np.float32(254))


@pytest.mark.parametrize("form", ROWS)
def test_rows_that_are_not_finite_or_next_to_nothing(form):
    x = np.array([[1, np.nan, 2, 3, 4], [1, -np.inf, 0, 3e38, np.inf], [0, -0.0, 1e-31, -1e-33, 0], [3e38, -3e38, 1, 0, 0]],
                 np.float32)
    numbers, scales = prepared(form, x, 0.0)
    assert np.isnan(scales[0, 0]) and scales[1, 0] == np.inf and scales[2, 0] == 0
    assert numbers[1, 0, [0, 1, 2, 4]].tolist() == [0, -127, 0, 127]
    assert numbers[2, 0].tolist() == [0] * 5 and numbers[3, 0].tolist() == [127, -127, 0, 0, 0]
    assert np.isnan(prepared(form, x[:1], 0.5)[1][0, 0]) and prepared(form, x[1:2], 0.5)[1][0, 0] == 0.5


def test_four_bytes_at_once(rng):
    """dp4a against NumPy, sums that wrap included."""
    from edgelstm.cuda.scalars import make

    dot4, pairs = make().dot4, rng.integers(-128, 128, (2, 9, 4)).astype(np.int8)
    pairs[:, 0] = -128
    totals = np.array([2**31 - 1, *rng.integers(-2**31, 2**31, 8)], np.int32)

    def kernel(x, w, totals, y):
        i = cuda.grid(1)
        if i < y.shape[0]:
            y[i] = dot4(x[i], w[i], totals[i])

    y, (x, w) = cuda.to_device(np.zeros(9, np.int32)), (cuda.to_device(part.view(np.int32).ravel()) for part in pairs)
    cuda.jit(kernel)[3, 4](x, w, cuda.to_device(totals), y)
    wanted = totals + (pairs[0].astype(np.int64) * pairs[1]).sum(1)
    np.testing.assert_array_equal(y.copy_to_host(), wanted.astype(np.int32))


def assert_as_on_processors(graph, feeds, form, atol=0.0):
    assert_close_to_processors(run(graph, feeds, form), Model(graph).run(feeds), atol)


def assert_close_to_processors(found, wanted, atol):
    """What cells compute the compiler of a GPU may contract, so that rows are rounded to other numbers now and then."""
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=5e-3 if cuda_simulator.ON_GPU else atol, err_msg=name)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("described", PLAIN, ids=str)
def test_every_form_of_a_layer_gives_the_bits_of_processors(described, form, rng):
    graph, feeds = layer(*described, rng)
    assert_as_on_processors(apply(graph, {node.name: "int8" for node in graph.nodes}, scales="max"), feeds, form)


@pytest.mark.parametrize(("precision", "units", "kind"), [
    ("int8", 9, "persistent"), ("int8x16", 9, "persistent"), ("int8", 9, "stepwise"), ("int4", 35, "stepwise"),
    ("int8x16", 9, "cluster"), ("int4", 35, "cluster")])
def test_inputs_divided_over_threads(precision, units, kind, rng):
    """Sums of int8 do not depend on it; those of int4 are added group by group, in another order."""
    graph, feeds = layer("lstm", {"masked_output": "hold"}, ("mask", "h0"), rng, units=units, batch=1)
    graph = apply(graph, {node.name: precision for node in graph.nodes}, scales="max")
    form = kind, 2 + 2 * (units > 32), 1, 1, kind != "stepwise"
    assert_as_on_processors(graph, feeds, form, 1e-6 if precision == "int4" else 0.0)
