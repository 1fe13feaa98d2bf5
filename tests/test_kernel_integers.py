"""Bytes, halves and integer sums: every way of multiplying bytes against NumPy, and the compiled set against its twin."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.native import host_forms
from edgelstm.native.target import CROSS_TARGETS
from tests.twins import agree, run_compiled

X86 = {16: ("madd", "plain"), 8: ("sign", "madd", "plain"), 4: ("sign", "madd", "plain"), 1: ("plain",)}
ARM = {4: ("neon", "plain"), 1: ("plain",)}
VNNI = "+avx512vnni,+avx512vl"
INSTRUCTIONS = {
    "vnni": "vpdpbusd", "sign": "pmaddubsw", "madd": "pmaddwd", "neon": "sadalp", "neon32": "vpaddl", "sdot": "sdot",
    "smlad": "smlad", "wasm": "dot_i16x8_s", "plain": "mul",
}  # fmt: skip


def every_way():
    """All ways of multiplying bytes that this machine can run, at every width."""
    forms = host_forms()
    ways = X86 if forms[0].triple.startswith("x86_64") else ARM
    found = {f"{form.name}-{dot}": replace(form, dot=dot) for form in forms for dot in (form.dot, *ways[form.lanes])}
    if forms[0].dot == "vnni" and forms[0].lanes == 16:
        half = next(form for form in forms if form.lanes == 8)
        found["avx2-vnni"] = replace(half, features=VNNI, dot="vnni")
    return found


TARGETS = every_way()
everywhere = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def bytes_of(rng, shape):
    """Weights or activations of all sizes, the extremes often."""
    values = rng.integers(-127, 128, shape)
    return np.where(rng.random(shape) < 0.3, np.sign(values) * 127, values).astype(np.int8)


def dot_kernel(rows, vectors, count):
    """(q, w, y): y[m][g] the products of `count` words of each row with the panel, from 7 on."""

    def factory(v):
        dot_block, load_sums, octets, lanes = v.dot_block, v.load_sums, v.octets, v.lanes
        scaled_block, store_block = v.scaled_block, v.store_block

        def kernel(q, w, start, ones, y):
            sums = load_sums(start, 1, 2, rows, vectors)
            for k in range(count):
                sums = dot_block(sums, octets(q, 0), 4 * k, 4 * count, w, k * vectors * lanes, 0, vectors)
            store_block(y, 0, vectors * lanes, vectors * lanes, scaled_block(sums, ones, 0, vectors), vectors)

        return kernel

    return factory


@everywhere
@pytest.mark.parametrize(("rows", "vectors", "count"), [(1, 1, 1), (1, 4, 9), (2, 3, 5), (4, 4, 33)])
def test_products_of_bytes_are_exact(target, rows, vectors, count):
    rng, width, offset = np.random.default_rng(count), vectors * target.lanes, 128 if target.dot == "vnni" else 0
    q, w = bytes_of(rng, (rows, 4 * count)), bytes_of(rng, (count, width, 4))
    start = rng.integers(-1000, 1000, 2 * rows + width).astype(np.int32)
    stored = (q.astype(np.int32) + offset).astype(np.uint8)
    y = np.zeros(rows * width, np.float32)
    arrays = [stored.ravel().view(np.int32), w.ravel().view(np.int32), start, np.ones(width, np.float32), y]
    run_compiled(dot_kernel(rows, vectors, count), target, arrays)
    matrix = w.transpose(0, 2, 1).reshape(4 * count, width).astype(np.int64)
    begin = np.stack([start[1 + 2 * m :][:width] for m in range(rows)])
    wanted = begin + (q.astype(np.int64) + offset) @ matrix
    np.testing.assert_array_equal(y.reshape(rows, width), wanted.astype(np.float32))
    agree(dot_kernel(rows, vectors, count), target, *arrays[:4], np.zeros_like(y))


def nibble_kernel(rows, vectors):
    """(x, w, less, scales, y): one group of 32 inputs, from 2 on, with the sums of a row at less[m], scaled."""

    def factory(v):
        nibble_block, spread_sums, fma_group, lanes = v.nibble_block, v.spread_sums, v.fma_group, v.lanes
        store_block, zero_block, count = v.store_block, v.zero_block, rows * vectors

        def kernel(x, w, less, scales, y):
            sums = nibble_block(spread_sums(less, 0, 1, rows, vectors), x, 0, 32, w, 0, vectors, 2)
            block = fma_group(zero_block(count), sums, scales, 2, vectors)
            store_block(y, 0, vectors * lanes, vectors * lanes, block, vectors)

        return kernel

    return factory


@everywhere
@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (1, 4), (2, 3), (4, 4)])
def test_products_of_nibbles_are_exact(target, rows, vectors):
    rng, width = np.random.default_rng(vectors), vectors * target.lanes
    x, nibbles = bytes_of(rng, (rows, 32)), np.where(rng.random((32, width)) < 0.3, 15, rng.integers(0, 16, (32, width)))
    words = (nibbles[:16] | nibbles[16:] << 4).astype(np.uint8).reshape(4, 4, width).transpose(0, 2, 1)
    less = (-8 * x.astype(np.int32).sum(1)).astype(np.int32)
    scales = (2.0 ** rng.integers(-8, 3, width)).astype(np.float32)
    halves = np.zeros((vectors + vectors % 2, target.lanes), np.uint32)
    halves[:vectors] = (scales.view(np.uint32) >> 16).reshape(vectors, target.lanes)
    pairs = (halves[::2] | halves[1::2] << 16).ravel().view(np.int32)
    shifted = np.concatenate([[0, 0], pairs]).astype(np.int32)
    y = np.zeros(rows * width, np.float32)
    arrays = [x.ravel().view(np.uint8), words.ravel().copy(), less, shifted, y]
    run_compiled(nibble_kernel(rows, vectors), target, arrays)
    wanted = x.astype(np.int64) @ (nibbles - 8) * scales.astype(np.float64)
    np.testing.assert_array_equal(y.reshape(rows, width), wanted)
    agree(nibble_kernel(rows, vectors), target, *arrays[:4], np.zeros_like(y))


@everywhere
def test_sums_add_up_and_become_floats(target):
    rng, lanes = np.random.default_rng(0), target.lanes

    def factory(v):
        load_sums, zero_sums, fold_block, scaled_block = v.load_sums, v.zero_sums, v.fold_block, v.scaled_block
        fma_rows, zero_block, store_block, lanes = v.fma_rows, v.zero_block, v.store_block, v.lanes

        def kernel(p, c, s, y):
            sums = fold_block(load_sums(p, 0, 4 * lanes, 2, 4) + zero_sums(8), 4)
            store_block(y, 0, 2 * lanes, 2 * lanes, scaled_block(sums, c, 3, 2), 2)
            block = scaled_block(sums, c, 3, 2)
            store_block(y, 4 * lanes, 2 * lanes, 2 * lanes, fma_rows(block, zero_block(4), s, 1, 2, 2), 2)

        return kernel

    p = rng.integers(-(2**20), 2**20, 8 * lanes).astype(np.int32)
    c, s = rng.standard_normal(3 + 2 * lanes).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    y = np.zeros(8 * lanes, np.float32)
    run_compiled(factory, target, arrays := [p, c, s, y])
    total = p.reshape(2, 2, 2, lanes).sum(0).astype(np.float32)
    scaled = total * c[3:].reshape(1, 2, lanes)
    np.testing.assert_array_equal(y[: 4 * lanes], scaled.ravel())
    np.testing.assert_allclose(y[4 * lanes :], (scaled * s[[1, 3], None, None]).ravel(), rtol=1e-7)
    agree(factory, target, *arrays[:3], np.zeros_like(y), exact=False)


@everywhere
@pytest.mark.parametrize("offset", [0, 128])
def test_floats_become_bytes(target, offset):
    """Halves go to even, the sum is taken modulo 256, and nothing but `lanes` bytes is written."""

    def factory(v):
        load, store_octets, lanes = v.load, v.store_octets, v.lanes

        def kernel(x, y):
            for i in range(0, 512, lanes):
                store_octets(y, i, load(x, i), offset)

        return kernel

    x = np.concatenate([np.arange(-127.5, 128, 0.5), [0.49999997]]).astype(np.float32)
    x = np.resize(x, 512)
    y = np.full(512, 77, np.uint8)
    run_compiled(factory, target, [x, y])
    np.testing.assert_array_equal(y, (np.rint(x).astype(int) + offset) % 256)
    agree(factory, target, x, np.full(512, 77, np.uint8))


@everywhere
def test_largest_keeps_what_is_not_a_number(target):
    def factory(v):
        load, store, largest, lanes = v.load, v.store, v.largest, v.lanes

        def kernel(m, x, y):
            for i in range(0, 64, lanes):
                store(y, i, largest(load(m, i), load(x, i)))

        return kernel

    values = np.array([0, -0.0, 1, -2, 3e38, -np.inf, np.nan, 1e-40], np.float32)
    m, x = np.repeat(abs(values), 8), np.tile(values, 8)
    y = np.zeros(64, np.float32)
    run_compiled(factory, target, [m, x, y])
    np.testing.assert_array_equal(y, np.where(np.isnan(m) | np.isnan(x), np.nan, np.fmax(m, abs(x))))
    agree(factory, target, m, x, np.zeros_like(y))


@everywhere
def test_narrow_numbers_are_widened(target):
    """Partial loads are given no more memory than they may touch."""
    lanes = target.lanes

    def factory(v):
        load_s8, load_s8_part, store, lanes = v.load_s8, v.load_s8_part, v.store, v.lanes
        load_bfloat16, load_bfloat16_part = v.load_bfloat16, v.load_bfloat16_part

        def kernel(small, halves, counts, y):
            store(y, 0, load_s8(small, 0))
            store(y, lanes, load_bfloat16(halves, 0))
            for k in range(1, 19):
                store(y, 2 * k * lanes, load_s8_part(small, lanes - counts[k], counts[k]))
                store(y, (2 * k + 1) * lanes, load_bfloat16_part(halves, 2 * (lanes - counts[k]), counts[k]))

        return kernel

    small = np.arange(-128, -128 + lanes, dtype=np.int8)
    wide = np.resize(np.array([0, -0.0, 1.5, -3, np.inf, 1e-30, 2**100, -7], np.float32), lanes)
    wide = (wide.view(np.uint32) & 0xFFFF0000).view(np.float32)
    halves = (wide.view(np.uint32) >> 16).astype(np.uint16)
    counts = np.clip(np.arange(19) - 1, -1, lanes).astype(np.int64)
    arrays = [small.view(np.uint8), halves.view(np.uint8), counts, np.full(38 * lanes, 9, np.float32)]
    run_compiled(factory, target, mine := [array.copy() for array in arrays])
    y = mine[3].reshape(19, 2, lanes)
    np.testing.assert_array_equal(y[0], [small, wide])
    for k in range(1, 19):
        n = max(0, counts[k])
        rest = np.zeros(lanes - n)
        np.testing.assert_array_equal(y[k], [np.append(small[lanes - n :], rest), np.append(wide[lanes - n :], rest)])
    agree(factory, target, *arrays)


@everywhere
@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (2, 4)])
def test_products_with_pairs_of_bfloat16(target, rows, vectors):
    def factory(v):
        fma_pairs, zero_block, store_block, lanes, count = v.fma_pairs, v.zero_block, v.store_block, v.lanes, rows * vectors

        def kernel(x, w, y):
            block = fma_pairs(zero_block(count), x, 1, 3, w, 2, 5, vectors)
            store_block(y, 0, vectors * lanes, vectors * lanes, block, vectors)

        return kernel

    rng, width = np.random.default_rng(0), vectors * target.lanes
    x, words = rng.standard_normal(9).astype(np.float32), rng.integers(-(2**31), 2**31, 8 + 5 * rows + width)
    words = (words & 0x3FFF3FFF).astype(np.uint32)
    y = np.zeros(rows * width, np.float32)
    run_compiled(factory, target, [x, words.view(np.int32), y])
    low, high = (words << 16).view(np.float32).astype(float), (words & 0xFFFF0000).view(np.float32).astype(float)
    wanted = [x[1 + 3 * m] * low[2 + 5 * m :][:width] + x[2 + 3 * m] * high[2 + 5 * m :][:width] for m in range(rows)]
    np.testing.assert_allclose(y, np.concatenate(wanted), rtol=1e-6)
    agree(factory, target, x, words.view(np.int32), np.zeros_like(y), exact=False)


OTHERS = CROSS_TARGETS | {
    "aarch64-dotprod": replace(CROSS_TARGETS["aarch64"], cpu="cortex-a76", dot="sdot"),
    "x86-64-v3-vnni": replace(CROSS_TARGETS["x86-64-v3"], features="+avxvnni", dot="vnni"),
}  # fmt: skip


@pytest.mark.parametrize("target", OTHERS.values(), ids=OTHERS)
def test_every_target_multiplies_bytes_with_what_it_has(target):
    """The instruction that a target is chosen for is in its code."""
    import llvmlite.binding as llvm

    from edgelstm.kernels.declare import KernelDecl
    from edgelstm.native import frontend, optimise

    kinds = ("i32*", "i32*", "i32*", "f32*", "f32*")
    decl = KernelDecl("probe", tuple((f"a{i}", kind) for i, kind in enumerate(kinds)), dot_kernel(1, 4, 9))
    module = llvm.parse_assembly(optimise.bind(frontend.kernel_ir(decl, target.lanes, target.dot), target))
    text = optimise.target_machine(target).emit_assembly(module)
    assert INSTRUCTIONS[target.dot] in text
