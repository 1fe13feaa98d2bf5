"""Reductions over axes: reduce_sum, reduce_mean, reduce_max, reduce_min, reduce_prod, reduce_l2, and arg_max."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, Lowering, Op, normal_axis
from edgelstm.ops.pointwise import ANY, FLOAT, KERNEL_TAGS, SIGNED, check_dtype, elements, narrow, widened

CASES = (
    ((1,), (), False), ((5,), (0,), True), ((17, 33), (1,), False), ((17, 33), (0,), False), ((3, 5, 65), (1,), True),
    ((3, 5, 7, 2), (0, 2), False), ((3, 5, 7, 2), (1, 3), True), ((2, 1000), (-1,), False), ((1000, 3), (), False),
)  # fmt: skip


class Reduce(Op):
    """y = f over the `axes` of x (all of them when none are named); `keepdims` leaves them with length 1.

    `empty` says whether an axis of length 0 has a result. Integers are summed and multiplied in int64 and wrap.
    """

    attrs = {"axes": Attr("ints", ()), "keepdims": Attr("bool", False)}

    def __init__(self, name: str, formula: Callable[..., np.ndarray], dtypes: Sequence[str], *,
                 empty: bool = True) -> None:
        self.name, self.formula, self.dtypes, self.empty = name, formula, tuple(dtypes), empty

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x = ins[0]
        check_dtype("x", x.dtype, self.dtypes)
        axes = normal_axes(attrs["axes"], x.rank)
        if not self.empty and any(x.shape[axis] == 0 for axis in axes):
            raise ShapeError(f"x of shape {x.shape} has nothing to reduce along one of the axes {axes}")
        return [Fact(reduced_shape(x.shape, axes, attrs["keepdims"]), x.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        axes = normal_axes(attrs["axes"], ins[0].ndim)
        return [np.asarray(self.formula(ins[0], axis=axes, keepdims=attrs["keepdims"]))]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, axis) for axis in normal_axes(attrs["axes"], ins[0].rank)]

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        axes = normal_axes(attrs["axes"], len(ins[0].shape))
        if ins[0].dtype == "float32":
            _lower_groups(low, self.name, ins[0], outs[0], axes)
            return
        x = widened(low, ins[0])
        narrow(low, lambda y: _lower_groups(low, self.name, x, y, axes), outs[0])

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(17)
        for shape, axes, keepdims in CASES:
            attrs = {"axes": axes, "keepdims": keepdims}
            x = rng.uniform(0.5, 1.5, shape) if self.name == "reduce_prod" else rng.normal(size=shape)
            yield Case(f"{shape} over {axes}", [x.astype("float32")], attrs)
        special = np.array([[1, np.nan, 2], [np.inf, 1, 2], [-np.inf, -1, -2]], "float32")
        yield Case("special", [special], {"axes": (1,)})
        for dtype in ("int64", "int32", "uint8", "bool"):
            if dtype in self.dtypes:
                yield Case(dtype, [rng.integers(0, 2, (5, 17)).astype(dtype)], {"axes": (1,)})


class ArgMax(Op):
    """y = int64 position of the largest number along `axis`, the first of equal ones; NaN counts as largest."""

    name = "arg_max"
    attrs = {"axis": Attr("int", 0), "keepdims": Attr("bool", False)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x = ins[0]
        check_dtype("x", x.dtype, ANY)
        axis = normal_axis(attrs["axis"], x.rank)
        if x.rank and x.shape[axis] == 0:
            raise ShapeError(f"x of shape {x.shape} has nothing to compare along axis {axis}")
        return [Fact(reduced_shape(x.shape, (axis,), attrs["keepdims"]), "int64")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x = np.atleast_1d(ins[0])
        y = np.asarray(np.argmax(x, axis=attrs["axis"], keepdims=attrs["keepdims"]))
        return [y.reshape(()) if ins[0].ndim == 0 else y]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, normal_axis(attrs["axis"], ins[0].rank))] if ins[0].rank else []

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x = ins[0] if ins[0].dtype == "float32" else widened(low, ins[0])
        outer, n, inner = split_at(x.shape, normal_axis(attrs["axis"], len(x.shape)))
        low.call(f"arg_max_{KERNEL_TAGS[x.dtype]}", x=x, y=outs[0], outer=outer, n=n, inner=inner)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(19)
        for shape, axis in (((1,), 0), ((5,), 0), ((17, 33), 1), ((17, 33), 0), ((3, 65, 4), 1)):
            yield Case(f"{shape} over {axis}", [rng.normal(size=shape).astype("float32")], {"axis": axis})
            yield Case(f"int64 {shape}", [rng.integers(-9, 9, shape)], {"axis": axis, "keepdims": True})
        yield Case("special", [np.array([[1, np.nan, 2], [np.inf, np.inf, 2], [-np.inf] * 3], "float32")], {"axis": 1})


def normal_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, in order; all when none are named. Raises ShapeError for a bad or repeated one."""
    found = sorted(normal_axis(axis, rank) for axis in axes) if axes else list(range(rank))
    if len(set(found)) < len(found):
        raise ShapeError(f"the axes {tuple(axes)} name one axis twice")
    return tuple(found)


def reduced_shape(shape: Sequence[int], axes: Sequence[int], keepdims: bool) -> tuple[int, ...]:
    """The shape that is left after a reduction."""
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape) if keepdims or axis not in axes)


def split_at(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Elements before an axis, along it, and after it. A scalar has one of each."""
    return elements(shape[:axis]), shape[axis] if len(shape) else 1, elements(shape[axis + 1:])


def runs(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[int, int, int]]:
    """(outer, n, inner) for every run of neighbouring reduced axes, last run first.

    Each is stated for the shape that is left after the runs before it.
    """
    found, end, axis, left = [], 0, len(shape) - 1, list(shape)
    while axis >= 0:
        if axis in axes:
            end = axis + 1
            while axis - 1 in axes:
                axis -= 1
            found.append((elements(left[:axis]), elements(left[axis:end]), elements(left[end:])))
            left[axis:end] = [1] * (end - axis)
        axis -= 1
    return found


def _lower_groups(low: Lowering, name: str, x: Any, y: Any, axes: Sequence[int]) -> None:
    """One kernel call for each run of neighbouring axes, then what turns a sum into a mean or a norm."""
    groups = runs(x.shape, axes) or [(elements(x.shape), 1, 1)]
    tag = KERNEL_TAGS[x.dtype]
    first, kernel = _STEPS.get(name, (name, name))
    for i, (outer, n, inner) in enumerate(groups):
        target = y if i == len(groups) - 1 else low.scratch((outer, inner), x.dtype)
        low.call(f"{first if i == 0 else kernel}_{tag}", x=x, y=target, outer=outer, n=n, inner=inner)
        x = target
    if name == "reduce_mean":
        count = elements([n for _, n, _ in groups])
        low.call("affine_f32", x=y, y=y, n=elements(y.shape), alpha=1 / count if count else float("nan"), beta=0.0)
    elif name == "reduce_l2":
        low.call("sqrt_f32", x=y, y=y, n=elements(y.shape))


def l2_norm(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """Root of the sum of squares."""
    return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))


_STEPS = {"reduce_mean": ("reduce_sum", "reduce_sum"), "reduce_l2": ("reduce_sum_square", "reduce_sum")}
OPS = (
    Reduce("reduce_sum", np.sum, SIGNED),
    Reduce("reduce_mean", np.mean, FLOAT),
    Reduce("reduce_max", np.max, ANY, empty=False),
    Reduce("reduce_min", np.min, ANY, empty=False),
    Reduce("reduce_prod", np.prod, SIGNED),
    Reduce("reduce_l2", l2_norm, FLOAT),
    ArgMax(),
)
