"""Finds out which differently named dynamic axes of a model have the same length: those that meet in one op."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from edgelstm.errors import EdgeLSTMError, FormatError, UnsupportedError
from edgelstm.graph import Graph
from edgelstm.stand_ins import SCALES

Axis = str | int | None
_ATTEMPTS = 64


class Mismatch(FormatError):
    """Shapes do not fit at a node. `progress` counts the nodes before it, `axes` has the axes of each of its inputs.

    `branches` names the If nodes before it whose branch was chosen as for axes of any length.
    """

    def __init__(self, message: str, progress: int, axes: Sequence[Sequence[Axis]], branches: Sequence[str]):
        super().__init__(message)
        self.progress = progress
        self.axes = axes
        self.branches = tuple(branches)

    def final(self) -> EdgeLSTMError:
        """The error for a model whose axes cannot be made to fit."""
        if not self.branches:
            return FormatError(str(self))
        return UnsupportedError(
            f"{self}. The branches chosen before may depend on the length of a dynamic axis, which is not supported:",
            [f"node {name!r} (If)" for name in self.branches],
        )


def with_unified_symbols(attempt: Callable[[Mapping[str, str | int], int], Graph]) -> Graph:
    """The Graph that `attempt` gives once axes that must be equal share a symbol.

    `attempt` gets a mapping of symbols onto other symbols or lengths, and a scale for the lengths that stand in for symbols. It
    raises Mismatch where two lengths do not fit; then other scales are tried, as a model may accept lengths of one size only.
    """
    failure: Mismatch | None = None
    for scale in SCALES:
        try:
            return _unified(partial(attempt, scale=scale))
        except Mismatch as mismatch:
            failure = failure or mismatch
    raise failure.final() from None


def _unified(attempt: Callable[[Mapping[str, str | int]], Graph]) -> Graph:
    unify: dict[str, str | int] = {}
    for _ in range(_ATTEMPTS):
        try:
            return attempt(unify)
        except Mismatch as mismatch:
            found = _further(attempt, unify, mismatch)
            if isinstance(found, Graph):
                return found
            if found is None:
                raise
            unify = found
    raise FormatError("the dynamic axes of the inputs do not fit together")


def _further(
    attempt: Callable[[Mapping[str, str | int]], Graph], unify: Mapping[str, str | int], mismatch: Mismatch
) -> Graph | dict[str, str | int] | None:
    """The first unification of two axes of the failing node that leads past it, or the finished Graph."""
    pairs = list(_candidates(mismatch.axes))
    for trial in [*({**unify, old: new} for old, new in pairs), {**_together(mismatch.axes), **unify}]:
        try:
            return attempt(trial)
        except Mismatch as later:
            if later.progress > mismatch.progress:
                return trial
    return None


def _candidates(axes: Sequence[Sequence[Axis]]) -> Iterator[tuple[str, str | int]]:
    """Pairs of (symbol, what it may equal): axes at the same place of two inputs first, fixed lengths last."""
    pairs: dict[tuple[str, str | int], int] = {}
    for a, first in enumerate(axes):
        for second in axes[a + 1 :]:
            for i, one in enumerate(first):
                for j, other in enumerate(second):
                    pair = _ordered(one, other)
                    if pair is not None:
                        aligned = i == j or len(first) - i == len(second) - j
                        rank = 2 * isinstance(pair[1], int) + (not aligned)
                        pairs[pair] = min(rank, pairs.get(pair, rank))
    yield from sorted(pairs, key=lambda pair: pairs[pair])


def _together(axes: Sequence[Sequence[Axis]]) -> dict[str, str | int]:
    """All axes at the same place of two inputs, counted from the last, made equal at once, as broadcasting wants it."""
    found: dict[str, str | int] = {}
    for first, second in pairwise(axes):
        for one, other in zip(reversed(first), reversed(second), strict=False):
            pair = _ordered(other, one)
            if pair is not None and isinstance(pair[1], str) and found.get(pair[1]) != pair[0]:
                found[pair[0]] = pair[1]
    return found


def _ordered(one: Axis, other: Axis) -> tuple[str, str | int] | None:
    if one == other or one is None or other is None or (isinstance(one, int) and isinstance(other, int)):
        return None
    return (one, other) if isinstance(one, str) else (other, one)
