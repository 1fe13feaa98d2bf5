"""The vector set that compiles: numba intrinsics that emit LLVM vectors. What each means is said in plain_vectors."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelstm.kernels.vectors import (
    dots,
    numba_arithmetic,
    numba_blocks,
    numba_integers,
    numba_memory,
    numba_narrow,
)


@dataclass(frozen=True)
class Vectors:
    """The vector set for `registers` registers of `lanes` float32 and a way to multiply bytes; see the package's docstring."""

    lanes: int
    dot: str
    registers: int
    inline: Callable[..., Any]
    outline: Callable[..., Any]
    members: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.members[name]
        except KeyError:
            raise AttributeError(f"the vector set has no {name!r}") from None

    def __hash__(self) -> int:
        return hash((self.lanes, self.dot, self.registers))


@functools.cache
def make(lanes: int, inline: Callable[..., Any], outline: Callable[..., Any], dot: str = "plain",
         registers: int = 16) -> Vectors:
    """The set for one width and one of `dots.WAYS`. `inline` and `outline` make functions that kernels can call."""
    way = dots.WAYS[dot]
    members = {
        **numba_arithmetic.members(), **numba_memory.members(lanes), **numba_blocks.members(lanes, lanes),
        **numba_narrow.members(lanes), **numba_integers.members(lanes, way), "offset": way.offset,
        "half": _half(lanes, inline, outline, dot, registers) if lanes > 8 else None,
    }  # fmt: skip
    return Vectors(lanes, dot, registers, inline, outline, members)


def _half(lanes: int, inline: Callable[..., Any], outline: Callable[..., Any], dot: str, registers: int) -> Vectors:
    members = {
        **numba_arithmetic.members(), **numba_memory.members(lanes // 2), **numba_blocks.members(lanes // 2, lanes),
        **numba_narrow.members(lanes // 2), "half": None,
    }  # fmt: skip
    return Vectors(lanes, dot, registers, inline, outline, members)
