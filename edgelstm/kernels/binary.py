"""Arithmetic on two operands: add, sub, mul, div, minimum, maximum, prelu, mod, fmod and pow; float32 and int64.

Integer division truncates toward zero and gives 0 where the divisor is 0; overflow wraps.
"""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels import power
from edgelstm.kernels.broadcast import declare_scalar, declare_vector

Formula = Callable[..., Any]


def _maximum(v: Any) -> Formula:
    larger, select, equal = v.max, v.select, v.equal

    def maximum(a, b):
        """The larger one, NaN where either is NaN."""
        return select(equal(a, a), larger(a, b), a)

    return maximum


def _minimum(v: Any) -> Formula:
    smaller, select, equal = v.min, v.select, v.equal

    def minimum(a, b):
        """The smaller one, NaN where either is NaN."""
        return select(equal(a, a), smaller(a, b), a)

    return minimum


def _prelu(v: Any) -> Formula:
    select, less = v.select, v.less

    def prelu(x, slope):
        """slope * x where x < 0, else x."""
        return select(less(x, 0.0), slope * x, x)

    return prelu


def _quotient(v: Any) -> Formula:
    def quotient(a, b):
        """a / b for integers, truncated toward zero; b = -1 is apart because the least integer has no opposite."""
        if b == 0:
            return 0
        if b == -1:
            return -a
        floor = a // b
        return floor + 1 if floor < 0 and floor * b != a else floor

    return quotient


def _modulo(v: Any) -> Formula:
    def modulo(a, b):
        """The remainder of integers with the sign of b."""
        if b == 0 or b == -1:
            return 0
        return a - a // b * b

    return modulo


def _remainder(v: Any) -> Formula:
    quotient = v.inline(_quotient(v))

    def remainder(a, b):
        """The remainder of integers with the sign of a."""
        return 0 if b == 0 else a - quotient(a, b) * b

    return remainder


_VECTOR: dict[str, Callable[[Any], Formula]] = {
    "add": lambda v: lambda a, b: a + b,
    "sub": lambda v: lambda a, b: a - b,
    "mul": lambda v: lambda a, b: a * b,
    "div": lambda v: lambda a, b: a / b,
    "minimum": _minimum,
    "maximum": _maximum,
    "prelu": _prelu,
}
_INTEGER: dict[str, Callable[[Any], Formula]] = {
    "add": lambda v: lambda a, b: a + b,
    "sub": lambda v: lambda a, b: a - b,
    "mul": lambda v: lambda a, b: a * b,
    "div": _quotient,
    "minimum": lambda v: lambda a, b: a if a < b else b,
    "maximum": lambda v: lambda a, b: a if a > b else b,
    "mod": _modulo,
    "fmod": _remainder,
    "pow": power.integer_power,
}
_FLOAT: dict[str, Callable[[Any], Formula]] = {
    "mod": power.modulo,
    "fmod": power.remainder,
    "pow": power.float_power,
}

for _name, _formula in _VECTOR.items():
    declare_vector(f"{_name}_f32", _formula)
for _name, _formula in _FLOAT.items():
    declare_scalar(f"{_name}_f32", ("f32*", "f32*", "f32*"), _formula)
for _name, _formula in _INTEGER.items():
    declare_scalar(f"{_name}_i64", ("i64*", "i64*", "i64*"), _formula)
