"""Conversions between dtypes: cast_<from>_<to>. A float stops at the ends of an integer's range; integers wrap."""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels.declare import kernel

_RANGE = {"i64": (-(2.0**63), 2.0**63, -(2**63), 2**63 - 1), "i32": (-(2.0**31), 2.0**31, -(2**31), 2**31 - 1),
          "u8": (0.0, 256.0, 0, 255)}


def _copy(v: Any) -> Callable[..., None]:
    def convert(x, y, n):
        for i in range(n):
            y[i] = x[i]

    return convert


def _truth(v: Any) -> Callable[..., None]:
    def convert(x, y, n):
        for i in range(n):
            y[i] = 1 if x[i] != 0 else 0

    return convert


def _saturate(target: str) -> Callable[[Any], Callable[..., None]]:
    least, end, lowest, highest = _RANGE[target]

    def factory(v: Any) -> Callable[..., None]:
        def convert(x, y, n):
            for i in range(n):
                if x[i] >= end:
                    y[i] = highest
                elif x[i] > least:
                    y[i] = x[i]
                else:
                    y[i] = lowest if x[i] == x[i] else 0

        return convert

    return factory


for _source in ("f32", "i64", "i32", "u8"):
    kernel(f"cast_{_source}_bool", f"x:{_source}* y:u8* n:int")(_truth)
    for _target in ("f32", "i64", "i32", "u8"):
        if _source != _target:
            _factory = _saturate(_target) if _source == "f32" else _copy
            kernel(f"cast_{_source}_{_target}", f"x:{_source}* y:{_target}* n:int")(_factory)
