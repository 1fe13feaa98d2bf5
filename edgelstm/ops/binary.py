"""Arithmetic on two numbers with NumPy's broadcasting: add, sub, mul, div, pow, minimum, maximum, mod."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, Lowering, Op
from edgelstm.ops.pointwise import (
    KERNEL_TAGS,
    MAX_AXES,
    NUMBERS,
    SPECIAL,
    broadcast_layout,
    broadcast_shape,
    check_dtype,
    convert,
    converted,
    elements,
    narrow,
    widened,
)

CASE_SHAPES = (((1,), (1,)), ((5,), (5,)), ((17,), (1,)), ((), (33,)), ((4, 65), (65,)), ((4, 65), (4, 1)),
               ((3, 1, 7), (1, 5, 7)), ((2, 3, 1, 5), (3, 4, 1)), ((0, 3), (3,)), ((130,), (130,)),
               ((2, 1, 3, 1, 2, 1), (1, 2, 1, 3, 1, 2)))


class Binary(Op):
    """y = f(a, b), element by element; both inputs have one dtype, also that of y unless `result` names another.

    `spread` bounds the random numbers of the cases.
    """

    inputs = ("a", "b")

    def __init__(self, name: str, formula: Callable[..., np.ndarray], attrs: Mapping[str, Attr] | None = None, *,
                 dtypes: Sequence[str] = NUMBERS, result: str | None = None,
                 spread: tuple[float, float] = (-8.0, 8.0)) -> None:
        self.name, self.formula, self.attrs = name, formula, attrs or {}
        self.dtypes, self.result, self.spread = tuple(dtypes), result, spread

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        a, b = ins
        check_dtype(self.inputs[0], a.dtype, self.dtypes)
        if b.dtype != a.dtype:
            first, second = self.inputs
            raise ShapeError(f"{first} is {a.dtype} and {second} is {b.dtype}; cast one to the other's dtype")
        return [Fact(broadcast_shape(a.shape, b.shape), self.result or a.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.asarray(self.formula(*ins, **attrs))]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def kernel(self, attrs: Mapping[str, Any]) -> str:
        """Name of the kernel, without its dtype."""
        return self.name

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        a, b = ins
        if a.dtype == "float32":
            combine(low, self.kernel(attrs), a, b, outs[0])
            return
        a, b = widened(low, a), widened(low, b)
        if self.result:
            combine(low, self.kernel(attrs), a, b, outs[0])
        else:
            narrow(low, lambda y: combine(low, self.kernel(attrs), a, b, y), outs[0])

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(11)
        kinds = [dtype for dtype in ("float32", "int64", "int32", "bool") if dtype in self.dtypes]
        for dtype in kinds:
            for a, b in CASE_SHAPES if dtype == kinds[0] else CASE_SHAPES[:6]:
                yield Case(f"{dtype} {a} {b}", [_random(rng, self.spread, shape, dtype) for shape in (a, b)])
        if "float32" in kinds:
            grid = np.array(SPECIAL, "float32")
            yield Case("special", [grid[:, None], grid])


class Pow(Binary):
    """y = a ** b; y has the dtype of the base. An integer base with a float exponent is truncated toward zero."""

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("b", ins[1].dtype, self.dtypes)
        return super().infer(attrs, [ins[0], Fact(ins[1].shape, ins[0].dtype)])

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        a, b = ins
        squares = a.dtype == "float32" and b.value is not None and b.value.size == 1 and b.value.item() == 2
        if squares and outs[0].shape == a.shape:
            low.call("square_f32", x=a, y=outs[0], n=elements(a.shape))
            return
        if b.dtype == "float32" != a.dtype:
            y = low.scratch(outs[0].shape)
            combine(low, "pow", converted(low, a, "float32"), b, y)
            convert(low, y, outs[0])
            return
        super().lower(low, attrs, [a, converted(low, b, a.dtype)], outs)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(3)
        for shape in ((1,), (5,), (17,), (3, 43)):
            base, exponent = rng.uniform(0.01, 9, shape), rng.uniform(-4, 4, shape)
            yield Case(f"positive base {shape}", [base.astype("float32"), exponent.astype("float32")])
        base = np.array([[-3], [-0.5], [0], [2], [np.inf], [-np.inf], [np.nan], [-1]], "float32")
        exponent = np.array([-3, -2, -0.5, 0, 0.5, 1, 2, 3, np.inf, -np.inf, np.nan], "float32")
        yield Case("special", [base, exponent])
        yield Case("square", [base, np.array([2.0], "float32")])
        yield Case("integers", [np.arange(-5, 6), np.arange(5)[:, None]])
        yield Case("integer base", [np.arange(1, 12), np.array([[0.5], [1.5], [-1.0], [2.25]], "float32")])
        yield Case("integer exponent", [base, np.array([[-2, 0, 3, 7]])])


class Mod(Binary):
    """The remainder of a / b: with the sign of b, or with `fmod` that of a (C's fmod). An integer b of 0 gives 0."""

    def kernel(self, attrs: Mapping[str, Any]) -> str:
        return "fmod" if attrs["fmod"] else "mod"

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(5)
        for fmod in (False, True):
            for dtype in ("float32", "int64", "int32"):
                a, b = _random(rng, (-50, 50), (3, 19), dtype), _random(rng, (2, 9), (19,), dtype)
                b *= np.where(np.arange(19) % 2, -1, 1).astype(dtype)
                yield Case(f"{dtype}, fmod={fmod}", [a, b], {"fmod": fmod})
        yield Case("zero divisor", [np.arange(-2, 3), np.zeros(1, np.int64)])


def combine(low: Lowering, kernel: str, a: Any, b: Any, y: Any) -> None:
    """Append y = kernel(a, b) with broadcasting; `kernel` lacks the dtype, which is that of a."""
    broadcast_call(low, f"{kernel}_{KERNEL_TAGS[a.dtype]}", a, b, y)


def broadcast_call(low: Lowering, kernel: str, a: Any, b: Any, y: Any) -> None:
    """Append a call of a binary kernel over the broadcast of a and b."""
    dims, (a_steps, b_steps) = broadcast_layout(y.shape, a.shape, b.shape)
    layout = axis_params("d", dims, 1) | axis_params("a", a_steps, 0) | axis_params("b", b_steps, 0)
    low.call(kernel, a=a, b=b, y=y, **layout)


def axis_params(prefix: str, values: Sequence[int], fill: int) -> dict[str, int]:
    """Six numbered integer parameters, right-aligned, so that the last axis is always number 5."""
    padded = [fill] * (MAX_AXES - len(values)) + list(values)
    return {f"{prefix}{i}": value for i, value in enumerate(padded)}


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; integers are truncated toward zero, and a / 0 is 0 for them."""
    if a.dtype.kind == "f":
        return a / b
    safe = np.where(b == 0, 1, b)
    quotient = np.abs(a) // np.abs(safe) * np.sign(a) * np.sign(safe)
    return np.where(b == 0, 0, quotient)


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a ** b; an integer with a negative exponent is truncated toward zero, and 0 ** -1 is 0 for integers."""
    if a.dtype.kind == "f":
        return np.power(a, b)
    if b.dtype.kind == "f":
        return np.trunc(np.power(a.astype(np.float64), b)).astype(np.int64)
    inverse = np.where(np.abs(a) == 1, np.power(a, np.abs(b)), 0)
    return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0)))


def remainder(a: np.ndarray, b: np.ndarray, fmod: bool) -> np.ndarray:
    """a - b * floor(a / b), or a - b * trunc(a / b)."""
    return np.fmod(a, b) if fmod else np.mod(a, b)


def _random(rng: "np.random.Generator", spread: tuple[float, float], shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = rng.uniform(*spread, shape)
    return np.asarray(values > np.mean(spread) if dtype == "bool" else values).astype(dtype)


OPS = (
    Binary("add", np.add),
    Binary("sub", np.subtract),
    Binary("mul", np.multiply),
    Binary("div", divide),
    Binary("minimum", np.minimum),
    Binary("maximum", np.maximum),
    Pow("pow", power),
    Mod("mod", remainder, {"fmod": Attr("bool", False)}),
)
