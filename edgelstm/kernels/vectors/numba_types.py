"""The numba types of vectors and masks, and how their values are combined with plain numbers."""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, Signature, infer_global, signature
from numba.extending import models, register_model

FLOAT = ir.FloatType()
INT = ir.IntType(32)

Codegen = Callable[[Any, ir.IRBuilder, Signature, list[ir.Value]], ir.Value]
Typing = Callable[..., tuple[Signature, Codegen] | None]


def intrinsic(typing: Typing) -> Callable[..., Any]:
    """A function for kernels: `typing` maps argument types to a signature and code, or to None where they do not fit.

    Unlike numba's own decorator of this name it does not load all that numba knows about arrays.
    """

    def stub(*args: Any) -> Any:
        raise TypeError("only compiled kernels can call this")

    class _Template(AbstractTemplate):
        key = stub
        prefer_literal = True

        def generic(self, args: tuple[types.Type, ...], kws: dict[str, Any]) -> Signature | None:
            found = typing(*args)
            return found and found[0]

    infer_global(stub, types.Function(_Template))

    @lower_builtin(stub, types.VarArg(types.Any))
    def _lower(context: Any, builder: ir.IRBuilder, sig: Signature, args: list[ir.Value]) -> ir.Value:
        return typing(*sig.args)[1](context, builder, sig, args)

    return stub


class VectorType(types.Type):
    """`lanes` float32 numbers."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"float32x{lanes}")


class SumsType(types.Type):
    """`lanes` int32 numbers, the sums of products of small integers."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"int32x{lanes}")


class MaskType(types.Type):
    """`lanes` booleans."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"boolx{lanes}")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, floats(fe_type.lanes))


@register_model(SumsType)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: SumsType) -> None:
        super().__init__(dmm, fe_type, ints(fe_type.lanes))


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: MaskType) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


def floats(lanes: int) -> ir.VectorType:
    """The LLVM type of a vector."""
    return ir.VectorType(FLOAT, lanes)


def ints(lanes: int) -> ir.VectorType:
    """The LLVM type of as many 32-bit integers."""
    return ir.VectorType(INT, lanes)


def constant(kind: ir.VectorType, value: float | int) -> ir.Constant:
    """The same number in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A scalar value in every lane."""
    kind = ir.VectorType(value.type, lanes)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
    return builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), constant(ints(lanes), 0))


def call(builder: ir.IRBuilder, name: str, result: ir.Type, args: list[ir.Value]) -> ir.Value:
    """Calls an LLVM intrinsic by its full name."""
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [arg.type for arg in args]), name)
    return builder.call(function, args)


def common_vector(args: tuple[types.Type, ...]) -> VectorType | None:
    """The vector type that the arguments share, numbers among them taking part; None where there is none."""
    found = {arg for arg in args if isinstance(arg, VectorType)}
    if len(found) != 1 or not all(isinstance(arg, VectorType | types.Number) for arg in args):
        return None
    return found.pop()


def widen(context: Any, builder: ir.IRBuilder, value: ir.Value, kind: types.Type, vector: VectorType) -> ir.Value:
    """An argument as a vector: numbers become float32 in every lane."""
    if isinstance(kind, VectorType):
        return value
    return splat(builder, context.cast(builder, value, kind, types.float32), vector.lanes)


def _operator(symbol: Callable[..., Any], emit: str) -> None:
    @infer_global(symbol)
    class _Template(AbstractTemplate):
        def generic(self, args: tuple[types.Type, ...], kws: dict[str, Any]) -> Signature | None:
            vector = common_vector(args)
            return None if vector is None else signature(vector, *args)

    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: list[ir.Value]) -> ir.Value:
        wide = [widen(context, builder, value, kind, sig.return_type) for value, kind in zip(args, sig.args, strict=True)]
        return getattr(builder, emit)(*wide)

    if emit == "fneg":
        lower_builtin(symbol, VectorType)(lower)
        return
    lower_builtin(symbol, VectorType, VectorType)(lower)
    lower_builtin(symbol, VectorType, types.Number)(lower)
    lower_builtin(symbol, types.Number, VectorType)(lower)


for _symbol, _emit in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
    (operator.neg, "fneg"),
):
    _operator(_symbol, _emit)
