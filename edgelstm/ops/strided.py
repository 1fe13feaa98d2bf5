"""Lowering shared by the ops that only move elements: one strided copy, and a fill."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_AXES = 6
_WIDTH = {"float32": 4, "int64": 8, "int32": 4, "uint8": 1, "bool": 1}
_FORMAT = {"float32": "<f", "int64": "<q", "int32": "<i", "uint8": "<B", "bool": "<?"}
_PATTERN = {4: "<i", 8: "<q", 1: "<B"}


def dense_strides(shape: Sequence[int]) -> list[int]:
    """Distance, in elements, between neighbours along every axis of a C-contiguous array."""
    return [int(np.prod(shape[axis + 1:], dtype=np.int64)) for axis in range(len(shape))]


def copy(low: Any, x: Any, y: Any, dims: Sequence[int], x_strides: Sequence[int], y_strides: Sequence[int],
         x_start: int = 0, y_start: int = 0) -> None:
    """Append calls that copy the box `dims` from x to y; strides and starts count elements and may be 0 or negative."""
    axes = collapsed(dims, x_strides, y_strides)
    if axes is None:
        return
    if len(axes) > MAX_AXES:
        (count, x_stride, y_stride), inner = axes[0], list(zip(*axes[1:], strict=True))
        for i in range(count):
            copy(low, x, y, *inner, x_start + i * x_stride, y_start + i * y_stride)
        return
    axes = [(1, 0, 0)] * (MAX_AXES - len(axes)) + axes
    numbers = {f"{role}{i}": axis[k] for k, role in enumerate(("n", "xs", "ys")) for i, axis in enumerate(axes)}
    low.call(f"copy{_WIDTH[y.dtype]}", x=x, y=y, x_start=x_start, y_start=y_start, **numbers)


def collapsed(dims: Sequence[int], x_strides: Sequence[int],
              y_strides: Sequence[int]) -> list[tuple[int, int, int]] | None:
    """The same box with as few (length, x stride, y stride) axes as possible, outermost first; None when it is empty."""
    if 0 in dims:
        return None
    axes: list[tuple[int, int, int]] = []
    for n, xs, ys in zip(dims, x_strides, y_strides, strict=True):
        if n == 1:
            continue
        if axes and axes[-1][1] == xs * n and axes[-1][2] == ys * n:
            n *= axes.pop()[0]
        axes.append((n, xs, ys))
    return axes


def fill(low: Any, y: Any, value: float) -> None:
    """Append a call that writes one value to every element of y."""
    width = _WIDTH[y.dtype]
    number = value if y.dtype == "float32" else bool(value) if y.dtype == "bool" else int(value)
    pattern = struct.unpack(_PATTERN[width], struct.pack(_FORMAT[y.dtype], number))[0]
    count = int(np.prod(y.shape, dtype=np.int64))
    if count:
        low.call(f"fill{width}", y=y, n=count, value=pattern)
