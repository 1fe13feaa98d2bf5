"""Windows over one axis that keep the largest value or the mean: max_pool1d and avg_pool1d."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, carries_time
from edgelstm.ops.window import Window, window_of

_WINDOW = {"size": Attr("int"), "stride": Attr("int"), "padding": Attr("str", "valid", ("valid", "same", "explicit")),
           "pads": Attr("ints", (0, 0)), "ceil_mode": Attr("bool", False)}


class _Pool(Op):
    """Base: x (B, T, C) -> y (B, T', C); padding never counts as a value, except with `count_include_pad`."""

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x = ins[0]
        if x.rank != 3 or x.dtype != "float32":
            raise ShapeError(f"it pools {x.dtype}{list(x.shape)}; float32 (batch, time, channels) is supported")
        return [Fact((x.shape[0], _window(attrs, x.shape[1]).count, x.shape[2]), "float32")]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [] if _trivial(attrs) else [(0, 1)]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        if not _trivial(attrs) and carries_time(ins[0], 1, time):
            raise NeedsFuture(f"it pools {attrs['size']} time steps, one for every {attrs['stride']}")
        return {}

    def _call(self, low: Any, attrs: Mapping[str, Any], x: Any, y: Any, **params: int) -> None:
        batch, count, channels = y.shape
        if batch * count * channels:
            low.call(self.name, x=x, y=y, batch=batch, steps=x.shape[1], channels=channels, count=count,
                     size=attrs["size"], stride=attrs["stride"], left=_window(attrs, x.shape[1]).left, **params)

    def cases(self) -> Iterable[Case]:
        x = np.random.default_rng(7).standard_normal((3, 17, 33)).astype(np.float32)
        yield Case("one", [x[:1, :1, :1]], {"size": 1, "stride": 1})
        yield Case("halves", [x], {"size": 2, "stride": 2})
        yield Case("overlapping", [x], {"size": 5, "stride": 2})
        yield Case("same", [x], {"size": 4, "stride": 3, "padding": "same"})
        yield Case("explicit", [x], {"size": 3, "stride": 2, "padding": "explicit", "pads": (1, 1)})
        yield Case("ceil", [x], {"size": 4, "stride": 4, "ceil_mode": True})
        yield Case("gaps", [x], {"size": 2, "stride": 5})
        yield Case("empty", [x[:0]], {"size": 2, "stride": 2})


class MaxPool1d(_Pool):
    """y[b,t,c] = max of x[b, t*stride-left .. +size-1, c] inside the sequence; not a number wins."""

    name = "max_pool1d"
    attrs = _WINDOW

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        parts = [ins[0][:, first:end].max(axis=1) for first, end, _ in _spans(attrs, ins[0].shape[1])]
        return [np.stack(parts, axis=1) if parts else ins[0][:, :0]]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        self._call(low, attrs, ins[0], outs[0])


class AvgPool1d(_Pool):
    """y[b,t,c] = mean of x[b, t*stride-left .. +size-1, c] inside the sequence, or with zeros for its padding."""

    name = "avg_pool1d"
    attrs = {**_WINDOW, "count_include_pad": Attr("bool", False)}

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        spans = _spans(attrs, ins[0].shape[1])
        parts = [ins[0][:, first:end].sum(axis=1) / (padded if attrs["count_include_pad"] else end - first)
                 for first, end, padded in spans]
        return [np.stack(parts, axis=1) if parts else ins[0][:, :0]]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        self._call(low, attrs, ins[0], outs[0], right=_window(attrs, ins[0].shape[1]).right,
                   include_pad=int(attrs["count_include_pad"]))

    def cases(self) -> Iterable[Case]:
        yield from super().cases()
        x = np.random.default_rng(8).standard_normal((2, 17, 5)).astype(np.float32)
        padded = {"size": 4, "stride": 3, "padding": "explicit", "pads": (2, 1), "count_include_pad": True}
        yield Case("with padding", [x], padded)
        yield Case("with padding, ceil", [x], {**padded, "ceil_mode": True})


def _window(attrs: Mapping[str, Any], steps: int) -> Window:
    return window_of(steps, attrs["size"], attrs["stride"], attrs["padding"], attrs["pads"], attrs["ceil_mode"])


def _trivial(attrs: Mapping[str, Any]) -> bool:
    return attrs["size"] == attrs["stride"] == 1 and not (attrs["padding"] == "explicit" and any(attrs["pads"]))


def _spans(attrs: Mapping[str, Any], steps: int) -> list[tuple[int, int, int]]:
    """(first step, end, number of steps counting padding) of every window."""
    window = _window(attrs, steps)
    starts = [i * attrs["stride"] - window.left for i in range(window.count)]
    ends = [start + attrs["size"] for start in starts]
    return [(max(start, 0), min(end, steps), min(end, steps + window.right) - start)
            for start, end in zip(starts, ends, strict=True)]


OPS = (MaxPool1d(), AvgPool1d())
