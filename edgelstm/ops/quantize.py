"""quantize: float32 to integers in steps of a fixed scale, where an integer-only model begins."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.integer_formulas import KINDS, LIMITS, check_scale
from edgelstm.ops.op import Attr, Case, Fact, Op
from edgelstm.ops.pointwise import SPECIAL, check_dtype, elements


class Quantize(Op):
    """y = x / scale, rounded to nearest with halves away from zero and limited to -127 .. 127 (int16: 32767); NaN becomes 0.

    Exactly: the float32 product of x and the float32 nearest to 1 / scale, limited, then 0.5 added away from zero in float32,
    and the fraction dropped.
    """

    name = "quantize"
    attrs = {"scale": Attr("float"), "dtype": Attr("str", "int8", tuple(KINDS))}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("x", ins[0].dtype, ("float32",))
        check_scale("scale", attrs["scale"])
        if not np.isfinite(_inverse(attrs)):
            raise ShapeError(f"scale is {attrs['scale']}, too small for float32")
        return [Fact(ins[0].shape, attrs["dtype"])]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        limit = np.float32(LIMITS[attrs["dtype"]])
        value = np.asarray(ins[0]).astype(np.float32) * _inverse(attrs)
        value = np.clip(np.where(np.isnan(value), np.float32(0), value), -limit, limit)
        return [np.trunc(value + np.where(value >= 0, np.float32(0.5), np.float32(-0.5))).astype(attrs["dtype"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        dtype = attrs["dtype"]
        low.call(f"integer_border_quantize_{KINDS[dtype]}", x=ins[0], y=outs[0], n=elements(ins[0].shape),
                 inverse=_inverse(attrs), limit=LIMITS[dtype])

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(3)
        for dtype in KINDS:
            for shape in ((1,), (5, 17), (0,), ()):
                x = np.asarray(rng.normal(0, 40, shape), np.float32)
                yield Case(f"{dtype} {shape}", [x], {"scale": 0.7, "dtype": dtype}, 0, 0)
            halves = np.concatenate([np.arange(-300, 300, dtype=np.float32) / 2, np.array(SPECIAL, np.float32)])
            yield Case(f"{dtype} halves and special", [halves], {"scale": 1.0, "dtype": dtype}, 0, 0)


def _inverse(attrs: Mapping[str, Any]) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(1 / attrs["scale"])


OPS = (Quantize(),)
