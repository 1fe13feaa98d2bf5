"""Intrinsics on blocks of int32 sums: products of small integers, and how they become floats again."""

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import Signature, signature

from edgelstm.kernels.vectors.dots import Plain
from edgelstm.kernels.vectors.numba_blocks import places
from edgelstm.kernels.vectors.numba_types import INT, SumsType, VectorType, call, constant, floats, intrinsic, ints, splat

_WORD = types.int64
_INT64 = ir.IntType(64)


def members(lanes: int, way: Plain) -> dict[str, Any]:
    """The intrinsics for vectors of `lanes` int32, by name; `way` multiplies bytes."""
    return {**_sums(lanes), "dot_block": _dot_block(lanes, way), "nibble_block": _nibble_block(lanes, way)}


@functools.cache
def _sums(lanes: int) -> dict[str, Any]:
    """Those that multiply no bytes."""
    return {
        "zero_sums": _zero_sums(lanes),
        "load_sums": _load_sums(lanes),
        "spread_sums": _spread_sums(lanes),
        "scaled_block": _scaled_block(lanes),
        "fma_group": _fma_group(lanes),
        "fma_rows": _fma_rows(lanes),
        "fma_pairs": _fma_pairs(lanes),
    }


def _zero_sums(lanes: int) -> Any:
    @intrinsic
    def zero_sums(count: types.IntegerLiteral) -> Any:
        block = types.UniTuple(SumsType(lanes), count.literal_value)

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return cgutils.pack_array(builder, [constant(ints(lanes), 0)] * block.count)

        return signature(block, count), codegen

    return zero_sums


def _load_sums(lanes: int) -> Any:
    @intrinsic
    def load_sums(p: Any, i: Any, di: Any, rows: types.IntegerLiteral, vectors: types.IntegerLiteral) -> Any:
        block = types.UniTuple(SumsType(lanes), rows.literal_value * vectors.literal_value)

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, di = values[:3]
            spots = places(builder, i, di, rows.literal_value, 1, lanes)
            loaded = [_words(builder, p, i, g, ints(lanes)) for i in spots for g in range(vectors.literal_value)]
            return cgutils.pack_array(builder, loaded)

        return signature(block, p, _WORD, _WORD, rows, vectors), codegen

    return load_sums


def _spread_sums(lanes: int) -> Any:
    @intrinsic
    def spread_sums(p: Any, i: Any, di: Any, rows: types.IntegerLiteral, vectors: types.IntegerLiteral) -> Any:
        block = types.UniTuple(SumsType(lanes), rows.literal_value * vectors.literal_value)

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, di = values[:3]
            found = [_word(builder, p, i) for i in places(builder, i, di, rows.literal_value, 1, lanes)]
            vectors_of = [splat(builder, word, lanes) for word in found for _ in range(vectors.literal_value)]
            return cgutils.pack_array(builder, vectors_of)

        return signature(block, p, _WORD, _WORD, rows, vectors), codegen

    return spread_sums


def _dot_block(lanes: int, way: Plain) -> Any:
    @intrinsic
    def dot_block(
        sums: types.UniTuple, x: Any, i: Any, di: Any, w: Any, j: Any, dj: Any, vectors: types.IntegerLiteral
    ) -> Any:
        count = vectors.literal_value
        rows = sums.count // count

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            sums, x, i, di, w, j, dj, _ = values
            results = []
            for m, (at, panel) in enumerate(_rows(builder, i, di, j, dj, rows)):
                q = way.prepare(builder, splat(builder, _word(builder, x, at), lanes))
                for g in range(count):
                    words = _words(builder, w, panel, g, ints(lanes))
                    results.append(way.add(builder, builder.extract_value(sums, m * count + g), q, words))
            return cgutils.pack_array(builder, results)

        return signature(sums, sums, x, _WORD, _WORD, w, _WORD, _WORD, vectors), codegen

    return dot_block


def _nibble_block(lanes: int, way: Plain) -> Any:
    @intrinsic
    def nibble_block(
        sums: types.UniTuple, x: Any, i: Any, di: Any, w: Any, j: Any, vectors: types.IntegerLiteral,
        halves: types.IntegerLiteral,
    ) -> Any:
        count, octets = vectors.literal_value, 4 * halves.literal_value
        rows = sums.count // count

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            sums, x, i, di, w, j, *_ = values
            q = [[way.prepare(builder, splat(builder, _word(builder, x, at, k), lanes)) for k in range(octets)]
                 for at in places(builder, i, di, rows, 1, 1)]
            results = [values[0]] * (rows * count)
            for g in range(count):
                words = [_words(builder, w, j, r * count + g, ints(lanes)) for r in range(4)]
                for m in range(rows):
                    e = m * count + g
                    results[e] = way.add_nibbles(builder, builder.extract_value(sums, e), q[m], words, rows)
            return cgutils.pack_array(builder, results)

        return signature(sums, sums, x, _WORD, _WORD, w, _WORD, vectors, halves), codegen

    return nibble_block


def _scaled_block(lanes: int) -> Any:
    @intrinsic
    def scaled_block(sums: types.UniTuple, c: Any, j: Any, vectors: types.IntegerLiteral) -> Any:
        block = types.UniTuple(VectorType(lanes), sums.count)

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            scales = [_words(builder, *values[1:3], g, floats(lanes)) for g in range(vectors.literal_value)]
            results = [builder.fmul(x, scales[e % len(scales)]) for e, x in enumerate(_floats(builder, values[0], sums.count))]
            return cgutils.pack_array(builder, results)

        return signature(block, sums, c, _WORD, vectors), codegen

    return scaled_block


def _fma_group(lanes: int) -> Any:
    @intrinsic
    def fma_group(block: types.UniTuple, sums: types.UniTuple, c: Any, j: Any, vectors: types.IntegerLiteral) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            block_of, sums_of, c, j, _ = values
            words = [_words(builder, c, j, g, ints(lanes)) for g in range((vectors.literal_value + 1) // 2)]
            scales = [half for word in words for half in _pair(builder, word)][: vectors.literal_value]
            results = []
            for e, x in enumerate(_floats(builder, sums_of, sums.count)):
                results.append(_fma(builder, x, scales[e % len(scales)], builder.extract_value(block_of, e)))
            return cgutils.pack_array(builder, results)

        return signature(block, block, sums, c, _WORD, vectors), codegen

    return fma_group


def _fma_rows(lanes: int) -> Any:
    @intrinsic
    def fma_rows(
        block: types.UniTuple, total: types.UniTuple, s: Any, i: Any, di: Any, vectors: types.IntegerLiteral
    ) -> Any:
        count = vectors.literal_value

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            block_of, total_of, s, i, di, _ = values
            spots = places(builder, i, di, block.count // count, 1, lanes)
            scales = [splat(builder, builder.load(builder.gep(s, [spot])), lanes) for spot in spots]
            results = []
            for e in range(block.count):
                x, y = builder.extract_value(block_of, e), builder.extract_value(total_of, e)
                results.append(_fma(builder, x, scales[e // count], y))
            return cgutils.pack_array(builder, results)

        return signature(total, block, total, s, _WORD, _WORD, vectors), codegen

    return fma_rows


def _fma_pairs(lanes: int) -> Any:
    @intrinsic
    def fma_pairs(
        block: types.UniTuple, x: Any, i: Any, di: Any, w: Any, j: Any, dj: Any, vectors: types.IntegerLiteral
    ) -> Any:
        count = vectors.literal_value
        rows = block.count // count

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            block, x, i, di, w, j, dj, _ = values
            results = []
            for m, (at, panel) in enumerate(_rows(builder, i, di, j, dj, rows)):
                following = builder.add(at, ir.Constant(_INT64, 1))
                factors = [splat(builder, builder.load(builder.gep(x, [k])), lanes) for k in (at, following)]
                for g in range(count):
                    total = builder.extract_value(block, m * count + g)
                    weights = _pair(builder, _words(builder, w, panel, g, ints(lanes)))
                    for factor, weight in zip(factors, weights, strict=True):
                        total = _fma(builder, factor, weight, total)
                    results.append(total)
            return cgutils.pack_array(builder, results)

        return signature(block, block, x, _WORD, _WORD, w, _WORD, _WORD, vectors), codegen

    return fma_pairs


def _pair(builder: ir.IRBuilder, words: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The bfloat16 in the low and in the high half of each word, as float32."""
    low = builder.shl(words, constant(words.type, 16))
    high = builder.and_(words, constant(words.type, 0xFFFF0000))
    return builder.bitcast(low, floats(words.type.count)), builder.bitcast(high, floats(words.type.count))


def _rows(
    builder: ir.IRBuilder, i: ir.Value, di: ir.Value, j: ir.Value, dj: ir.Value, rows: int
) -> list[tuple[ir.Value, ir.Value]]:
    """Where each row reads its activations and its weights."""
    return list(zip(places(builder, i, di, rows, 1, 1), places(builder, j, dj, rows, 1, 1), strict=True))


def _word(builder: ir.IRBuilder, p: ir.Value, i: ir.Value, after: int = 0) -> ir.Value:
    """The 32-bit word at p[i], or that many words after it."""
    spot = builder.bitcast(builder.gep(p, [i]), INT.as_pointer())
    return builder.load(builder.gep(spot, [ir.Constant(_INT64, after)]), align=4)


def _words(builder: ir.IRBuilder, p: ir.Value, i: ir.Value, g: int, kind: ir.VectorType) -> ir.Value:
    """Vector g of those that lie side by side from p[i] on, whatever the pointer is of."""
    spot = builder.bitcast(builder.gep(p, [i]), kind.as_pointer())
    return builder.load(builder.gep(spot, [ir.Constant(_INT64, g)]), align=4)


def _floats(builder: ir.IRBuilder, sums: ir.Value, count: int) -> list[ir.Value]:
    vectors = [builder.extract_value(sums, e) for e in range(count)]
    return [builder.sitofp(vector, floats(vector.type.count)) for vector in vectors]


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return call(builder, f"llvm.fmuladd.v{c.type.count}f32", c.type, [a, b, c])
