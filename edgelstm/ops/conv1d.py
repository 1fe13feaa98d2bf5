"""Convolution over one axis, channels last: conv1d."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.dense import panel_vectors
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time
from edgelstm.ops.strided import copy, fill
from edgelstm.ops.window import Window, window_of

_PADDINGS = ("valid", "same", "causal", "explicit")


class Conv1d(Op):
    """y[b,t,n] = b[n] + sum over j, c of x[b, t*stride + j*dilation - left, g*C/groups + c] * W[j,c,n].

    x (B, T, C), W (k, C/groups, N), b (N,) -> y (B, T', N); g is the group of filter n. As in Keras and ONNX, the
    kernel is not flipped. Padding "same" splits what it adds, the odd one on the right; "causal" adds (k-1)*dilation
    zeros on the left; "explicit" adds `pads` = (left, right). A stream carries the last (k-1)*dilation inputs; it needs
    stride 1 and all padding on the left.
    """

    name = "conv1d"
    inputs = ("x", "W", "b?")
    parameters = ("W", "b")
    attrs = {"stride": Attr("int", 1), "dilation": Attr("int", 1), "groups": Attr("int", 1),
             "padding": Attr("str", "valid", _PADDINGS), "pads": Attr("ints", (0, 0))}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, W, b = ins
        if x.rank != 3 or W.rank != 3 or x.dtype != "float32" or W.dtype != "float32":
            raise ShapeError(f"x is {x.dtype}{list(x.shape)} and W {W.dtype}{list(W.shape)}; "
                             "float32 (batch, time, channels) and (taps, channels, filters) are supported")
        groups, (_, per_group, filters) = attrs["groups"], W.shape
        if groups < 1 or attrs["dilation"] < 1 or x.shape[2] != groups * per_group or filters % groups:
            raise ShapeError(f"x {list(x.shape)} and W {list(W.shape)} do not fit with {groups} groups, "
                             f"dilation {attrs['dilation']}")
        if b is not None and b.shape != (filters,):
            raise ShapeError(f"its bias has the shape {list(b.shape)}, not [{filters}]")
        return [Fact((x.shape[0], _window(attrs, x.shape[1], W.shape[0]).count, filters), "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, W, b = ins
        taps, per_group, filters = W.shape
        groups, stride, window = attrs["groups"], attrs["stride"], _window(attrs, x.shape[1], taps)
        x = np.pad(x, ((0, 0), (window.left, window.right), (0, 0)))
        x = x.reshape(*x.shape[:2], groups, per_group)
        y = np.zeros((x.shape[0], window.count, groups, filters // groups))
        for j in range(taps):
            first = j * attrs["dilation"]
            rows = x[:, first:first + (window.count - 1) * stride + 1:stride] if window.count else x[:, :0]
            y += np.einsum("btgc,cgn->btgn", rows, W[j].reshape(per_group, groups, filters // groups))
        return [y.reshape(*y.shape[:2], filters) + (0.0 if b is None else b)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        W = ins[1]
        return [(0, 2), *((1, axis) for axis in range(W.rank)), *([] if _pointwise(attrs, W.shape[0]) else [(0, 1)])]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        x, W = ins[:2]
        if carries_time(x, 2, time) or any(carries_time(W, axis, time) for axis in range(W.rank)):
            raise NeedsFuture("it combines values of different time steps")
        if not carries_time(x, 1, time):
            return {}
        past = (W.shape[0] - 1) * attrs["dilation"]
        if attrs["stride"] != 1:
            raise NeedsFuture(f"it has stride {attrs['stride']} over time, so it gives no output at most steps")
        window = _window(attrs, x.shape[1], W.shape[0])
        if (window.left, window.right) != (past, 0):
            raise NeedsFuture(f"its padding is {attrs['padding']!r} over time; only causal padding gives one "
                              "output for every step without looking ahead")
        return self.slots(attrs, ins)

    def slots(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> dict[str, StateSlot]:
        x, W = ins[:2]
        past, (left, right) = (W.shape[0] - 1) * attrs["dilation"], attrs["pads"]
        causal = attrs["padding"] == "causal" or (attrs["padding"] == "explicit" and (left, right) == (past, 0))
        return {"past": StateSlot((x.shape[0], past, x.shape[2]))} if past and causal and attrs["stride"] == 1 else {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (x, W, b), y = ins, outs[0]
        if W.value is None or (b is not None and b.value is None):
            raise UnsupportedError("a convolution whose weights are computed from an input")
        if 0 in y.shape:
            return
        x = _padded(low, x, _window(attrs, x.shape[1], W.shape[0]))
        channels = x.shape[2]
        sizes = {"batch": x.shape[0], "count": y.shape[1], "taps": W.shape[0], "x_batch": x.shape[1] * channels,
                 "x_row": attrs["stride"] * channels, "x_tap": attrs["dilation"] * channels}
        if attrs["groups"] == channels == W.shape[2]:
            _depthwise(low, x, W, b, y, sizes)
        else:
            _groups(low, x, (W, b), y, attrs["groups"], sizes)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(3)
        rows = {"one": ((1, 1, 1), (1, 1, 1), {}), "pointwise": ((3, 17, 5), (1, 5, 33), {}),
                "valid": ((2, 17, 5), (3, 5, 33), {}), "causal": ((3, 33, 17), (5, 17, 65), {"padding": "causal"}),
                "dilated": ((2, 33, 9), (3, 9, 17), {"padding": "causal", "dilation": 4}),
                "same": ((2, 17, 16), (4, 16, 16), {"padding": "same"}),
                "strided": ((2, 65, 3), (5, 3, 8), {"stride": 3, "padding": "same"}),
                "audio": ((1, 330, 1), (65, 1, 33), {"stride": 16}),
                "explicit": ((2, 17, 5), (3, 5, 7), {"padding": "explicit", "pads": (2, 1), "stride": 2,
                                                     "dilation": 2}),
                "depthwise": ((2, 17, 33), (3, 1, 33), {"groups": 33, "padding": "causal"}),
                "multiplier": ((2, 9, 5), (3, 1, 10), {"groups": 5, "padding": "same"}),
                "groups": ((2, 17, 12), (3, 4, 15), {"groups": 3, "dilation": 2}),
                "empty": ((0, 9, 5), (3, 5, 4), {})}
        for name, (x_shape, W_shape, attrs) in rows.items():
            b = rng.standard_normal(W_shape[2]).astype(np.float32)
            x = rng.standard_normal(x_shape).astype(np.float32)
            W = (rng.standard_normal(W_shape) / np.sqrt(W_shape[0] * W_shape[1])).astype(np.float32)
            yield Case(name, [x, W, None if name == "valid" else b], attrs, atol=1e-5)


def _padded(low: Any, x: Any, window: Window) -> Any:
    """x with its left context and padding around it; in a stream the context is the past, which is moved on."""
    past = low.state("past")
    batch, steps, channels = x.shape
    if not window.left + window.right:
        return x
    padded = low.scratch((batch, window.left + steps + window.right, channels))
    row, wide = steps * channels, padded.shape[1] * channels
    context = window.left * channels
    if past is None:
        fill(low, padded, 0.0)
    else:
        copy(low, past, padded, (batch, context), (context, 1), (wide, 1))
    copy(low, x, padded, (batch, row), (row, 1), (wide, 1), 0, context)
    if past is not None:
        copy(low, padded, past, (batch, context), (wide, 1), (context, 1), row)
    return padded


def _depthwise(low: Any, x: Any, W: Any, b: Any, y: Any, sizes: dict[str, int]) -> None:
    """One filter for each channel."""
    weights = low.constant("W", lambda: np.ascontiguousarray(W.value[:, 0]))
    bias = None if b is None else low.constant("b", lambda: b.value)
    low.call("depthwise", x=x, w=weights, bias=bias, y=y, channels=y.shape[2], **sizes)


def _groups(low: Any, x: Any, weights: tuple[Any, Any], y: Any, groups: int, sizes: dict[str, int]) -> None:
    """One product over taps and channels for each group; without gaps between the taps they are one long row."""
    W, b = weights
    taps, n_in, filters = W.shape
    n_out = filters // groups
    vectors = panel_vectors(n_out, low.lanes)
    if sizes["x_tap"] == n_in:
        sizes, n_in = {**sizes, "taps": 1, "x_tap": 0}, n_in * taps
    for g in range(groups):
        part = slice(g * n_out, (g + 1) * n_out)
        panels = low.panels(f"W{g}", W.value[:, :, part].reshape(-1, n_out), 1, vectors)
        bias = None if b is None else low.panels(f"b{g}", b.value[None, part], 1, vectors)
        low.call(f"conv{vectors}", x=x, w=panels, bias=bias, y=y, n_in=n_in, n_out=n_out, x_start=g * W.shape[1],
                 y_start=g * n_out, y_row=filters, **sizes)


def _window(attrs: Mapping[str, Any], steps: int, taps: int) -> Window:
    return window_of(steps, (taps - 1) * attrs["dilation"] + 1, attrs["stride"], attrs["padding"], attrs["pads"])


def _pointwise(attrs: Mapping[str, Any], taps: int) -> bool:
    return taps == attrs["stride"] == 1 and not any(attrs["pads"])


OPS = (Conv1d(),)
