"""dense_integer: y = activation(x W + b) over the last axis, in integers alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.integer_formulas import KINDS, LIMITS, ONE
from edgelstm.ops.op import Attr, Case, Fact, Op
from edgelstm.ops.stored import known

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")  # in the order of their numbers in the kernel
EXTRA_BITS = {"int8": 6, "int16": 0}  # after the point of a linear output while the bias is added


class DenseInteger(Op):
    """x (..., F) int8 in steps of x_scale, W (F, N) int8, W_scale (N,), b (N,) float32 -> y (..., N) in steps of y_scale.

    linear, relu: y = (s + 32) >> 6 with the sum s in steps of y_scale / 64, and y = s in steps of y_scale for an int16 y; relu
    makes that 0 where it is negative. sigmoid, tanh: y = rescale(f(s)) with the sum s in Q12. All are limited to -127 .. 127,
    or to -32767 .. 32767; see integer_formulas.
    """

    name = "dense_integer"
    narrow = ("*",)
    inputs = ("x", "W", "W_scale", "b?")
    parameters = ("W", "W_scale", "b")
    attrs = {"x_scale": Attr("float"), "y_scale": Attr("float"), "activation": Attr("str", "linear", ACTIVATIONS),
             "dtype": Attr("str", "int8", tuple(KINDS))}

    def weight_shapes(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        return {"W": ins[1].shape}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, W, scale, b = ins
        if (x.dtype, W.dtype) != ("int8", "int8") or x.rank < 1 or W.rank != 2 or x.shape[-1] != W.shape[0]:
            raise ShapeError(f"x {x.dtype}{list(x.shape)} does not fit the weights {W.dtype}{list(W.shape)}; int8 is needed")
        for role, fact in (("the scale of W", scale), ("b", b)):
            if fact is not None and (fact.shape, fact.dtype) != (W.shape[1:], "float32"):
                raise ShapeError(f"{role} is {fact.dtype}{list(fact.shape)}, expected float32{list(W.shape[1:])}")
        formulas.check_inputs(W.shape[0])
        for name in ("x_scale", "y_scale"):
            formulas.check_scale(name, attrs[name])
        return [Fact((*x.shape[:-1], W.shape[1]), attrs["dtype"])]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, W, scale, b = ins
        words, bias = _terms(attrs, W, scale, b)
        total = formulas.rescaled(x.astype(np.int64) @ W.astype(np.int64), words) + bias
        name = attrs["activation"]
        if name in ("sigmoid", "tanh"):
            y = formulas.rescaled(getattr(formulas, name)(total), _y_word(attrs))
        else:
            y = formulas.rounded_shift(total, EXTRA_BITS[attrs["dtype"]])
            y = np.maximum(y, 0) if name == "relu" else y
        return [formulas.saturated(y, LIMITS[attrs["dtype"]]).astype(attrs["dtype"])]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(0, ins[0].rank - 1)]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x = ins[0]
        W, scale, b = (None if value is None else known(self.name, name, value)
                       for name, value in zip(self.parameters, ins[1:], strict=True))
        n_in, n_out = W.shape
        columns = low.constant("columns", lambda: np.ascontiguousarray(np.stack(_terms(attrs, W, scale, b), axis=1), np.int32))
        dtype = attrs["dtype"]
        low.call(f"integer_dense_{KINDS[dtype]}", x=x, w=low.constant("W", lambda: np.ascontiguousarray(W.T)),
                 columns=columns, y=outs[0], rows=int(np.prod(x.shape[:-1], dtype=np.int64)), n_in=n_in, n_out=n_out,
                 extra=EXTRA_BITS[dtype], limit=LIMITS[dtype], activation=ACTIVATIONS.index(attrs["activation"]),
                 y_word=_y_word(attrs), table=low.constant("tanh", lambda: formulas.TANH_TABLE))

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(7)
        for rows, n_in, n_out in ((1, 1, 1), (3, 5, 17), (7, 33, 65), (1, 128, 33), (0, 4, 3)):
            for activation in ACTIVATIONS:
                x, W = (rng.integers(-127, 128, shape).astype(np.int8) for shape in ((rows, n_in), (n_in, n_out)))
                scale = (rng.uniform(0.3, 1, n_out) / 127).astype(np.float32)
                b = rng.standard_normal(n_out).astype(np.float32) if rows % 2 else None
                for dtype, y_scale in (("int8", 1 / 127), ("int16", 1 / ONE)):
                    attrs = {"activation": activation, "dtype": dtype, "x_scale": 0.02,
                             "y_scale": y_scale * (6 if activation in ("linear", "relu") else 1)}
                    yield Case(f"{rows}x{n_in}x{n_out} {activation} {dtype}", [x, W, scale, b], attrs, 0, 0)
        x, W = rng.integers(-128, 128, (2, 5, 8)).astype(np.int8), rng.integers(-127, 128, (8, 3)).astype(np.int8)
        yield Case("sequence", [x, W, np.full(3, 1e-4, np.float32), None], {"x_scale": 1.0, "y_scale": 1.0}, 0, 0)


def _terms(attrs: Mapping[str, Any], W: np.ndarray, scale: np.ndarray, b: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each: the words that take sums of products to the steps of the sum, and the bias in these steps."""
    linear = attrs["activation"] in ("linear", "relu")
    to_steps = 2.0**EXTRA_BITS[attrs["dtype"]] / attrs["y_scale"] if linear else 2.0**formulas.SUM_FRACTION
    wide = scale.astype(np.float64)
    words = formulas.rescale_words(attrs["x_scale"] * wide * to_steps, formulas.sum_bounds(W))
    bias = np.zeros(W.shape[1]) if b is None else b.astype(np.float64) * to_steps
    return words.astype(np.int64), formulas.fixed(bias, 0)


def _y_word(attrs: Mapping[str, Any]) -> int:
    """The word that takes what sigmoid and tanh give to steps of y_scale."""
    return int(formulas.rescale_words(1 / ONE / attrs["y_scale"], ONE))


OPS = (DenseInteger(),)
