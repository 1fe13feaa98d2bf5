"""The product of two values that are both computed: matmul. (A product with constant weights is the op dense.)"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Case, Fact, NeedsFuture, Op, StateSlot, carries_time
from edgelstm.ops.strided import collapsed, dense_strides, fill

_BATCH_AXES = 3


class MatMul(Op):
    """a @ b as numpy.matmul: the last axis of a is summed with the last but one of b, axes before those broadcast.

    A one-dimensional a is a row, a one-dimensional b a column, and that axis is dropped from the result.
    """

    name = "matmul"
    inputs = ("a", "b")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        a, b = ins
        if (a.dtype, b.dtype) != ("float32", "float32"):
            raise ShapeError(f"it multiplies {a.dtype} by {b.dtype}; float32 is supported")
        if not a.rank or not b.rank or a.shape[-1] != b.shape[-min(b.rank, 2)]:
            raise ShapeError(f"{list(a.shape)} cannot be multiplied by {list(b.shape)}")
        batch, m, _, n = _sizes(a.shape, b.shape)
        return [Fact((*batch, *([m] if a.rank > 1 else []), *([n] if b.rank > 1 else [])), "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [np.matmul(ins[0], ins[1])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        a, b = ins
        columns = [(1, b.rank - 1)] if b.rank > 1 else []
        return [(0, a.rank - 1), (1, b.rank - min(b.rank, 2)), *columns]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        a, b = ins
        if carries_time(a, a.rank - 1, time):
            raise NeedsFuture("it sums over time steps")
        if a.rank > 1 and b.rank > 1 and carries_time(a, a.rank - 2, time) and carries_time(b, b.rank - 1, time):
            raise NeedsFuture("it relates every time step to every other, as attention does")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (a, b), y = ins, outs[0]
        batch, m, k, n = _sizes(a.shape, b.shape)
        if 0 in (*batch, m, n):
            return
        if not k:
            fill(low, y, 0.0)
            return
        a_strides = _batch_strides(a.shape, len(batch))
        b_strides = _batch_strides(b.shape, len(batch))
        y_strides = [m * n * stride for stride in dense_strides(batch)]
        _calls(low, (a, b, y), (m, k, n), _batch_axes(batch, a_strides, b_strides, y_strides), (0, 0, 0))

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(11)
        rows = {"one": ((1, 1), (1, 1)), "odd": ((5, 17), (17, 33)), "large": ((65, 130), (130, 67)),
                "batch": ((3, 5, 17), (3, 17, 9)), "broadcast": ((2, 1, 5, 7), (3, 7, 33)), "rows": ((7,), (2, 7, 5)),
                "columns": ((3, 5, 7), (7,)), "dot": ((33,), (33,)), "shared": ((4, 1, 17), (17, 65)),
                "empty": ((0, 5), (5, 3)), "empty sum": ((3, 0), (0, 5)),
                "mixed": ((2, 1, 2, 1, 3, 4), (2, 1, 2, 4, 5))}
        for name, shapes in rows.items():
            yield Case(name, [rng.standard_normal(shape).astype(np.float32) / 4 for shape in shapes], atol=1e-5)


def _sizes(a: Sequence[int], b: Sequence[int]) -> tuple[tuple[int, ...], int, int, int]:
    """(batch axes, rows, summed, columns) of a product."""
    try:
        batch = np.broadcast_shapes(tuple(a[:-2]), tuple(b[:-2]))
    except ValueError:
        raise ShapeError(f"{list(a)} cannot be multiplied by {list(b)}: their batch axes do not broadcast") from None
    return batch, a[-2] if len(a) > 1 else 1, a[-1], b[-1] if len(b) > 1 else 1


def _batch_strides(shape: Sequence[int], rank: int) -> list[int]:
    """Strides of an operand along the product's batch axes, 0 where it is repeated."""
    own = [0 if n == 1 else stride for n, stride in zip(shape[:-2], dense_strides(shape), strict=False)]
    return [0] * (rank - len(own)) + own


def _batch_axes(batch: Sequence[int], a: Sequence[int], b: Sequence[int],
                y: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(length, stride of a, of b, of y) of the batch axes, collapsed where all three allow it."""
    axes: list[tuple[int, int, int, int]] = []
    for n, a_stride, b_stride, y_stride in zip(batch, a, b, y, strict=True):
        both = collapsed((axes[-1][0], n), (axes[-1][1], a_stride), (axes[-1][2], b_stride)) if axes and n > 1 else None
        if both is not None and len(both) == 1:
            n *= axes.pop()[0]
        if n > 1:
            axes.append((n, a_stride, b_stride, y_stride))
    return axes


def _calls(low: Any, operands: tuple[Any, Any, Any], sizes: tuple[int, int, int],
           axes: Sequence[tuple[int, int, int, int]], starts: tuple[int, int, int]) -> None:
    """Append the kernel call over at most three batch axes, one call for each position of further ones."""
    if len(axes) > _BATCH_AXES:
        n, *strides = axes[0]
        for i in range(n):
            _calls(low, operands, sizes, axes[1:], tuple(s + i * d for s, d in zip(starts, strides, strict=True)))
        return
    axes = [(1, 0, 0, 0)] * (_BATCH_AXES - len(axes)) + list(axes)
    numbers = {f"{role}{i}": axis[j] for j, role in enumerate(("n", "as", "bs", "ys")) for i, axis in enumerate(axes)}
    roles = {f"{role}_start": start for role, start in zip("aby", starts, strict=True)}
    a, b, y = operands
    low.call("matmul", a=a, b=b, y=y, rows=sizes[0], inner=sizes[1], columns=sizes[2], **roles, **numbers)


OPS = (MatMul(),)
