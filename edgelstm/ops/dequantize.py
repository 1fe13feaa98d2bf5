"""dequantize: integers in steps of a fixed scale to float32, where an integer-only model ends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.integer_formulas import KINDS, check_scale
from edgelstm.ops.op import Attr, Case, Fact, Op
from edgelstm.ops.pointwise import check_dtype, elements


class Dequantize(Op):
    """y = x * scale, the product of two float32 numbers."""

    name = "dequantize"
    narrow = ("*",)
    attrs = {"scale": Attr("float")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("x", ins[0].dtype, tuple(KINDS))
        check_scale("scale", attrs["scale"])
        return [Fact(ins[0].shape, "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return [(ins[0].astype(np.float32) * np.float32(attrs["scale"])).astype(np.float64)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        low.call(f"integer_border_dequantize_{KINDS[ins[0].dtype]}", x=ins[0], y=outs[0], n=elements(ins[0].shape),
                 scale=attrs["scale"])

    def cases(self) -> Iterable[Case]:
        for dtype in KINDS:
            whole = np.arange(-128, 128).reshape(16, 16).astype(dtype)
            for shown in (whole, whole[:0], whole[3, 3]):
                yield Case(f"{dtype} {np.shape(shown)}", [np.asarray(shown)], {"scale": 0.037}, 0, 0)


OPS = (Dequantize(),)
