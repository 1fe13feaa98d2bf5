"""Convolution over one axis, channels last: conv1d."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.dense import panel_vectors
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Noise, Op, StateSlot, carries_time
from edgelstm.ops.rows import Rows, dense_rows, prepared, with_factors
from edgelstm.ops.stored import (
    ACTIVATION_SCALE,
    GROUPED,
    PRECISION,
    Stored,
    check_factor,
    check_grouped,
    check_scales,
    check_stored,
    columns,
    full_shape,
    rounding,
    stored,
    stored_parts,
    wide,
)
from edgelstm.ops.strided import copy, dense_strides, fill
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
    inputs = ("x", "W", "b?", "W_scale?", "W_factor?")
    parameters = ("W", "b", "W_scale", "W_factor")
    narrow = ("W", "W_scale")
    attrs = {"stride": Attr("int", 1), "dilation": Attr("int", 1), "groups": Attr("int", 1),
             "padding": Attr("str", "valid", _PADDINGS), "pads": Attr("ints", (0, 0)),
             "precision": PRECISION, "grouped": GROUPED, "x_scale": ACTIVATION_SCALE}

    def weight_shapes(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        return {"W": full_shape(attrs, ins[1])}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, W, b, scale, factor = ins
        if x.rank != 3 or W.rank != (2 if attrs["precision"] == "int4" else 3) or x.dtype != "float32":
            raise ShapeError(f"x is {x.dtype}{list(x.shape)} and W {W.dtype}{list(W.shape)}; "
                             "float32 (batch, time, channels) and (taps, channels, filters) are supported")
        if not 1 <= attrs["groups"] <= max(1, x.shape[2]):
            raise ShapeError(f"it has {attrs['groups']} groups of {x.shape[2]} channels; 1 up to the channels are supported")
        groups, (taps, per_group, filters) = attrs["groups"], self.kernel_shape(attrs, ins)
        check_stored("W", attrs["precision"], W, scale, (taps, per_group, filters))
        check_grouped(attrs, taps * per_group)
        check_scales(attrs, "x_scale")
        check_factor(attrs, factor, taps * per_group)
        if attrs["dilation"] < 1 or x.shape[2] != groups * per_group or filters % groups:
            raise ShapeError(f"x {list(x.shape)} and W {list(W.shape)} do not fit with {groups} groups, "
                             f"dilation {attrs['dilation']}")
        if b is not None and (b.shape, b.dtype) != ((filters,), "float32"):
            raise ShapeError(f"its bias is {b.dtype}{list(b.shape)}, expected float32[{filters}]")
        return [Fact((x.shape[0], _window(attrs, x.shape[1], taps).count, filters), "float32")]

    def kernel_shape(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> tuple[int, int, int]:
        """(taps, channels of a group, filters) of the kernel that W stands for."""
        x, W = ins[:2]
        per_group = x.shape[2] // attrs["groups"]
        return (attrs["grouped"] // max(1, per_group), per_group, W.shape[1]) if attrs["precision"] == "int4" else W.shape

    def matrix(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> np.ndarray | Stored:
        """W as (taps * channels, filters). Raises UnsupportedError when it is computed from the model's input."""
        shape, (W, scale, factor) = self.kernel_shape(attrs, ins), stored_parts(self, ins)
        found = stored(attrs["precision"], W, scale, shape, factor)
        return found if isinstance(found, Stored) else found.reshape(-1, shape[2])

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return self._product(attrs, ins, lambda matrix, factor: matrix if factor is None else matrix * factor[:, None])

    def rounded(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None], noise: Noise | None) -> list[np.ndarray]:
        if attrs["groups"] == ins[0].shape[2] == ins[1].shape[-1]:
            return self.reference(attrs, ins)
        precision, scale = attrs["precision"], attrs["x_scale"]
        return self._product(attrs, ins, lambda matrix, factor: rounding(precision, matrix, scale, noise, factor))

    def _product(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None],
                 by: Callable[[np.ndarray, np.ndarray | None], Any]) -> list[np.ndarray]:
        """Windows of each group of channels times what `by` makes of the group's matrix and of the factors of its inputs."""
        x, W, b, scale, factor = ins
        taps, per_group, filters = shape = self.kernel_shape(attrs, ins)
        W = wide(attrs["precision"], W, scale, shape).reshape(taps * per_group, filters)
        groups, window = attrs["groups"], _window(attrs, x.shape[1], taps)
        x = np.pad(x, ((0, 0), (window.left, window.right), (0, 0)))
        places = np.arange(window.count)[:, None] * attrs["stride"] + np.arange(taps) * attrs["dilation"]
        seen = x[:, places].reshape(x.shape[0], window.count, taps, groups, per_group)
        y = [seen[:, :, :, g].reshape(x.shape[0], window.count, taps * per_group) @ by(part, factor)
             for g, part in enumerate(np.split(W, groups, axis=1))]
        return [np.concatenate(y, axis=2) + (0.0 if b is None else b)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        taps = self.kernel_shape(attrs, ins)[0]
        return [(0, 2), *((1, axis) for axis in range(ins[1].rank)), *([] if _pointwise(attrs, taps) else [(0, 1)])]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        x, W = ins[:2]
        if carries_time(x, 2, time) or any(carries_time(W, axis, time) for axis in range(W.rank)):
            raise NeedsFuture("it combines values of different time steps")
        if not carries_time(x, 1, time):
            return {}
        taps = self.kernel_shape(attrs, ins)[0]
        past = (taps - 1) * attrs["dilation"]
        if attrs["stride"] != 1:
            raise NeedsFuture(f"it has stride {attrs['stride']} over time, so it gives no output at most steps")
        window = _window(attrs, x.shape[1], taps)
        if (window.left, window.right) != (past, 0):
            raise NeedsFuture(f"its padding is {attrs['padding']!r} over time; only causal padding gives one "
                              "output for every step without looking ahead")
        return self.slots(attrs, ins)

    def slots(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> dict[str, StateSlot]:
        x, taps = ins[0], self.kernel_shape(attrs, ins)[0]
        past, (left, right) = (taps - 1) * attrs["dilation"], attrs["pads"]
        causal = attrs["padding"] == "causal" or (attrs["padding"] == "explicit" and (left, right) == (past, 0))
        return {"past": StateSlot((x.shape[0], past, x.shape[2]))} if past and causal and attrs["stride"] == 1 else {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (x, W, b, _, factor), y = ins, outs[0]
        if W.value is None or (b is not None and b.value is None):
            raise UnsupportedError("a convolution whose weights are computed from an input")
        if 0 in y.shape:
            return
        weights, taps = (self.matrix(attrs, ins), b), self.kernel_shape(attrs, ins)[0]
        x = _padded(low, x, _window(attrs, x.shape[1], taps))
        channels = x.shape[2]
        sizes = {"batch": x.shape[0], "count": y.shape[1], "taps": taps, "x_batch": x.shape[1] * channels,
                 "x_row": attrs["stride"] * channels, "x_tap": attrs["dilation"] * channels}
        if attrs["groups"] == channels == y.shape[2]:
            _depthwise(low, x, weights, y, sizes)
        else:
            _groups(low, attrs, x, (*weights, factor), y, sizes)

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


def _depthwise(low: Any, x: Any, weights: tuple[Any, Any], y: Any, sizes: dict[str, int]) -> None:
    """One filter for each channel, computed in float32 whatever the precision: its weights are few."""
    W, b = weights
    wide = low.constant("W", lambda: W.widened() if isinstance(W, Stored) else np.ascontiguousarray(W))
    bias = None if b is None else low.constant("b", lambda: b.value)
    low.call("depthwise", x=x, w=wide, bias=bias, y=y, channels=y.shape[2], **sizes)


def _groups(low: Any, attrs: Mapping[str, Any], x: Any, weights: tuple[Any, Any, Any], y: Any, sizes: dict[str, int]) -> None:
    """One product over taps and channels for each group."""
    W, b, factor = weights
    filters, n_in = W.shape[1], W.shape[0] // sizes["taps"]
    n_out = filters // attrs["groups"]
    vectors = panel_vectors(n_out, low.lanes)
    for g in range(attrs["groups"]):
        first, end = g * n_out, (g + 1) * n_out
        windows = _windows(low, attrs, x, g * n_in, n_in, sizes, factor)
        panels = low.panels(f"W{g}", columns(W, first, end), 1, vectors, windows["taps"])
        bias = None if b is None else low.panels(f"b{g}", b.value[None, first:end], 1, vectors)
        low.call(low.kernel(f"conv{vectors}", attrs["precision"]), w=panels, bias=bias, y=y, n_out=n_out, y_start=first,
                 y_row=filters, **windows)


def _windows(low: Any, attrs: Mapping[str, Any], x: Any, start: int, n_in: int, sizes: dict[str, int],
             factor: Any) -> dict[str, Any]:
    """What the kernel reads of x: its taps; or whole windows, where no gaps lie between the taps or rows must be prepared."""
    batch, count, taps = (sizes[name] for name in ("batch", "count", "taps"))
    long, gapless = taps * n_in, taps == 1 or sizes["x_tap"] == n_in
    if not low.row_words(attrs["precision"], long):
        joined = {"taps": 1, "x_tap": 0, "n_in": long} if gapless else {"n_in": n_in}
        return {**sizes, "x": x, "x_start": start, **joined}
    rows = Rows(x, batch, count, long, start, sizes["x_batch"], sizes["x_row"])
    if not gapless:
        gathered = low.scratch((batch, count, taps, n_in))
        strides = [sizes[name] for name in ("x_batch", "x_row", "x_tap")]
        copy(low, x, gathered, gathered.shape, [*strides, 1], dense_strides(gathered.shape), start)
        rows = dense_rows(gathered, batch * count, long)
    ready, stride = prepared(low, attrs, with_factors(low, rows, factor))
    return {"x": ready, "x_start": 0, "batch": 1, "count": batch * count, "taps": 1, "x_batch": 0, "x_row": stride, "x_tap": 0,
            "n_in": long}


def _window(attrs: Mapping[str, Any], steps: int, taps: int) -> Window:
    return window_of(steps, (taps - 1) * attrs["dilation"] + 1, attrs["stride"], attrs["padding"], attrs["pads"])


def _pointwise(attrs: Mapping[str, Any], taps: int) -> bool:
    return taps == attrs["stride"] == 1 and not any(attrs["pads"])


OPS = (Conv1d(),)
