"""The vector set that compiles: numba intrinsics that emit LLVM vectors. What each means is said in plain_vectors."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelstm.kernels.vectors import numba_arithmetic, numba_blocks, numba_memory


@dataclass(frozen=True)
class Vectors:
    """The vector set for registers of `lanes` float32; members are listed in the package's docstring."""

    lanes: int
    inline: Callable[..., Any]
    outline: Callable[..., Any]
    members: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.members[name]
        except KeyError:
            raise AttributeError(f"the vector set has no {name!r}") from None

    def __hash__(self) -> int:
        return hash(self.lanes)


@functools.cache
def make(lanes: int, inline: Callable[..., Any], outline: Callable[..., Any]) -> Vectors:
    """The set for one width. `inline` and `outline` turn a Python function into one that kernels can call."""
    members = {**numba_arithmetic.members(), **numba_memory.members(lanes), **numba_blocks.members(lanes)}
    return Vectors(lanes, inline, outline, members)
