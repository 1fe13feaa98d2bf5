"""Dense: y = x W + b over the last axis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.op import Case, Fact, Noise, Op
from edgelstm.ops.pointwise import FLOAT, check_dtype
from edgelstm.ops.rows import dense_rows, prepared, with_factors
from edgelstm.ops.stored import (
    ACTIVATION_SCALE,
    GROUPED,
    PRECISION,
    Stored,
    check_factor,
    check_grouped,
    check_scales,
    check_stored,
    full_shape,
    rounding,
    stored,
    stored_parts,
    wide,
)


class Dense(Op):
    """x (..., F), W (F, N) constant, b (N,) -> y (..., N)."""

    name = "dense"
    inputs = ("x", "W", "b?", "W_scale?", "W_factor?")
    parameters = ("W", "b", "W_scale", "W_factor")
    narrow = ("W", "W_scale")
    attrs = {"precision": PRECISION, "grouped": GROUPED, "x_scale": ACTIVATION_SCALE}

    def weight_shapes(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        return {"W": full_shape(attrs, ins[1])}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, W, b, scale, factor = ins
        if x.rank < 1 or W.rank != 2 or x.shape[-1:] != (shape := full_shape(attrs, W))[:1]:
            raise ShapeError(f"x {x.shape} does not fit the weights {W.shape}: the last axis must have {W.shape[:1]} elements")
        check_dtype("x", x.dtype, FLOAT)
        check_stored("W", attrs["precision"], W, scale, shape)
        check_grouped(attrs, x.shape[-1])
        check_scales(attrs, "x_scale")
        check_factor(attrs, factor, shape[0])
        if b is not None and (b.shape, b.dtype) != (W.shape[1:], "float32"):
            raise ShapeError(f"the bias is {b.dtype}{list(b.shape)}, expected float32{list(W.shape[1:])}")
        return [Fact((*x.shape[:-1], W.shape[1]), "float32")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        return self._product(attrs, ins, lambda matrix, factor: matrix if factor is None else matrix * factor[:, None])

    def rounded(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None], noise: Noise | None) -> list[np.ndarray]:
        precision, scale = attrs["precision"], attrs["x_scale"]
        return self._product(attrs, ins, lambda matrix, factor: rounding(precision, matrix, scale, noise, factor))

    def _product(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None],
                 by: Callable[[np.ndarray, np.ndarray | None], Any]) -> list[np.ndarray]:
        """x times what `by` makes of the matrix and of the factors of its inputs."""
        x, W, b, scale, factor = ins
        y = x @ by(wide(attrs["precision"], W, scale, full_shape(attrs, W)), factor)
        return [y if b is None else y + b]

    def matrix(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> np.ndarray | Stored:
        """W as `Lowering.panels` takes it. Raises UnsupportedError when it is computed from the model's input."""
        W, scale, factor = stored_parts(self, ins)
        return stored(attrs["precision"], W, scale, full_shape(attrs, ins[1]), factor)

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, ins[0].rank - 1)]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, W, b, _, factor = ins
        if W.value is None or (b is not None and b.value is None):
            raise UnsupportedError("a dense layer whose weights are computed from an input; use matmul")
        n_in, n_out = full_shape(attrs, W)
        vectors = panel_vectors(n_out, low.lanes)
        bias = None if b is None else low.panels("b", b.value[None], 1, vectors)
        rows = int(np.prod(x.shape[:-1], dtype=np.int64))
        ready, stride = prepared(low, attrs, with_factors(low, dense_rows(x, rows, n_in), factor))
        panels = low.panels("W", self.matrix(attrs, ins), 1, vectors)
        low.call(low.kernel(f"gemm{vectors}", attrs["precision"]), x=ready, w=panels, bias=bias, y=outs[0], rows=rows,
                 n_in=n_in, n_out=n_out, x_stride=stride, y_stride=n_out)

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
