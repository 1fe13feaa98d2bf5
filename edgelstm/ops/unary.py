"""Functions of one number: identity, abs, neg, sign, square, roots, exp, log, reciprocal, rounding, sin, cos, erf."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.ops.binary import combine
from edgelstm.ops.formulas import erf
from edgelstm.ops.op import NARROW, Lowering
from edgelstm.ops.pointwise import ANY, SIGNED, Unary, constant


class Identity(Unary):
    """y = x, of any dtype."""

    narrow = ("*",)

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        low.alias(outs[0], ins[0])


class Abs(Unary):
    """y = |x|."""

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        negative = low.scratch(x.shape, "int64")
        combine(low, "sub", constant(low, 0, "int64"), x, negative)
        combine(low, "maximum", x, negative, y)


class Neg(Unary):
    """y = -x."""

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        combine(low, "sub", constant(low, 0, "int64"), x, y)


class Square(Unary):
    """y = x * x."""

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        combine(low, "mul", x, x, y)


class Sign(Unary):
    """y = 1, 0 or -1, as x is positive, zero or negative."""

    def lower_int64(self, low: Lowering, attrs: Mapping[str, Any], x: Any, y: Any) -> None:
        above = low.scratch(x.shape, "int64")
        combine(low, "maximum", x, constant(low, -1, "int64"), above)
        combine(low, "minimum", above, constant(low, 1, "int64"), y)


POSITIVE = (1e-3, 50.0)
OPS = (
    Identity("identity", np.asarray, dtypes=(*ANY, *NARROW)),
    Abs("abs", np.abs, dtypes=SIGNED),
    Neg("neg", np.negative, dtypes=SIGNED),
    Square("square", np.square, dtypes=SIGNED),
    Sign("sign", np.sign, dtypes=SIGNED),
    Unary("sqrt", np.sqrt, spread=POSITIVE),
    Unary("rsqrt", lambda x: 1 / np.sqrt(x), spread=POSITIVE),
    Unary("exp", np.exp),
    Unary("log", np.log, spread=POSITIVE),
    Unary("reciprocal", lambda x: 1 / x, spread=POSITIVE),
    Unary("floor", np.floor),
    Unary("ceil", np.ceil),
    Unary("round", np.rint),  # halves go to the even neighbour
    Unary("sin", np.sin, spread=(-100.0, 100.0)),
    Unary("cos", np.cos, spread=(-100.0, 100.0)),
    Unary("erf", erf, spread=(-4.0, 4.0)),
)
