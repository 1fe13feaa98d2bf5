"""Truth values: equal, not_equal, less, less_equal, greater, greater_equal, and, or, xor, not, is_nan, and where."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.binary import Binary, axis_params, combine
from edgelstm.ops.op import Case, Fact, Lowering, Op
from edgelstm.ops.pointwise import (
    ANY,
    KERNEL_TAGS,
    NUMBERS,
    Unary,
    broadcast_layout,
    broadcast_shape,
    check_dtype,
    elements,
)

BOOL = ("bool",)
WHERE_SHAPES = (((1,), (1,), (1,)), ((17,), (17,), (17,)), ((33, 1), (33, 65), ()), ((4, 1, 5), (3, 1), (4, 3, 5)))


class Logical(Binary):
    """y = f(a, b) on truth values, with NumPy's broadcasting."""

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        combine(low, self.name, ins[0], ins[1], outs[0])


class Not(Unary):
    """y = not x."""

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        low.call("not_u8", x=ins[0], y=outs[0], n=elements(ins[0].shape))

    def cases(self) -> Iterable[Case]:
        for n in (1, 5, 17, 33, 65):
            yield Case(f"length {n}", [np.arange(n) % 3 == 0])


class Where(Op):
    """y = a where the condition holds, else b; the three broadcast together."""

    name = "where"
    inputs = ("condition", "a", "b")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        condition, a, b = ins
        check_dtype("condition", condition.dtype, BOOL)
        if a.dtype != b.dtype:
            raise ShapeError(f"a is {a.dtype} and b is {b.dtype}; cast one to the other's dtype")
        return [Fact(broadcast_shape(condition.shape, a.shape, b.shape), a.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.where(*ins)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        condition, a, b = ins
        dims, steps = broadcast_layout(outs[0].shape, condition.shape, a.shape, b.shape)
        layout = axis_params("d", dims, 1)
        for prefix, step in zip("cab", steps, strict=True):
            layout |= axis_params(prefix, step, 0)
        low.call(f"where_{KERNEL_TAGS[a.dtype]}", condition=condition, a=a, b=b, y=outs[0], **layout)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(13)
        for dtype in ANY:
            for shapes in WHERE_SHAPES:
                high = 2 if dtype == "bool" else 99
                values = [np.asarray(rng.integers(0, high, shape)).astype(dtype) for shape in shapes[1:]]
                yield Case(f"{dtype} {shapes}", [rng.random(shapes[0]) > 0.5, *values])


OPS = (
    Binary("equal", np.equal, dtypes=ANY, result="bool", spread=(-2, 2)),
    Binary("not_equal", np.not_equal, dtypes=ANY, result="bool", spread=(-2, 2)),
    Binary("less", np.less, dtypes=NUMBERS, result="bool", spread=(-2, 2)),
    Binary("less_equal", np.less_equal, dtypes=NUMBERS, result="bool", spread=(-2, 2)),
    Binary("greater", np.greater, dtypes=NUMBERS, result="bool", spread=(-2, 2)),
    Binary("greater_equal", np.greater_equal, dtypes=NUMBERS, result="bool", spread=(-2, 2)),
    Logical("and", np.logical_and, dtypes=BOOL),
    Logical("or", np.logical_or, dtypes=BOOL),
    Logical("xor", np.logical_xor, dtypes=BOOL),
    Not("not", np.logical_not, dtypes=BOOL),
    Unary("is_nan", np.isnan, result="bool"),
    Where(),
)
