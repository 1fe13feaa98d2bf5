"""Intrinsics on tuples of vectors: a block of rows times column vectors that is held in registers."""

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import Signature, signature

from edgelstm.kernels.vectors.numba_memory import address, first, masked
from edgelstm.kernels.vectors.numba_types import VectorType, call, constant, floats, intrinsic, splat

_WORD = types.int64
_INT64 = ir.IntType(64)


@functools.cache
def members(lanes: int, apart: int) -> dict[str, Any]:
    """The intrinsics for vectors of `lanes` float32, by name; the vectors of a row lie `apart` floats from each other."""
    return {
        "zero_block": _zero_block(lanes),
        "load_block": _load_block(lanes, apart),
        "fma_block": _fma_block(lanes, apart),
        "fold_block": fold_block,
        "store_block": _store_block(lanes, apart),
    }


def _zero_block(lanes: int) -> Any:
    @intrinsic
    def zero_block(count: types.IntegerLiteral) -> Any:
        block = types.UniTuple(VectorType(lanes), count.literal_value)

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return cgutils.pack_array(builder, [constant(floats(lanes), 0.0)] * block.count)

        return signature(block, count), codegen

    return zero_block


def _load_block(lanes: int, apart: int) -> Any:
    @intrinsic
    def load_block(p: Any, i: Any, di: Any, rows: types.IntegerLiteral, vectors: types.IntegerLiteral) -> Any:
        block = types.UniTuple(VectorType(lanes), rows.literal_value * vectors.literal_value)

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, di = values[:3]
            spots = places(builder, i, di, rows.literal_value, vectors.literal_value, apart)
            return cgutils.pack_array(builder, [_load(builder, p, place, lanes) for place in spots])

        return signature(block, p, _WORD, _WORD, rows, vectors), codegen

    return load_block


def _fma_block(lanes: int, apart: int) -> Any:
    @intrinsic
    def fma_block(
        block: types.UniTuple, x: Any, i: Any, di: Any, w: Any, j: Any, dj: Any, vectors: types.IntegerLiteral
    ) -> Any:
        count = vectors.literal_value
        rows = block.count // count

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            sums, x, i, di, w, j, dj, _ = values
            factors = [builder.load(builder.gep(x, [place])) for place in places(builder, i, di, rows, 1, apart)]
            results = []
            for e, place in enumerate(places(builder, j, dj, rows, count, apart)):
                factor = splat(builder, factors[e // count], lanes)
                args = [factor, _load(builder, w, place, lanes), builder.extract_value(sums, e)]
                results.append(call(builder, f"llvm.fmuladd.v{lanes}f32", floats(lanes), args))
            return cgutils.pack_array(builder, results)

        return signature(block, block, x, _WORD, _WORD, w, _WORD, _WORD, vectors), codegen

    return fma_block


@intrinsic
def fold_block(block: types.UniTuple, count: types.IntegerLiteral) -> Any:
    """`count` vectors: the sum of elements e, e + count, ... of a block of floats or of integers."""
    add = ir.IRBuilder.fadd if isinstance(block.dtype, VectorType) else ir.IRBuilder.add

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        parts = [builder.extract_value(values[0], e) for e in range(block.count)]
        while len(parts) > count.literal_value:
            half = len(parts) // 2
            parts = [add(builder, a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
        return cgutils.pack_array(builder, parts)

    return signature(types.UniTuple(block.dtype, count.literal_value), block, count), codegen


def _store_block(lanes: int, apart: int) -> Any:
    @intrinsic
    def store_block(p: Any, i: Any, di: Any, n: Any, block: types.UniTuple, vectors: types.IntegerLiteral) -> Any:
        count = vectors.literal_value

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, di, n, sums, _ = values
            spots = places(builder, i, di, block.count // count, count, apart)
            whole = builder.icmp_signed(">=", n, ir.Constant(_INT64, (count - 1) * apart + lanes))
            with builder.if_else(whole) as (complete, partial):
                with complete:
                    for e, place in enumerate(spots):
                        spot = address(builder, p, place, floats(lanes))
                        builder.store(builder.extract_value(sums, e), spot, align=4)
                with partial:
                    for e, place in enumerate(spots):
                        left = builder.sub(n, ir.Constant(_INT64, e % count * apart))
                        spot = address(builder, p, place, floats(lanes))
                        args = [builder.extract_value(sums, e), spot, first(builder, left, lanes)]
                        masked(builder, "store", ir.VoidType(), lanes, args)
            return context.get_dummy_value()

        return signature(types.void, p, _WORD, _WORD, _WORD, block, vectors), codegen

    return store_block


def places(builder: ir.IRBuilder, i: ir.Value, di: ir.Value, rows: int, vectors: int, apart: int) -> list[ir.Value]:
    """The offsets i + m * di + g * apart, row by row."""
    found = []
    for _ in range(rows):
        found += [builder.add(i, ir.Constant(_INT64, g * apart)) for g in range(vectors)]
        i = builder.add(i, di)
    return found


def _load(builder: ir.IRBuilder, p: ir.Value, place: ir.Value, lanes: int) -> ir.Value:
    return builder.load(address(builder, p, place, floats(lanes)), align=4)
