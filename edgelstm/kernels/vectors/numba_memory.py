"""Intrinsics whose width is that of the vector set: loads, stores, and vectors made from numbers."""

import functools
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import Signature, signature

from edgelstm.kernels.vectors.numba_types import INT, VectorType, call, constant, floats, intrinsic, ints
from edgelstm.kernels.vectors.numba_types import splat as broadcast

_WORD = types.int64
_BYTE = ir.IntType(8)


@functools.cache
def members(lanes: int) -> dict[str, Any]:
    """The intrinsics for vectors of `lanes` float32, by name."""
    return {**_makers(lanes), **_whole(lanes), **_partial(lanes), "is_null": is_null, "atomic_add": atomic_add,
            "atomic_load": atomic_load, "atomic_store": atomic_store, "call": call_at, "prefetch": prefetch}


@intrinsic
def is_null(pointer: types.Type) -> Any:
    """True for a null pointer."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        return builder.icmp_unsigned("==", values[0], ir.Constant(values[0].type, None))

    return signature(types.boolean, pointer), codegen


@intrinsic
def atomic_add(p: types.Type, i: types.Type, number: types.Type) -> Any:
    """p[i] += number at once, and what was there; of two threads that write and then add, one sees what the other wrote."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        p, i, number = values
        added = context.cast(builder, number, sig.args[2], types.int32)
        return builder.atomic_rmw("add", builder.gep(p, [i]), added, "seq_cst")

    return signature(types.int32, p, _WORD, number), codegen


@intrinsic
def atomic_load(p: types.Type, i: types.Type) -> Any:
    """p[i] as other threads left it; what they wrote before they stored that is seen too."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        return builder.load_atomic(builder.gep(values[0], [values[1]]), "acquire", 4)

    return signature(types.int32, p, _WORD), codegen


@intrinsic
def atomic_store(p: types.Type, i: types.Type, number: types.Type) -> Any:
    """p[i] = number, seen by other threads after all that was written before."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        p, i, number = values
        number = context.cast(builder, number, sig.args[2], types.int32)
        builder.store_atomic(number, builder.gep(p, [i]), "release", 4)
        return context.get_dummy_value()

    return signature(types.void, p, _WORD, number), codegen


@intrinsic
def call_at(word: types.Type) -> Any:
    """Calls the function without parameters at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), []).as_pointer())
        builder.call(function, [])
        return context.get_dummy_value()

    return signature(types.void, _WORD), codegen


@intrinsic
def prefetch(p: types.Type, i: types.Type) -> Any:
    """Asks for the cache line of p[i], which is read soon."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        spot = builder.gep(values[0], [values[1]])
        call(builder, "llvm.prefetch.p0", ir.VoidType(), [spot, *(ir.Constant(INT, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return signature(types.void, p, _WORD), codegen


def _makers(lanes: int) -> dict[str, Any]:
    vector = VectorType(lanes)

    @intrinsic
    def splat(number: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return broadcast(builder, context.cast(builder, values[0], sig.args[0], types.float32), lanes)

        return signature(vector, number), codegen

    @intrinsic
    def zero() -> Any:
        return signature(vector), lambda context, builder, sig, values: constant(floats(lanes), 0.0)

    @intrinsic
    def index() -> Any:
        values = [float(i) for i in range(lanes)]
        return signature(vector), lambda context, builder, sig, args: ir.Constant(floats(lanes), values)

    return {"splat": splat, "zero": zero, "index": index}


def _whole(lanes: int) -> dict[str, Any]:
    vector = VectorType(lanes)

    @intrinsic
    def load(p: types.Type, i: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return builder.load(address(builder, *values[:2], floats(lanes)), align=4)

        return signature(vector, p, _WORD), codegen

    @intrinsic
    def store(p: types.Type, i: types.Type, x: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            builder.store(values[2], address(builder, *values[:2], floats(lanes)), align=4)
            return context.get_dummy_value()

        return signature(types.void, p, _WORD, vector), codegen

    @intrinsic
    def load_u8(p: types.Type, i: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            octets = builder.load(address(builder, *values, ir.VectorType(_BYTE, lanes)), align=1)
            return builder.uitofp(octets, floats(lanes))

        return signature(vector, p, _WORD), codegen

    return {"load": load, "store": store, "load_u8": load_u8}


def _partial(lanes: int) -> dict[str, Any]:
    vector = VectorType(lanes)

    @intrinsic
    def load_part(p: types.Type, i: types.Type, n: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, n = values
            args = [address(builder, p, i, floats(lanes)), first(builder, n, lanes), constant(floats(lanes), 0.0)]
            return masked(builder, "load", floats(lanes), lanes, args)

        return signature(vector, p, _WORD, _WORD), codegen

    @intrinsic
    def store_part(p: types.Type, i: types.Type, n: types.Type, x: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            p, i, n, x = values
            spot = address(builder, p, i, floats(lanes))
            with _where_whole(builder, n, lanes) as (whole, part):
                with whole:
                    builder.store(x, spot, align=4)
                with part:
                    masked(builder, "store", ir.VoidType(), lanes, [x, spot, first(builder, n, lanes)])
            return context.get_dummy_value()

        return signature(types.void, p, _WORD, _WORD, vector), codegen

    return {"load_part": load_part, "store_part": store_part}


def _where_whole(builder: ir.IRBuilder, n: ir.Value, lanes: int) -> Any:
    """The branches for at least `lanes` elements and for fewer: with a mask short vectors are stored many times slower.

    Those of 16 are not, and take the second branch always.
    """
    whole = builder.icmp_signed(">=", n, ir.Constant(ir.IntType(64), lanes))
    return builder.if_else(whole if lanes < 16 else ir.Constant(ir.IntType(1), 0))


def address(builder: ir.IRBuilder, p: ir.Value, i: ir.Value, kind: ir.Type) -> ir.Value:
    """The address of p[i] as one of a value of this kind."""
    return builder.bitcast(builder.gep(p, [i]), kind.as_pointer())


def first(builder: ir.IRBuilder, n: ir.Value, lanes: int) -> ir.Value:
    """The mask whose first n lanes are set."""
    word = ir.IntType(64)
    low = builder.select(builder.icmp_signed("<", n, ir.Constant(word, lanes)), n, ir.Constant(word, lanes))
    count = broadcast(builder, builder.trunc(low, INT), lanes)
    return builder.icmp_signed("<", ir.Constant(ints(lanes), list(range(lanes))), count)


def masked(builder: ir.IRBuilder, kind: str, result: ir.Type, lanes: int, args: list[ir.Value]) -> ir.Value:
    """A masked load or store; `args` as LLVM orders them, without the alignment."""
    alignment = ir.Constant(INT, 4)
    position = 1 if kind == "load" else 2
    return call(builder, f"llvm.masked.{kind}.v{lanes}f32.p0", result, [*args[:position], alignment, *args[position:]])
