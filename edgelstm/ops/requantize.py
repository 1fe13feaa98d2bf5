"""requantize: integers in steps of one scale to integers in steps of another, in integers alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.integer_formulas import BOUNDS, KINDS, LIMITS
from edgelstm.ops.op import Attr, Case, Fact, Op
from edgelstm.ops.pointwise import check_dtype, elements


class Requantize(Op):
    """y = rescale(x) by x_scale / y_scale, limited to -127 .. 127 (int16: 32767); see integer_formulas."""

    name = "requantize"
    narrow = ("*",)
    attrs = {"x_scale": Attr("float"), "y_scale": Attr("float"), "dtype": Attr("str", "int8", tuple(KINDS))}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("x", ins[0].dtype, tuple(KINDS))
        for name in ("x_scale", "y_scale"):
            formulas.check_scale(name, attrs[name])
        return [Fact(ins[0].shape, attrs["dtype"])]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        (x,), dtype = ins, attrs["dtype"]
        return [formulas.saturated(formulas.rescaled(x, _word(attrs, str(x.dtype))), LIMITS[dtype]).astype(dtype)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, dtype = ins[0], attrs["dtype"]
        low.call(f"integer_requantize_{KINDS[x.dtype]}_{KINDS[dtype]}", x=x, y=outs[0], n=elements(x.shape),
                 word=_word(attrs, x.dtype), limit=LIMITS[dtype])

    def cases(self) -> Iterable[Case]:
        for source in KINDS:
            ends = np.arange(-BOUNDS[source], BOUNDS[source], BOUNDS[source] // 128).astype(source)
            for target in KINDS:
                for factor in (1.0, 0.3, 7.7, 1e-3):
                    attrs = {"x_scale": factor, "y_scale": 1.0, "dtype": target}
                    yield Case(f"{source} {factor} {target}", [ends], attrs, 0, 0)


def _word(attrs: Mapping[str, Any], source: str) -> int:
    return int(formulas.rescale_words(attrs["x_scale"] / attrs["y_scale"], BOUNDS[source]))


OPS = (Requantize(),)
