"""What is known of a call element by element: what kind it is, how many elements it computes, which one it reads for each.

Arguments are a dict by parameter name, whether their arrays are operands of a plan or pointers of a Program.
"""

import re
from collections.abc import Mapping
from functools import cache
from math import prod
from typing import Any, NamedTuple

from edgelstm import kernels

FORMULA, COPY, GATHER, PRODUCT = "formula", "copy", "gather", "product"
AXES = (2, 3, 6)  # of a place, so that few kernels serve all
FLOATS = [f"{kernel}{form}" for kernel in ("gemm1", "gemm3", "gemm4", "lstm_step", "gru_step", "simple_rnn_step")
          for form in ("", "_bfloat16")]  # kernels that multiply rows of floats

_PRODUCT = re.compile(r"(gemm|conv)[134](_\w+)?")
_STRIDES = {"a": "a", "b": "b", "condition": "c"}


class Place(NamedTuple):
    """Element i of a call is at `start` + the offset of i in a box of these lengths, along these strides."""

    start: int
    lengths: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dense(self) -> bool:
        """Whether elements are read one behind the other, from the first on."""
        return not self.lengths and not self.start


@cache
def kind(kernel: str) -> str | None:
    """Whether a kernel computes each element by itself, and how; None where it does not."""
    if kernel in ("copy1", "copy4"):
        return COPY
    if kernel.startswith("gather"):
        return GATHER
    if _PRODUCT.fullmatch(kernel):
        return PRODUCT
    return FORMULA if kernels.described(kernel).formula is not None else None


@cache
def arrays(kernel: str) -> dict[str, str]:
    """The kinds of the arrays of a kernel by parameter name."""
    return {name: kind for name, kind in kernels.get(kernel).params if kind.endswith("*")}


def sources(kernel: str) -> tuple[str, ...]:
    """The parameters that a formula is applied to, in order."""
    return tuple(name for name in arrays(kernel) if name != "y")


def numbers(kernel: str, args: Mapping[str, Any]) -> tuple[float, ...]:
    """What a formula is told besides."""
    if "d0" in args:
        return ()
    params = kernels.get(kernel).params
    return tuple(args[name] for name, kind in params if not kind.endswith("*") and name not in ("n", "count"))


def count(kernel: str, args: Mapping[str, Any]) -> int:
    """How many elements a call computes."""
    if kernel.startswith("copy"):
        return prod(_six(args, "n"))
    if kernel.startswith("gather"):
        return args.get("outer", 1) * args["count"] * width(args)
    if "n_out" in args:
        return args["n_out"] * (args["rows"] if "rows" in args else args["batch"] * args["count"])
    return prod(_six(args, "d")) if "d0" in args else args["n"] if "n" in args else args["count"]


def read(kernel: str, args: Mapping[str, Any], param: str) -> Place:
    """Where a formula or a copy reads an array for each of its elements."""
    if kernel.startswith("copy"):
        return _collapsed(args["x_start"], _six(args, "n"), _six(args, "xs"))
    if "d0" in args:
        return _collapsed(0, _six(args, "d"), _six(args, _STRIDES[param]))
    return Place(0, (), ())


def written(kernel: str, args: Mapping[str, Any]) -> Place:
    """Where a call writes its elements."""
    if kernel.startswith("copy"):
        return _collapsed(args["y_start"], _six(args, "n"), _six(args, "ys"))
    if "n_out" in args and (args.get("y_start", 0) or args.get("y_stride", args.get("y_row")) != args["n_out"]):
        return Place(args.get("y_start", 0), (1,), (args.get("y_stride", args.get("y_row")),))
    return Place(0, (), ())


def taken(args: Mapping[str, Any]) -> Place | None:
    """Where a copy puts element i of what it reads, counting those that it writes; None where that is not one place each."""
    place = read("copy", args, "x")
    merged = zip(*_merged(_six(args, "n"), _six(args, "xs")), strict=True)
    axes = sorted(((length, stride, k) for k, (length, stride) in enumerate(merged)), key=lambda axis: -axis[1])
    dense = 1
    for length, stride, _ in reversed(axes):
        if stride != dense:
            return None
        dense *= length
    lengths = [length for length, _, _ in sorted(axes, key=lambda axis: axis[2])]
    strides = [prod(lengths[k + 1:]) for _, _, k in axes]
    return None if place.start else _collapsed(0, tuple(length for length, _, _ in axes), tuple(strides))


def of_rows(args: Mapping[str, Any]) -> bool:
    """Whether a call gathers rows, and not parts of them."""
    return args.get("outer", 1) == 1


def width(args: Mapping[str, Any]) -> int:
    """How many elements the rows of a table have that a call gathers."""
    return args["inner"] if "inner" in args else args["width"]


def table_form(kernel: str) -> str:
    """How the table of a call is stored; see gathers.element."""
    return "plain" if kernel in ("gather1", "gather4") else kernel.removeprefix("gather_")


def copied_rows(args: Mapping[str, Any], n: int) -> tuple[int, int, int] | None:
    """A copy whose elements are rows of n neighbours: (count, far, near), row r being r // count times far and r % count times
    near behind its start. None for other copies.
    """
    lengths, strides = _six(args, "n"), _six(args, "xs")
    axes = list(zip(*_merged(lengths, strides), strict=True))
    if n == 1:
        axes.append((1, 1))
    if not axes or axes[-1][1] != 1 or axes[-1][0] % n:
        return None
    *axes, (length, _) = axes
    axes += [(length // n, n)] if length > n else []
    if len(axes) > 2:
        return None
    (_, far), (rows, near) = [(1, 0)] * (2 - len(axes)) + axes
    return rows, far, near


def _six(args: Mapping[str, Any], prefix: str) -> tuple[int, ...]:
    return tuple(args[f"{prefix}{axis}"] for axis in range(6))


def _merged(lengths: tuple[int, ...], strides: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The same box with as few axes as possible."""
    d: list[int] = []
    s: list[int] = []
    for length, stride in zip(lengths, strides, strict=True):
        if length == 1:
            continue
        if d and s[-1] == stride * length:
            d[-1], s[-1] = d[-1] * length, stride
        else:
            d.append(length)
            s.append(stride)
    return d, s


def _collapsed(start: int, lengths: tuple[int, ...], strides: tuple[int, ...]) -> Place:
    d, s = _merged(lengths, strides)
    if not d or (len(d) == 1 and s == [1]):
        return Place(start, (), ())
    axes = next(axes for axes in AXES if axes >= len(d))
    return Place(start, (*[1] * (axes - len(d)), *d), (*[0] * (axes - len(d)), *s))
