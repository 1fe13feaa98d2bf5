"""Conversions between dtypes: cast_<from>_<to>. A float stops at the ends of an integer's range; integers wrap."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm.kernels.declare import of_numbers

Formula = Callable[[Any], Callable[..., Any]]

_RANGE = {"i64": (-(2.0**63), 2.0**63, -(2**63), 2**63 - 1), "i32": (-(2.0**31), 2.0**31, -(2**31), 2**31 - 1),
          "u8": (0.0, 256.0, 0, 255)}
_KINDS = {"i64": np.int64, "i32": np.int32, "u8": np.uint8}


def _same(v: Any) -> Callable[..., Any]:
    return lambda x: x


def _truth(v: Any) -> Callable[..., Any]:
    return lambda x: 1 if x != 0 else 0


def _saturated(target: str) -> Formula:
    least, end, lowest, highest = _RANGE[target]
    kind = _KINDS[target]

    def formula(v: Any) -> Callable[..., Any]:
        def convert(x):
            if x >= end:
                return highest
            if x > least:
                return kind(x)
            return lowest if x == x else 0

        return convert

    return formula


for _source in ("f32", "i64", "i32", "u8"):
    of_numbers(f"cast_{_source}_bool", f"x:{_source}* y:u8* n:int", _truth)
    for _target in ("f32", "i64", "i32", "u8"):
        if _source != _target:
            _formula = _saturated(_target) if _source == "f32" else _same
            of_numbers(f"cast_{_source}_{_target}", f"x:{_source}* y:{_target}* n:int", _formula)
