"""The op that turns sequence lengths into a mask: sequence_mask."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.gather import clamped_indices
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot, normal_axis


class SequenceMask(Op):
    """y[b,t] = t < lengths[b], bool (B, T); lengths (B,), T the length of x along `time_axis`.

    Only the shape of x is read.
    """

    name = "sequence_mask"
    inputs = ("lengths", "x")
    attrs = {"time_axis": Attr("int", 1)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        lengths, x = ins
        axis = normal_axis(attrs["time_axis"], x.rank)
        if lengths.rank != 1 or lengths.dtype not in ("int64", "int32", "float32") or not x.rank:
            raise ShapeError(f"its lengths are {lengths.dtype}{list(lengths.shape)} for x {list(x.shape)}; "
                             "one number per batch item is supported")
        return [Fact((lengths.shape[0], x.shape[axis]), "bool")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        lengths, x = ins
        return [np.arange(x.shape[attrs["time_axis"]]) < lengths[:, None]]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(1, normal_axis(attrs["time_axis"], ins[1].rank))]

    def stream(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact],
               time: int) -> dict[str, StateSlot]:
        if any(n and n % time == 0 for n in outs[0].shape):
            raise NeedsFuture("it masks by sequence lengths, and the steps of a stream have none")
        return {}

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        lengths, (batch, steps) = ins[0], outs[0].shape
        if batch * steps:
            ends = clamped_indices(low, lengths, steps, wrap=0, outside=1)
            low.call("sequence_mask", lengths=ends, y=outs[0], batch=batch, steps=steps)

    def cases(self) -> Iterable[Case]:
        x = np.zeros((5, 33, 2), np.float32)
        lengths = np.array([0, 1, 33, 17, 40], np.int64)
        yield Case("int64", [lengths, x])
        yield Case("int32", [lengths.astype(np.int32), x])
        yield Case("float32", [lengths.astype(np.float32), x])
        yield Case("time first", [lengths[:2], x], {"time_axis": 0})
        yield Case("empty", [lengths, x[:, :0]])


OPS = (SequenceMask(),)
