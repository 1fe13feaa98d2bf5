"""Intrinsics that take bytes and 16-bit halves from memory as float32, and put bytes back."""

import functools
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import Signature, signature

from edgelstm.kernels.vectors.numba_memory import address, first
from edgelstm.kernels.vectors.numba_types import INT, VectorType, call, constant, floats, intrinsic, ints

_WORD = types.int64
_BYTE, _SHORT = ir.IntType(8), ir.IntType(16)
_ROUNDING = 12582912  # 1.5 * 2 ** 23: adding it leaves an integer in the low bits


@functools.cache
def members(lanes: int) -> dict[str, Any]:
    """The intrinsics for vectors of `lanes` float32, by name."""
    return {
        "octets": octets,
        "words": words,
        "store_octets": _store_octets(lanes),
        "load_s8": _load(lanes, _BYTE, wide_s8),
        "load_s8_part": _load_part(lanes, _BYTE, wide_s8),
        "load_bfloat16": _load(lanes, _SHORT, wide_bfloat16),
        "load_bfloat16_part": _load_part(lanes, _SHORT, wide_bfloat16),
    }


def wide_s8(builder: ir.IRBuilder, values: ir.Value) -> ir.Value:
    """Signed bytes as float32."""
    return builder.sitofp(values, floats(values.type.count))


def wide_bfloat16(builder: ir.IRBuilder, values: ir.Value) -> ir.Value:
    """bfloat16 as float32."""
    kind = ints(values.type.count)
    return builder.bitcast(builder.shl(builder.zext(values, kind), constant(kind, 16)), floats(kind.count))


@intrinsic
def octets(p: types.Type, i: types.Type) -> Any:
    """p[i] and what follows, as bytes."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        return address(builder, *values, _BYTE)

    return signature(types.CPointer(types.uint8), p, _WORD), codegen


@intrinsic
def words(p: types.Type, i: types.Type) -> Any:
    """p[i] and what follows, as 32-bit words."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        return address(builder, *values, INT)

    return signature(types.CPointer(types.int32), p, _WORD), codegen


def _store_octets(lanes: int) -> Any:
    @intrinsic
    def store_octets(p: types.Type, i: types.Type, x: types.Type, offset: types.IntegerLiteral) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, x, _ = values
            shifted = builder.fadd(x, constant(floats(lanes), float(_ROUNDING + offset.literal_value)))
            low = builder.trunc(builder.bitcast(shifted, ints(lanes)), ir.VectorType(_BYTE, lanes))
            builder.store(low, address(builder, p, i, low.type), align=1)
            return context.get_dummy_value()

        return signature(types.void, p, _WORD, VectorType(lanes), offset), codegen

    return store_octets


def _load(lanes: int, element: ir.IntType, widen: Any) -> Any:
    @intrinsic
    def load(p: types.Type, i: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            spot = address(builder, *values, ir.VectorType(element, lanes))
            return widen(builder, builder.load(spot, align=element.width // 8))

        return signature(VectorType(lanes), p, _WORD), codegen

    return load


def _load_part(lanes: int, element: ir.IntType, widen: Any) -> Any:
    kind = ir.VectorType(element, lanes)

    @intrinsic
    def load_part(p: types.Type, i: types.Type, n: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, n = values
            alignment = ir.Constant(INT, element.width // 8)
            args = [address(builder, p, i, kind), alignment, first(builder, n, lanes), constant(kind, 0)]
            return widen(builder, call(builder, f"llvm.masked.load.v{lanes}i{element.width}.p0", kind, args))

        return signature(VectorType(lanes), p, _WORD, _WORD), codegen

    return load_part
