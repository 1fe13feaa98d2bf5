"""The op that turns an index into a vector with a single one: one_hot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.gather import check_indices, clamped_indices, product
from edgelstm.ops.op import Attr, Case, Fact, Op, normal_axis
from edgelstm.ops.strided import fill


class OneHot(Op):
    """indices (...) -> float32 with a new axis of length `depth` at `axis`: `on` at the index, `off` elsewhere.

    A negative index counts from the end; out of range gives `off` everywhere.
    """

    name = "one_hot"
    inputs = ("indices",)
    attrs = {"depth": Attr("int"), "axis": Attr("int", -1), "on": Attr("float", 1.0), "off": Attr("float", 0.0)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_indices(ins[0], ("int64", "int32", "float32"))
        if attrs["depth"] < 1:
            raise ShapeError(f"its depth is {attrs['depth']}; at least 1 is supported")
        axis = normal_axis(attrs["axis"], ins[0].rank + 1)
        return [Fact((*ins[0].shape[:axis], attrs["depth"], *ins[0].shape[axis:]), "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        depth, indices = attrs["depth"], ins[0].astype(np.int64)
        hot = np.where(indices < 0, indices + depth, indices)[..., None] == np.arange(depth)
        return [np.moveaxis(np.where(hot, attrs["on"], attrs["off"]), -1, attrs["axis"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        (indices,), y, depth = ins, outs[0], attrs["depth"]
        axis = normal_axis(attrs["axis"], len(y.shape))
        outer, inner = product(indices.shape[:axis]), product(indices.shape[axis:])
        if not outer * inner:
            return
        fill(low, y, attrs["off"])
        rows = clamped_indices(low, indices, depth, wrap=depth, outside=1)
        low.call("one_hot", indices=rows, y=y, outer=outer, depth=depth, inner=inner, on=attrs["on"])

    def cases(self) -> Iterable[Case]:
        tokens = np.array([[0, 4, -1], [2, 7, -9]], np.int64)
        yield Case("last", [tokens], {"depth": 5})
        yield Case("middle", [tokens], {"depth": 33, "axis": 1, "on": 0.5, "off": -0.25})
        yield Case("floats", [tokens.astype(np.float32)], {"depth": 5, "axis": 0})
        yield Case("one", [np.zeros(1, np.int32)], {"depth": 1})
        yield Case("empty", [tokens[:0]], {"depth": 3})


OPS = (OneHot(),)
