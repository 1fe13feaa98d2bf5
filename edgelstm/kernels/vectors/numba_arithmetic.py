"""Intrinsics that take their width from their arguments: arithmetic, masks, sums across lanes."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import Signature, signature

from edgelstm.kernels.vectors.numba_types import (
    INT,
    MaskType,
    VectorType,
    call,
    common_vector,
    constant,
    intrinsic,
    ints,
    widen,
)

Emit = Callable[..., ir.Value]

_ROUNDING = 12582912.0  # 1.5 * 2 ** 23: adding it leaves no fraction bits
_INTEGRAL = 8388608.0  # 2 ** 23: from here on every float32 is integral


def _elementwise(emit: Emit, mask: bool = False) -> Any:
    def typing(*args: types.Type) -> Any:
        vector = common_vector(args)
        if vector is None:
            return None

        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return emit(builder, *(widen(context, builder, v, t, vector) for v, t in zip(values, sig.args, strict=True)))

        return signature(MaskType(vector.lanes) if mask else vector, *args), codegen

    return intrinsic(typing)


def _llvm(name: str) -> Emit:
    def emit(builder: ir.IRBuilder, *args: ir.Value) -> ir.Value:
        return call(builder, f"llvm.{name}.v{args[0].type.count}f32", args[0].type, list(args))

    return emit


def _minimum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _maximum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _compare(relation: str) -> Emit:
    return lambda builder, a, b: builder.fcmp_ordered(relation, a, b)


def _small(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    magnitude = _llvm("fabs")(builder, x)
    return builder.fcmp_ordered("<", magnitude, constant(x.type, _INTEGRAL))


def _round_small(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    bias = constant(x.type, _ROUNDING)
    return builder.fsub(builder.fadd(x, bias), bias)


def _nearest(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    magnitude = _llvm("fabs")(builder, x)
    bias = constant(x.type, _INTEGRAL)
    rounded = builder.fsub(builder.fadd(magnitude, bias), bias)
    signed = _llvm("copysign")(builder, rounded, x)
    return builder.select(_small(builder, x), signed, x)


def _floor(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    rounded = _nearest(builder, x)
    above = builder.fcmp_ordered(">", rounded, x)
    return builder.select(above, builder.fsub(rounded, constant(x.type, 1.0)), rounded)


def _ceil(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return builder.fneg(_floor(builder, builder.fneg(x)))


def _truncate(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return _llvm("copysign")(builder, _floor(builder, _llvm("fabs")(builder, x)), x)


def _largest(builder: ir.IRBuilder, m: ir.Value, x: ir.Value) -> ir.Value:
    """As integers, so that NaN, whose bits are above those of infinity, stays."""
    kind = ints(x.type.count)
    magnitude = builder.and_(builder.bitcast(x, kind), constant(kind, 0x7FFFFFFF))
    old = builder.bitcast(m, kind)
    return builder.bitcast(builder.select(builder.icmp_signed(">", magnitude, old), magnitude, old), x.type)


def _pow2(builder: ir.IRBuilder, n: ir.Value) -> ir.Value:
    return _power_of_biased(builder, builder.fadd(n, constant(n.type, _ROUNDING)))


def _power_of_biased(builder: ir.IRBuilder, biased: ir.Value) -> ir.Value:
    """2 ** n of n + _ROUNDING, whose low bits are those of the integer."""
    kind = ints(biased.type.count)
    shifted = builder.shl(builder.bitcast(biased, kind), constant(kind, 23))
    return builder.bitcast(builder.add(shifted, constant(kind, 0x3F800000)), biased.type)


def _exponent(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    kind = ints(x.type.count)
    biased = builder.lshr(builder.bitcast(x, kind), constant(kind, 23))
    return builder.sitofp(builder.sub(biased, constant(kind, 127)), x.type)


def _mantissa(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    kind = ints(x.type.count)
    fraction = builder.and_(builder.bitcast(x, kind), constant(kind, 0x7FFFFF))
    return builder.bitcast(builder.or_(fraction, constant(kind, 0x3F800000)), x.type)


def _mask_op(emit: Emit) -> Any:
    def typing(*args: types.Type) -> Any:
        if not all(isinstance(arg, MaskType) and arg == args[0] for arg in args):
            return None
        return signature(args[0], *args), lambda context, builder, sig, values: emit(builder, *values)

    return intrinsic(typing)


def _mask_reduction(name: str) -> Any:
    def typing(mask: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return call(builder, f"llvm.vector.reduce.{name}.v{mask.lanes}i1", ir.IntType(1), values)

        return (signature(types.boolean, mask), codegen) if isinstance(mask, MaskType) else None

    return intrinsic(typing)


def _horizontal(combine: Emit) -> Any:
    def typing(vector: types.Type) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
            return _fold(builder, values[0], combine)

        return (signature(types.float32, vector), codegen) if isinstance(vector, VectorType) else None

    return intrinsic(typing)


def _fold(builder: ir.IRBuilder, x: ir.Value, combine: Emit) -> ir.Value:
    while x.type.count > 1:
        half = x.type.count // 2
        low, high = (_lanes(builder, x, range(start, start + half)) for start in (0, half))
        x = combine(builder, low, high)
    return builder.extract_element(x, ir.Constant(INT, 0))


def _lanes(builder: ir.IRBuilder, x: ir.Value, wanted: range) -> ir.Value:
    mask = ir.Constant(ints(len(wanted)), list(wanted))
    return builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), mask)


def _nan_aware(pick: Emit) -> Emit:
    def combine(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        unordered = builder.fcmp_unordered("uno", a, a)
        return builder.select(unordered, a, pick(builder, a, b))

    return combine


@intrinsic
def select(mask: types.Type, a: types.Type, b: types.Type) -> Any:
    """a where the mask is set, else b; one of them may be a number."""
    if not isinstance(mask, MaskType):
        return None
    vector = VectorType(mask.lanes)

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        sides = (widen(context, builder, v, t, vector) for v, t in zip(values[1:], sig.args[1:], strict=True))
        return builder.select(values[0], *sides)

    return signature(vector, mask, a, b), codegen


@intrinsic
def nearest_power(x: types.Type, rate: types.Type) -> Any:
    """x * rate, rounded, and 2 to its power; adding the bias in the same operation as the product keeps the chain short."""
    vector = common_vector((x, rate))
    if vector is None:
        return None

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        x, rate = (widen(context, builder, v, t, vector) for v, t in zip(values, sig.args, strict=True))
        bias = constant(x.type, _ROUNDING)
        biased = _llvm("fmuladd")(builder, x, rate, bias)
        return cgutils.pack_array(builder, [builder.fsub(biased, bias), _power_of_biased(builder, biased)])

    return signature(types.UniTuple(vector, 2), x, rate), codegen


@intrinsic
def f32(number: types.Type) -> Any:
    """A number as a float32 scalar."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, values: list[ir.Value]) -> ir.Value:
        return context.cast(builder, values[0], sig.args[0], types.float32)

    return signature(types.float32, number), codegen


_MEMBERS: dict[str, Any] = {
    "fma": _elementwise(_llvm("fmuladd")),
    "min": _elementwise(_minimum),
    "max": _elementwise(_maximum),
    "largest": _elementwise(_largest),
    "absolute": _elementwise(_llvm("fabs")),
    "sqrt": _elementwise(_llvm("sqrt")),
    "copysign": _elementwise(_llvm("copysign")),
    "nearest": _elementwise(_nearest),
    "round_small": _elementwise(_round_small),
    "floor": _elementwise(_floor),
    "ceil": _elementwise(_ceil),
    "truncate": _elementwise(_truncate),
    "pow2": _elementwise(_pow2),
    "nearest_power": nearest_power,
    "exponent": _elementwise(_exponent),
    "mantissa": _elementwise(_mantissa),
    "less": _elementwise(_compare("<"), mask=True),
    "less_equal": _elementwise(_compare("<="), mask=True),
    "equal": _elementwise(_compare("=="), mask=True),
    "both": _mask_op(lambda builder, a, b: builder.and_(a, b)),
    "either": _mask_op(lambda builder, a, b: builder.or_(a, b)),
    "invert": _mask_op(lambda builder, a: builder.not_(a)),
    "any_set": _mask_reduction("or"),
    "all_set": _mask_reduction("and"),
    "sum": _horizontal(lambda builder, a, b: builder.fadd(a, b)),
    "least": _horizontal(_nan_aware(_minimum)),
    "greatest": _horizontal(_nan_aware(_maximum)),
    "select": select,
    "f32": f32,
}


def members() -> dict[str, Any]:
    """The intrinsics by the names under which kernels know them."""
    return dict(_MEMBERS)
