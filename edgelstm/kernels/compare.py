"""Truth values, stored as bytes 0 and 1: comparisons, and, or, xor, not, is_nan, and the choice `where`."""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels.broadcast import AXES_THREE, declare_scalar
from edgelstm.kernels.declare import kernel, of_numbers

Formula = Callable[..., Any]

_COMPARISONS: dict[str, Formula] = {
    "equal": lambda a, b: 1 if a == b else 0,
    "not_equal": lambda a, b: 1 if a != b else 0,
    "less": lambda a, b: 1 if a < b else 0,
    "less_equal": lambda a, b: 1 if a <= b else 0,
    "greater": lambda a, b: 1 if a > b else 0,
    "greater_equal": lambda a, b: 1 if a >= b else 0,
}
_LOGIC: dict[str, Formula] = {
    "and": lambda a, b: 1 if a != 0 and b != 0 else 0,
    "or": lambda a, b: 1 if a != 0 or b != 0 else 0,
    "xor": lambda a, b: 1 if (a != 0) != (b != 0) else 0,
}


def _constant(formula: Formula) -> Callable[[Any], Formula]:
    return lambda v: formula


for _name, _formula in _COMPARISONS.items():
    for _tag in ("f32", "i64"):
        declare_scalar(f"{_name}_{_tag}", (f"{_tag}*", f"{_tag}*", "u8*"), _constant(_formula))
for _name, _formula in _LOGIC.items():
    declare_scalar(f"{_name}_u8", ("u8*", "u8*", "u8*"), _constant(_formula))


of_numbers("not_u8", "x:u8* y:u8* n:int", _constant(lambda x: 1 if x == 0 else 0))
of_numbers("is_nan_f32", "x:f32* y:u8* n:int", _constant(lambda x: 1 if x != x else 0))


def where(v: Any) -> Callable[..., None]:
    """y = a where the condition holds, else b; axes as in `broadcast`, with c0 ... c5 for the condition."""

    def where(condition, a, b, y, d0, d1, d2, d3, d4, d5, c0, c1, c2, c3, c4, c5,
              a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5):
        k = 0
        for i0 in range(d0):
            for i1 in range(d1):
                for i2 in range(d2):
                    for i3 in range(d3):
                        for i4 in range(d4):
                            c = i0 * c0 + i1 * c1 + i2 * c2 + i3 * c3 + i4 * c4
                            i = i0 * a0 + i1 * a1 + i2 * a2 + i3 * a3 + i4 * a4
                            j = i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3 + i4 * b4
                            for m in range(d5):
                                if condition[c + m * c5] != 0:
                                    y[k] = a[i + m * a5]
                                else:
                                    y[k] = b[j + m * b5]
                                k += 1

    return where


for _tag in ("f32", "i64", "i32", "u8"):
    kernel(f"where_{_tag}", f"condition:u8* a:{_tag}* b:{_tag}* y:{_tag}* {AXES_THREE}",
           lambda v: lambda condition, a, b: a if condition != 0 else b, numbers=True)(where)
