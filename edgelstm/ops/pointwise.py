"""What pointwise ops share: the shape and dtype rules, broadcasting as strides, and the way to the kernels.

Kernels exist for float32, and those of arithmetic for int64 too; other dtypes are cast on the way in and out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, Lowering, Op

FLOAT = ("float32",)
NUMBERS = ("float32", "int64", "int32", "uint8")
SIGNED = ("float32", "int64", "int32")
ANY = ("float32", "int64", "int32", "uint8", "bool")
KERNEL_TAGS = {"float32": "f32", "int64": "i64", "int32": "i32", "uint8": "u8", "bool": "u8"}
MAX_AXES = 6
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 0.5, 1.5, -2.5, 88.0, -88.0, 200.0, -200.0)


class Unary(Op):
    """y[i] = f(x[i]): one formula, its attributes and the dtypes it takes.

    `result` is the dtype of y, None for that of x. `spread` bounds the random numbers of the cases; `special` says
    whether NaN, infinities and zeros belong to them.
    """

    def __init__(self, name: str, formula: Callable[..., np.ndarray], attrs: Mapping[str, Attr] | None = None, *,
                 dtypes: Sequence[str] = FLOAT, result: str | None = None, spread: tuple[float, float] = (-8.0, 8.0),
                 special: bool = True) -> None:
        self.name, self.formula, self.attrs = name, formula, attrs or {}
        self.dtypes, self.result, self.spread, self.special = tuple(dtypes), result, spread, special

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("x", ins[0].dtype, self.dtypes)
        return [Fact(ins[0].shape, self.result or ins[0].dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.asarray(self.formula(ins[0], **attrs))]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, y = ins[0], outs[0]
        if x.dtype == "float32":
            low.call(f"{self.name}_f32", x=x, y=y, n=elements(x.shape), **attrs)
            return
        wide = widened(low, x)
        narrow(low, lambda out: self.lower_int64(low, attrs, wide, out), y)

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        """Append the calls that compute y from x, both int64. Only ops that take integers have them."""
        raise TypeError(f"op {self.name} has no integer kernel")

    def cases(self) -> Iterable[Case]:
        if "float32" not in self.dtypes:
            return
        rng = np.random.default_rng(7)
        for shape in ((1,), (5,), (17,), (3, 11), (65,), (3, 1, 133), (0,), ()):
            yield Case(f"shape {shape}", [rng.uniform(*self.spread, shape).astype("float32")])
        if self.special:
            yield Case("special", [np.array(SPECIAL, "float32")])


def elements(shape: Sequence[int]) -> int:
    """Number of elements of a shape."""
    return int(np.prod(shape, dtype=np.int64))


def check_dtype(role: str, dtype: str, allowed: Sequence[str]) -> None:
    """Raise ShapeError when an input has a dtype that the op does not take."""
    if dtype not in allowed:
        raise ShapeError(f"{role} is {dtype}; supported are {', '.join(allowed)}. Add a cast before it")


def broadcast_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that NumPy's broadcasting gives. Raises ShapeError when there is none."""
    try:
        return np.broadcast_shapes(*(tuple(shape) for shape in shapes))
    except ValueError:
        listed = " and ".join(str(tuple(shape)) for shape in shapes)
        raise ShapeError(f"the shapes {listed} do not broadcast together") from None


def broadcast_layout(out: Sequence[int], *shapes: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Lengths of the axes of `out` and, per operand, its element strides along them, with as few axes as possible.

    Neighbouring axes are merged where every operand steps through them evenly. Raises ShapeError past six axes.
    """
    strides = [_strides(shape, len(out)) for shape in shapes]
    dims: list[int] = []
    steps: list[tuple[int, ...]] = []
    for axis, length in enumerate(out):
        step = tuple(stride[axis] for stride in strides)
        if length == 1:
            continue
        if dims and all(outer == inner * length for outer, inner in zip(steps[-1], step, strict=True)):
            dims[-1] *= length
            steps[-1] = step
        else:
            dims.append(length)
            steps.append(step)
    if not dims:
        return [1], [[1] for _ in shapes]
    if len(dims) > MAX_AXES:
        raise ShapeError(f"broadcasting over {len(dims)} axes that cannot be merged; at most {MAX_AXES} are supported")
    return dims, [[step[i] for step in steps] for i in range(len(shapes))]


def _strides(shape: Sequence[int], rank: int) -> list[int]:
    padded = [1] * (rank - len(shape)) + list(shape)
    return [0 if padded[axis] == 1 else elements(padded[axis + 1:]) for axis in range(rank)]


def widened(low: Lowering, x: Any) -> Any:
    """An operand as int64; x itself when it is int64 already."""
    return x if x.dtype == "int64" else converted(low, x, "int64")


def converted(low: Lowering, x: Any, dtype: str) -> Any:
    """A scratch copy of an operand in another dtype; x itself when it has that dtype."""
    if x.dtype == dtype:
        return x
    y = low.scratch(x.shape, dtype)
    convert(low, x, y)
    return y


def convert(low: Lowering, x: Any, y: Any) -> None:
    """Append the cast of x into y. A bool result is 0 or 1; a float loses its fraction (C conversion)."""
    target = "bool" if y.dtype == "bool" else KERNEL_TAGS[y.dtype]
    low.call(f"cast_{KERNEL_TAGS[x.dtype]}_{target}", x=x, y=y, n=elements(x.shape))


def narrow(low: Lowering, compute: Callable[[Any], None], y: Any) -> None:
    """Run an int64 computation into y: directly, or through a scratch when y is narrower. Integers wrap, as in C."""
    if y.dtype == "int64":
        compute(y)
        return
    wide = low.scratch(y.shape, "int64")
    compute(wide)
    convert(low, wide, y)


def constant(low: Lowering, value: float, dtype: str) -> Any:
    """A one-element operand that holds a number."""
    return low.constant(f"{dtype} {value!r}", lambda: np.array([value], dtype))
