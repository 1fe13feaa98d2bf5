"""The op that puts a border around an array: pad."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.known import known_ints, known_number
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time
from edgelstm.ops.strided import copy, dense_strides, fill

_MODES = ("constant", "edge", "reflect")


class Pad(Op):
    """x with elements added before and after every axis; `pads` lists all begins, then all ends; a negative one crops.

    mode "constant" adds `value` (default 0), "edge" the nearest element, "reflect" mirrors without repeating the edge.
    """

    name = "pad"
    inputs = ("x", "pads", "value?")
    parameters = ("pads", "value")
    narrow = ("x", "value")
    attrs = {"mode": Attr("str", "constant", _MODES)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, value = ins[0], ins[2]
        borders = _borders(x.rank, known_ints(ins[1], "pads"))
        if value is not None:
            known_number(value, "value")
        if value is not None and value.dtype != x.dtype:
            raise ShapeError(f"its value is {value.dtype}, while x is {x.dtype}")
        for axis, (n, border) in enumerate(zip(x.shape, borders, strict=True)):
            _check_border(axis, n, border, attrs["mode"])
        return [Fact(tuple(n + sum(border) for n, border in zip(x.shape, borders, strict=True)), x.dtype)]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, borders = ins[0], _borders(ins[0].ndim, ins[1].reshape(-1).tolist())
        cropped = x[tuple(slice(max(-b, 0), n - max(-e, 0)) for n, (b, e) in zip(x.shape, borders, strict=True))]
        widths = [(max(b, 0), max(e, 0)) for b, e in borders]
        if not widths:
            return [cropped]
        if attrs["mode"] != "constant":
            return [np.pad(cropped, widths, attrs["mode"])]
        return [np.pad(cropped, widths, constant_values=0 if ins[2] is None else ins[2].reshape(-1)[0])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        borders = _borders(ins[0].rank, known_ints(ins[1], "pads"))
        return [(0, axis) for axis, border in enumerate(borders) if any(border)]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        if any(carries_time(ins[0], axis, time) for _, axis in self.mixes(attrs, ins)):
            raise NeedsFuture("it adds or drops time steps")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, y = ins[0], outs[0]
        borders = _borders(len(x.shape), known_ints(ins[1], "pads"))
        if not any(map(any, borders)):
            low.alias(y, x)
            return
        if attrs["mode"] == "constant":
            fill(low, y, 0 if ins[2] is None else known_number(ins[2], "value"))
        inner = _copy_inside(low, x, y, borders)
        if attrs["mode"] != "constant":
            _copy_borders(low, y, inner, attrs["mode"] == "reflect")

    def cases(self) -> Iterable[Case]:
        x = np.arange(3 * 17 * 5, dtype=np.float32).reshape(3, 17, 5)
        left, around, crop = [0, 4, 0, 0, 0, 0], [1, 2, 3, 2, 1, 4], [0, -2, 1, -1, 0, -3]
        yield Case("causal", [x, np.array(left), np.array(-1.5, np.float32)])
        yield Case("around", [x, np.array(around), None])
        yield Case("crop", [x, np.array(crop), np.array(7, np.float32)])
        yield Case("edge", [x, np.array(around), None], {"mode": "edge"})
        yield Case("reflect", [x, np.array(around), None], {"mode": "reflect"})
        yield Case("cropped reflect", [x, np.array(crop), None], {"mode": "reflect"})
        yield Case("nothing", [x, np.zeros(6, np.int64), None])
        yield Case("from empty", [x[:, :0], np.array(left), None])
        yield Case("int64", [np.arange(4), np.array([1, 2]), np.array(9)])
        yield Case("bool", [x[0] > 3, np.array([0, 1, 2, 0]), None])


def _borders(rank: int, pads: Sequence[int]) -> list[tuple[int, int]]:
    """(begin, end) of every axis. Raises ShapeError when there are not two numbers for each."""
    if len(pads) != 2 * rank:
        raise ShapeError(f"{len(pads)} pads for {rank} axes; all begins, then all ends are expected")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _check_border(axis: int, length: int, border: tuple[int, int], mode: str) -> None:
    kept = length + sum(min(n, 0) for n in border)
    limit = {"constant": max(border), "edge": max(border) if kept else 0, "reflect": kept - 1}[mode]
    if kept < 0 or max(*border, 0) > max(limit, 0):
        raise ShapeError(f"axis {axis} of length {length} cannot be padded by {border} in mode {mode!r}")


def _copy_inside(low: Any, x: Any, y: Any, borders: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Copy what y keeps of x. Gives the (start, length) of that box in y along every axis."""
    x_strides, y_strides = dense_strides(x.shape), dense_strides(y.shape)
    first = [max(-begin, 0) for begin, _ in borders]
    box = [(max(begin, 0), n + min(begin, 0) + min(end, 0)) for n, (begin, end) in zip(x.shape, borders, strict=True)]
    copy(low, x, y, [n for _, n in box], x_strides, y_strides, int(np.dot(first, x_strides)),
         int(np.dot([start for start, _ in box], y_strides)))
    return box


def _copy_borders(low: Any, y: Any, box: list[tuple[int, int]], reflect: bool) -> None:
    """Fill the border of y from the box inside it, one axis after the other; each axis makes the box as long as y."""
    strides = dense_strides(y.shape)
    for axis, (start, n) in enumerate(box):
        corner = int(np.dot([begin for begin, _ in box], strides)) - start * strides[axis]
        dims = [length for _, length in box]
        step = strides[axis]
        source = [*strides[:axis], -step if reflect else 0, *strides[axis + 1:]]
        after = y.shape[axis] - start - n
        left, last = start + start * reflect, start + n - 1
        copy(low, y, y, [*dims[:axis], start, *dims[axis + 1:]], source, strides, corner + left * step, corner)
        copy(low, y, y, [*dims[:axis], after, *dims[axis + 1:]], source, strides, corner + (last - reflect) * step,
             corner + (last + 1) * step)
        box[axis] = (0, y.shape[axis])


OPS = (Pad(),)
