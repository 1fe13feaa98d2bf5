"""Lowering shared by the ops that only move elements: one strided copy, and a fill."""

from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_AXES = 6
WIDTH = {"float32": 4, "int64": 8, "int32": 4, "int16": 2, "uint8": 1, "int8": 1, "bool": 1}  # bytes of an element


def dense_strides(shape: Sequence[int]) -> list[int]:
    """Distance, in elements, between neighbours along every axis of a C-contiguous array."""
    return [int(np.prod(shape[axis + 1:], dtype=np.int64)) for axis in range(len(shape))]


def copy(low: Any, x: Any, y: Any, dims: Sequence[int], x_strides: Sequence[int], y_strides: Sequence[int],
         x_start: int = 0, y_start: int = 0) -> None:
    """Append calls that copy the box `dims` from x to y; strides and starts count elements and may be 0 or negative."""
    width = WIDTH[y.dtype]
    if width in (8, 2):
        width //= 2
        dims, x_start, y_start = (*dims, 2), 2 * x_start, 2 * y_start
        x_strides, y_strides = ([*(2 * n for n in strides), 1] for strides in (x_strides, y_strides))
    axes = collapsed(dims, x_strides, y_strides)
    if axes is None:
        return
    if width == 1 and axes and axes[-1][1:] == (1, 1) and not any(
            n % 4 for n in (x_start, y_start, axes[-1][0], *(n for axis in axes[:-1] for n in axis[1:]))):
        width, x_start, y_start = 4, x_start // 4, y_start // 4
        axes = [(n, xs // 4, ys // 4) for n, xs, ys in axes[:-1]] + [(axes[-1][0] // 4, 1, 1)]
    _calls(low, f"copy{width}", x, y, axes, x_start, y_start)


def _calls(low: Any, kernel: str, x: Any, y: Any, axes: list[tuple[int, int, int]], x_start: int, y_start: int) -> None:
    """Append one call, or one for each position of the axes that are too many."""
    if len(axes) > MAX_AXES:
        count, x_stride, y_stride = axes[0]
        for i in range(count):
            _calls(low, kernel, x, y, axes[1:], x_start + i * x_stride, y_start + i * y_stride)
        return
    axes = [(1, 0, 0)] * (MAX_AXES - len(axes)) + axes
    numbers = {f"{role}{i}": axis[k] for k, role in enumerate(("n", "xs", "ys")) for i, axis in enumerate(axes)}
    low.call(kernel, x=x, y=y, x_start=x_start, y_start=y_start, **numbers)


def collapsed(dims: Sequence[int], x_strides: Sequence[int],
              y_strides: Sequence[int]) -> list[tuple[int, int, int]] | None:
    """The same box in as few (length, x stride, y stride) axes as possible, outermost first; None when empty."""
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
    count = int(np.prod(y.shape, dtype=np.int64))
    dtype = "uint8" if y.dtype in ("bool", "int8") else y.dtype
    number = value if dtype == "float32" else int(bool(value) if y.dtype == "bool" else value)
    if count:
        low.call(f"fill_{dtype}", y=y, n=count, value=number)
