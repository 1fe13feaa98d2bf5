"""Primes that stand in for the lengths of dynamic axes, so that a question about an axis can be asked of plain numbers."""

from collections.abc import Callable
from typing import TypeVar

from edgelstm.errors import ShapeError

T = TypeVar("T")

_PRIMES = (
    (1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049, 1051, 1061, 1063, 1069, 1087, 1091, 1093, 1097),
    (577, 587, 593, 599, 601, 607, 613, 617, 619, 631, 641, 643, 647, 653, 659, 661),
    (97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173),
    (13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73),
)
SCALES = range(len(_PRIMES))


def stand_in(number: int, scale: int = 0) -> int:
    """A prime, different for every number below 16. Scales differ in size; large primes are seldom mistaken for a fixed length."""
    return _PRIMES[scale][number % len(_PRIMES[scale])]


def first_fitting(attempt: Callable[[int], T]) -> T:
    """What `attempt` gives for the first scale that the model's shapes allow. Raises the ShapeError of the first scale else.

    A model may work for some lengths only: frames of one size, or layers that shorten a sequence.
    """
    failure: ShapeError | None = None
    for scale in SCALES:
        try:
            return attempt(scale)
        except ShapeError as error:
            failure = failure or error
    raise failure
