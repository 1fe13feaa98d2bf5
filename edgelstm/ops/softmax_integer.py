"""softmax_integer: softmax over the last axis, in integers alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.integer_formulas import BOUNDS, KINDS, ONE, SUM_FRACTION
from edgelstm.ops.op import Attr, Case, Fact, Op
from edgelstm.ops.pointwise import check_dtype

_STEP_BITS = 4  # the table has 16 steps to 1
_SHIFT = SUM_FRACTION - _STEP_BITS
EXP_TABLE = np.rint(ONE * np.exp(-np.arange(257) / (1 << _STEP_BITS))).astype(np.uint16)


class SoftmaxInteger(Op):
    """x int8 or int16 in steps of x_scale -> y int16 in Q15, along the last axis.

    d = min(rescale(max x - x), 16 - 2**-12) in Q12; e = E[i] - (((E[i] - E[i + 1]) f + 128) >> 8) with i = d >> 8, f = d & 255
    and E[i] = exp(-i / 16) rounded to Q15, i = 0 .. 256; y = floor((e 2**15 + floor(sum / 2)) / sum) with the sum of all e,
    limited to 32767. See integer_formulas.
    """

    name = "softmax_integer"
    narrow = ("*",)
    attrs = {"x_scale": Attr("float")}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x = ins[0]
        check_dtype("x", x.dtype, tuple(KINDS))
        formulas.check_scale("x_scale", attrs["x_scale"])
        if not x.rank or x.shape[-1] >= formulas.MOST_INPUTS:
            raise ShapeError(f"x has the shape {list(x.shape)}; a last axis of fewer than {formulas.MOST_INPUTS} is supported")
        return [Fact(x.shape, "int16")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x = ins[0].astype(np.int64)
        if not x.size:
            return [x.astype(np.int16)]
        below = formulas.rescaled(x.max(axis=-1, keepdims=True) - x, _word(attrs, str(ins[0].dtype)))
        d, table = np.minimum(below, (256 << _SHIFT) - 1), EXP_TABLE.astype(np.int64)
        i, f = d >> _SHIFT, d & ((1 << _SHIFT) - 1)
        e = table[i] - ((table[i] - table[i + 1]) * f + (1 << _SHIFT - 1) >> _SHIFT)
        total = e.sum(axis=-1, keepdims=True)
        return [np.minimum((e * ONE + total // 2) // total, ONE - 1).astype(np.int16)]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, ins[0].rank - 1)]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, n = ins[0], ins[0].shape[-1]
        low.call(f"integer_softmax_{KINDS[x.dtype]}", x=x, y=outs[0], rows=int(np.prod(x.shape[:-1], dtype=np.int64)), n=n,
                 word=_word(attrs, x.dtype), table=low.constant("exp", lambda: EXP_TABLE))

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(13)
        for dtype, bound in BOUNDS.items():
            for shape in ((1,), (3, 2), (2, 3, 17), (1, 1000), (0, 5), (3, 0)):
                for largest in (0.1, 6.0, 90.0):
                    x = rng.integers(-bound, bound, shape).astype(dtype)
                    yield Case(f"{dtype} {shape} {largest}", [x], {"x_scale": largest / bound}, 0, 0)


def _word(attrs: Mapping[str, Any], source: str) -> int:
    """The word that takes differences of inputs to Q12; steps beyond what 32 bits hold count as that."""
    bound = 2 * BOUNDS[source]
    return int(formulas.rescale_words(min(attrs["x_scale"] * 2.0**SUM_FRACTION, 2.0**27 / bound), bound))


OPS = (SoftmaxInteger(),)
