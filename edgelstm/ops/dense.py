"""Dense: y = x W + b over the last axis."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.op import Case, Fact, Op


class Dense(Op):
    """x (..., F), W (F, N) constant, b (N,) -> y (..., N)."""

    name = "dense"
    inputs = ("x", "W", "b?")
    parameters = ("W", "b")

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, W, b = ins
        if x.rank < 1 or W.rank != 2 or x.shape[-1] != W.shape[0]:
            raise ShapeError(f"x {x.shape} does not fit the weights {W.shape}: the last axis must have {W.shape[:1]} elements")
        if b is not None and b.shape != W.shape[1:]:
            raise ShapeError(f"the bias has the shape {b.shape}, expected {W.shape[1:]}")
        return [Fact((*x.shape[:-1], W.shape[1]), "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, W, b = ins
        return [x @ W if b is None else x @ W + b]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, ins[0].rank - 1)]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, W, b = ins
        if W.value is None or (b is not None and b.value is None):
            raise UnsupportedError("a dense layer whose weights are computed from an input; use matmul")
        n_in, n_out = W.shape
        vectors = panel_vectors(n_out, low.lanes)
        bias = None if b is None else low.panels("b", b.value[None], 1, vectors)
        rows = int(np.prod(x.shape[:-1], dtype=np.int64))
        low.call(f"gemm{vectors}", x=x, w=low.panels("W", W.value, 1, vectors), bias=bias, y=outs[0], rows=rows,
                 n_in=n_in, n_out=n_out, x_stride=n_in, y_stride=n_out)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(7)
        for rows, n_in, n_out in ((1, 1, 1), (3, 5, 17), (7, 33, 65), (1, 128, 257), (0, 4, 3)):
            for bias in (True, False):
                x, W = rng.standard_normal((rows, n_in)), rng.standard_normal((n_in, n_out)) / np.sqrt(n_in)
                b = rng.standard_normal(n_out).astype(np.float32) if bias else None
                yield Case(f"{rows}x{n_in}x{n_out}{'_bias' * bias}", [x.astype(np.float32), W.astype(np.float32), b])
        yield Case("sequence", [rng.standard_normal((2, 5, 8)).astype(np.float32),
                                rng.standard_normal((8, 3)).astype(np.float32), None])


def panel_vectors(n_out: int, lanes: int) -> int:
    """Vectors per weight panel (1, 3 or 4) that leave the fewest padded columns, the widest of equals."""
    return min((4, 3, 1), key=lambda vectors: -(-n_out // (vectors * lanes)) * vectors)


OPS = (Dense(),)
