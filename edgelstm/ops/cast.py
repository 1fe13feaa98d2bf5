"""cast: the same numbers in another dtype."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.op import ARITHMETIC, Attr, Case, Fact, Lowering, Op
from edgelstm.ops.pointwise import convert

LIMITS = {"int64": (-(2.0**63), 2.0**63), "int32": (-(2.0**31), 2.0**31), "uint8": (0.0, 256.0)}


class Cast(Op):
    """y = x in the dtype `to`.

    A float loses its fraction and stops at the ends of the integer's range; NaN becomes 0. Integers wrap.
    Everything but 0 is true.
    """

    name = "cast"
    attrs = {"to": Attr("str", choices=ARITHMETIC)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        return [Fact(ins[0].shape, attrs["to"])]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, to = ins[0], attrs["to"]
        if to == "float32":
            return [x.astype(np.float64)]
        if x.dtype.kind != "f" or to == "bool":
            return [x.astype(to)]
        return [saturated(x, to)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        if ins[0].dtype == outs[0].dtype or (ins[0].dtype, outs[0].dtype) == ("bool", "uint8"):
            low.alias(outs[0], ins[0])
        else:
            convert(low, ins[0], outs[0])

    def cases(self) -> Iterable[Case]:
        inf, nan = np.inf, np.nan
        floats = np.array([0, -0.0, 0.5, -0.5, 1.9, -1.9, 200, 255, 2e9, -2e9, 1e10, 1e20, -1e20, inf, -inf, nan, 3])
        whole = np.array([0, 1, -1, 255, 256, -257, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 7, 8, 9, 10, 11])
        for to in ARITHMETIC:
            for dtype in ARITHMETIC:
                source = floats if dtype == "float32" else whole
                yield Case(f"{dtype} to {to}", [np.tile(source.astype(dtype), 3)], {"to": to})
                yield Case(f"one {dtype} to {to}", [np.ones((1, 1), dtype)], {"to": to})


def saturated(x: np.ndarray, dtype: str) -> np.ndarray:
    """Floats truncated to an integer dtype; what lies beyond its range becomes its nearest end, NaN becomes 0."""
    lowest, end = LIMITS[dtype]
    info = np.iinfo(dtype)
    inside = (x > lowest - 1) & (x < end)
    whole = np.where(inside, x, 0).astype(dtype)
    return np.where(inside, whole, np.where(x >= end, info.max, np.where(np.isnan(x), 0, info.min))).astype(dtype)


OPS = (Cast(),)
