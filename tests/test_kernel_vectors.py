"""The compiled vector set against its plain twin: the same kernel, run as machine code and as the Python it is written in."""

import ctypes
import math

import numpy as np
import pytest

from edgelstm import kernels
from edgelstm.kernels import formulas
from edgelstm.kernels.vectors import numba_vectors, plain_vectors
from edgelstm.kernels.vectors.plain_vectors import Pointer
from edgelstm.native import host_forms
from tests.twins import agree, both

FORMS = {target.name: target for target in host_forms()}
SPECIAL = np.array([0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 4e6, 9e6, -9e6, 3e38, np.inf, -np.inf, np.nan, 0.1], np.float32)

ELEMENTWISE = {
    "absolute": 1, "sqrt": 1, "copysign": 2, "nearest": 1, "floor": 1, "ceil": 1, "truncate": 1, "fma": 3, "min": 2, "max": 2,
}  # fmt: skip
COMPARISONS = ("less", "less_equal", "equal")
OPERATORS = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b, "negate": lambda a, b: -a, "with_number": lambda a, b: 1.5 - a * 2,
}  # fmt: skip


def sequence(v, parts):
    """One function that calls `part(k, ...)` for the k-th of the parts."""
    if not parts:
        return v.inline(lambda k, *args: None)
    first, rest = parts[0], sequence(v, parts[1:])

    def run(k, *args):
        first(k, *args)
        rest(k + 1, *args)

    return v.inline(run)


def element_by_element(names):
    """A kernel (a, b, c, y) that stores op(a, b, c) of every op for every vector of the inputs."""

    def factory(v):
        load, store, lanes, count = v.load, v.store, v.lanes, len(names)

        def part(name):
            op = OPERATORS[name] if name in OPERATORS else getattr(v, name)
            op = v.inline(op) if name in OPERATORS else op
            apply = {
                1: lambda a, b, c: op(a), 2: lambda a, b, c: op(a, b), 3: lambda a, b, c: op(a, b, c),
            }[2 if name in OPERATORS else ELEMENTWISE[name]]  # fmt: skip
            apply = v.inline(apply)

            def compute(k, i, a, b, c, y):
                store(y, (k * 256 + i), apply(load(a, i), load(b, i), load(c, i)))

            return v.inline(compute)

        everything = sequence(v, [part(name) for name in names])

        def kernel(a, b, c, y):
            for i in range(0, 256, lanes):
                everything(0, i, a, b, c, y)

        assert count
        return kernel

    return factory


def operands():
    """All pairs of special values, and a third operand."""
    a, b = (grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL))
    return a.copy(), b.copy(), np.resize(SPECIAL[::-1], 256)


everywhere = pytest.mark.parametrize("form", FORMS)


@everywhere
def test_every_member_has_a_twin(form):
    lanes = FORMS[form].lanes
    compiled, plain = numba_vectors.make(lanes, None, None), plain_vectors.make(lanes)
    names = {name for name in dir(plain) if not name.startswith("_")}
    assert names == {*compiled.members, "lanes", "registers", "dot", "inline", "outline"}
    documented = plain_vectors.__name__.rpartition(".")[0]
    text = __import__(documented, fromlist=["x"]).__doc__
    assert [name for name in names if name not in text] == []


@everywhere
def test_arithmetic_and_operators(form):
    names = (*ELEMENTWISE, *OPERATORS)
    y = np.zeros(len(names) * 256, np.float32)
    agree(element_by_element(names), FORMS[form], *operands(), y, exact=False)


@everywhere
def test_powers_of_two_and_parts_of_a_number(form):
    def factory(v):
        load, store, lanes = v.load, v.store, v.lanes
        pow2, exponent, mantissa, round_small = v.pow2, v.exponent, v.mantissa, v.round_small
        nearest_power = v.nearest_power

        def kernel(n, x, y):
            for i in range(0, 256, lanes):
                store(y, i, pow2(load(n, i)))
                store(y, 256 + i, exponent(load(x, i)))
                store(y, 512 + i, mantissa(load(x, i)))
                store(y, 768 + i, round_small(load(n, i) * 0.25))
                exponents, powers = nearest_power(load(n, i), 0.78539816)
                store(y, 1024 + i, exponents)
                store(y, 1280 + i, powers)

        return kernel

    n = np.resize(np.arange(-126, 128), 256).astype(np.float32)
    x = np.exp(np.random.default_rng(0).uniform(-80, 80, 256)).astype(np.float32)
    agree(factory, FORMS[form], n, x, np.zeros(1536, np.float32))


@everywhere
def test_masks(form):
    def factory(v):
        load, store, splat, select, lanes = v.load, v.store, v.splat, v.select, v.lanes
        less, less_equal, equal, either, invert = v.less, v.less_equal, v.equal, v.either, v.invert
        meet, any_set, all_set = v.both, v.any_set, v.all_set

        def kernel(a, b, y):
            for i in range(0, 256, lanes):
                x, z = load(a, i), load(b, i)
                store(y, i, select(less(x, z), x, 7.0))
                store(y, 256 + i, select(less_equal(x, z), 1.0, z))
                store(y, 512 + i, select(equal(x, z), x, z))
                store(y, 768 + i, select(meet(less(x, 1.0), less(z, 1.0)), 1, 0))
                store(y, 1024 + i, select(either(less(x, 1.0), less(z, 1.0)), 1, 0))
                store(y, 1280 + i, select(invert(less(x, z)), splat(3.0), splat(4.0)))
                y[1536 + i] = any_set(less(x, z))
                y[1792 + i] = all_set(less_equal(x, z))

        return kernel

    a, b, _ = operands()
    agree(factory, FORMS[form], a, b, np.zeros(2048, np.float32))


@everywhere
def test_across_lanes(form):
    def factory(v):
        load, lanes, total, least, greatest, f32 = v.load, v.lanes, v.sum, v.least, v.greatest, v.f32

        def kernel(x, y):
            for i in range(0, 256, lanes):
                y[i] = total(load(x, i))
                y[256 + i] = least(load(x, i))
                y[512 + i] = greatest(load(x, i)) + f32(0.1)

        return kernel

    x = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    agree(factory, FORMS[form], x, np.zeros(768, np.float32))
    for k in range(16):
        x[k * 17 % 256] = np.nan
    agree(factory, FORMS[form], x, np.zeros(768, np.float32))


@everywhere
def test_memory(form):
    """Partial loads and stores are given less memory than a vector holds."""

    def factory(v):
        load_part, store_part, load_u8, store = v.load_part, v.store_part, v.load_u8, v.store
        zero, index, splat, is_null, lanes = v.zero, v.index, v.splat, v.is_null, v.lanes

        def kernel(x, octets, counts, y):
            at = 0
            for k in range(20):
                store(y, at, zero())
                store_part(y, at, counts[k], load_part(x, 0, counts[k]) + 1.0)
                store(y, at + lanes, load_part(x, 16 - counts[k] if counts[k] > 0 else 16, counts[k]))
                at += 2 * lanes
            store(y, at, load_u8(octets, 0) + index())
            store(y, at + lanes, splat(2) if is_null(x) else splat(0.25))

        return kernel

    lanes = FORMS[form].lanes
    x, octets = np.arange(1, 17).astype(np.float32), np.arange(240, 256).astype(np.uint8)
    counts = np.minimum(np.arange(-2, 18), lanes).astype(np.int64)
    agree(factory, FORMS[form], x, octets, counts, np.full(42 * lanes, 9, np.float32))


@everywhere
def test_memory_that_threads_share(form):
    calls = []
    callback = ctypes.CFUNCTYPE(None)(lambda: calls.append(1))

    def factory(v):
        atomic_add, atomic_load, atomic_store = v.atomic_add, v.atomic_load, v.atomic_store
        call, prefetch = v.call, v.prefetch

        def kernel(counters, functions):
            prefetch(counters, 1)
            counters[2] = atomic_add(counters, 0, 3)
            counters[1] = atomic_load(counters, 0) + 1
            atomic_store(counters, 3, atomic_load(counters, 2) - 9)
            call(functions[0])

        return kernel

    address = ctypes.cast(callback, ctypes.c_void_p).value
    agree(factory, FORMS[form], np.array([4, 0, 0, 0], np.int32), np.array([address], np.int64))
    assert len(calls) == 2


@everywhere
@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (2, 3), (4, 2)])
def test_blocks(form, rows, vectors):
    def factory(v):
        load_block, fma_block, fold_block, store_block = v.load_block, v.fma_block, v.fold_block, v.store_block
        zero_block, lanes, more = v.zero_block, v.lanes, rows * vectors

        def kernel(x, w, n, y):
            block = load_block(w, 1, 3, rows, vectors)
            block = fma_block(block, x, 2, 5, w, 4, 2, vectors)
            store_block(y, 0, vectors * lanes, n[0], block, vectors)
            doubled = fold_block(block + zero_block(more) + block + block, more)
            store_block(y, more * lanes, vectors * lanes, vectors * lanes, doubled, vectors)

        return kernel

    rng, lanes = np.random.default_rng(0), FORMS[form].lanes
    x, w = rng.standard_normal(40).astype(np.float32), rng.standard_normal(200).astype(np.float32)
    for n in (0, 1, lanes, vectors * lanes - 1, vectors * lanes, vectors * lanes + 5):
        y = np.full(2 * rows * vectors * lanes, 9, np.float32)
        agree(factory, FORMS[form], x, w, np.array([n]), y, exact=False)


PARAMETERS = {
    "leaky_relu": 1, "thresholded_relu": 1, "elu": 1, "affine": 2, "hard_sigmoid": 2, "scaled_tanh": 2,
    "gated_tanh": "x",
}  # fmt: skip
WITHIN = {"tanh": 1e-7, "sigmoid": 1e-7, "erf": 1.2e-7, "gated_tanh": 2e-7}
EXACT = {
    "tanh": np.tanh, "sigmoid": lambda x: 0.5 * (1 + np.tanh(x / 2)), "erf": np.vectorize(math.erf), "exp": np.exp,
    "log": np.log, "gated_tanh": lambda x: 0.5 * (1 + np.tanh(x / 2)) * np.tanh(x),
}  # fmt: skip


def all_formulas(size):
    names = sorted(vars(formulas.make(plain_vectors.make(4))))

    def factory(v):
        load, store, lanes, f = v.load, v.store, v.lanes, formulas.make(v)

        def part(name):
            formula = getattr(f, name)
            apply = {
                0: lambda x: formula(x), 1: lambda x: formula(x, 0.3), 2: lambda x: formula(x, 0.3, 0.4),
                "x": lambda x: formula(x, x),
            }[PARAMETERS.get(name, 0)]  # fmt: skip
            apply = v.inline(apply)

            def compute(k, i, x, y):
                store(y, k * size + i, apply(load(x, i)))

            return v.inline(compute)

        everything = sequence(v, [part(name) for name in names])

        def kernel(x, y):
            for i in range(0, size, lanes):
                everything(0, i, x, y)

        return kernel

    return names, factory


@everywhere
def test_formulas(form):
    """The twins agree where rounding leaves them free, NaN stays NaN, and errors are as the docstrings say."""
    x = np.concatenate([np.linspace(-12, 12, 4048).astype(np.float32), SPECIAL, SPECIAL * 1e-3, SPECIAL[::-1] * 0.1])
    names, factory = all_formulas(x.size)
    (_, got), (_, plain) = both(factory, FORMS[form], x, np.zeros(len(names) * x.size, np.float32))
    got, plain, wide = got.reshape(-1, x.size), plain.reshape(-1, x.size), x[:4048].astype(np.float64)
    for name, y, twin in zip(names, got, plain, strict=True):
        assert np.isnan(y[np.isnan(x)]).all(), name
        np.testing.assert_allclose(y, twin, rtol=2e-6, atol=2e-6, err_msg=name)
        if name in WITHIN:
            assert abs(y[:4048] - EXACT[name](wide)).max() <= WITHIN[name] * (1 if form != "sse" else 2), name
        elif name in EXACT:
            with np.errstate(invalid="ignore"):
                np.testing.assert_allclose(y[:4048], EXACT[name](wide), rtol=4e-7, atol=1e-7, err_msg=name)


@everywhere
def test_saturation(form):
    x = np.resize(np.array([np.inf, -np.inf, 89.5, -200, 0], np.float32), 80)
    names, factory = all_formulas(x.size)
    (_, y), _ = both(factory, FORMS[form], x, np.zeros(len(names) * x.size, np.float32))
    limits = {name: y.reshape(-1, x.size)[names.index(name), :5].tolist() for name in names}
    assert limits["tanh"] == [1, -1, 1, -1, 0]
    assert limits["sigmoid"][0] == 1 and limits["sigmoid"][1] < 1e-30 and limits["sigmoid"][4] == 0.5
    assert limits["gated_tanh"][:2] == [1, 0] and abs(limits["gated_tanh"][3]) < 1e-30
    assert limits["exp"] == [np.inf, 0, np.inf, 0, 1]
    assert limits["erf"][:2] == [1, -1]
    assert limits["log"][0] == np.inf and np.isnan(limits["log"][1]) and limits["log"][4] == -np.inf
    for name in ("silu", "gelu", "gelu_tanh", "mish", "hard_silu"):
        assert limits[name][0] == np.inf and abs(limits[name][1]) < 3e-6, name


def test_a_whole_kernel_runs_as_plain_python():
    """The LSTM with masks, on two rows of five units, against its compiled form."""
    decl, lanes = kernels.get("lstm"), 4
    target = next(target for target in FORMS.values() if target.lanes == lanes)
    rng = np.random.default_rng(0)
    floats = lambda size: rng.standard_normal(size).astype(np.float32)  # noqa: E731
    shapes = dict(batch=2, steps=3, units=5, p_t=64, p_b=32, y_t=10, y_b=5, reverse=1, hold=1, h_scale=0.0)
    arrays = dict(p=floats(192), r=floats(160), h0=floats(10), c0=floats(10), y=floats(30), hn=floats(10), cn=floats(10),
                  work=floats(48), mask=np.array([1, 0, 1, 1, 1, 0], np.uint8))  # fmt: skip
    results = []
    for compiled in (True, False):
        own = {name: array.copy() for name, array in arrays.items()}
        if compiled:
            from edgelstm.native import link, run_table
            from edgelstm.native.block import block

            words = block("lstm", **own, **shapes)
            run_table(np.array([1, link(["lstm"], target)["lstm"], words.ctypes.data], np.int64))
        else:
            arguments = {name: Pointer(array) for name, array in own.items()} | shapes
            decl.factory(plain_vectors.make(lanes))(*(arguments[name] for name, _ in decl.params))
        results.append(own)
    for name in ("y", "hn", "cn"):
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-6, atol=1e-6, err_msg=name)
