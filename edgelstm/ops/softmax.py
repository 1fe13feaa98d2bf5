"""softmax and log_softmax along one axis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.op import Attr, Case, Fact, Lowering, Op, normal_axis
from edgelstm.ops.pointwise import FLOAT, check_dtype
from edgelstm.ops.reduce import split_at

CASES = (((1,), -1), ((5, 17), -1), ((3, 33), -1), ((2, 65), -1), ((5, 17), 0), ((3, 4, 35), 1), ((2, 1000), -1))


class Softmax(Op):
    """y = f of the numbers along `axis`, which only count relative to their maximum. A row of -inf alone gives NaN."""

    attrs = {"axis": Attr("int", -1)}

    def __init__(self, name: str, formula: Callable[[np.ndarray, int], np.ndarray]) -> None:
        self.name, self.formula = name, formula

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        check_dtype("x", ins[0].dtype, FLOAT)
        normal_axis(attrs["axis"], ins[0].rank)
        return [Fact(ins[0].shape, "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x = ins[0]
        return [self.formula(np.atleast_1d(x), attrs["axis"]).reshape(x.shape) if x.size else x]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, normal_axis(attrs["axis"], ins[0].rank))] if ins[0].rank else []

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        outer, n, inner = split_at(ins[0].shape, normal_axis(attrs["axis"], len(ins[0].shape)))
        low.call(f"{self.name}_f32", x=ins[0], y=outs[0], outer=outer, n=n, inner=inner)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(23)
        for shape, axis in CASES:
            yield Case(f"{shape} along {axis}", [(4 * rng.normal(size=shape)).astype("float32")], {"axis": axis})
        inf, nan = np.inf, np.nan
        rows = [[1, -inf, 2], [-inf, -inf, -inf], [nan, 0, 1], [inf, 0, 1], [300, 300, -300]]
        yield Case("special rows", [np.array(rows, "float32")])
        yield Case("special columns", [np.array(rows, "float32").T.copy()], {"axis": 0})


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) / sum exp(x)."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """x - log(sum exp(x))."""
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


OPS = (Softmax("softmax", softmax), Softmax("log_softmax", log_softmax))
