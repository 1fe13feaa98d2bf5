"""Primes that stand in for the lengths of dynamic axes, so that a question about an axis can be asked of plain numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count, islice
from typing import Any, TypeVar

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import Body

T = TypeVar("T")

_STARTS = (251, 577, 97, 13)
SCALES = range(len(_STARTS))

_FEW = 64  # elements of an integer constant that may be a list of lengths


@lru_cache(maxsize=256)
def stand_in(number: int, scale: int = 0, avoid: frozenset[int] = frozenset()) -> int:
    """A prime, another one for every number, that divides none of the lengths to avoid. Scales differ in size."""
    fitting = (p for p in _primes(_STARTS[scale]) if not any(length % p == 0 for length in avoid))
    return next(islice(fitting, number, None))


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


def trial_lengths(graph: Graph, scale: int) -> dict[str, int]:
    """A stand-in of one scale for every dynamic axis of the inputs."""
    avoid, symbols = fixed_lengths(graph), dict.fromkeys(d for port in graph.inputs for d in port.shape if isinstance(d, str))
    return {symbol: stand_in(i, scale, avoid) for i, symbol in enumerate(symbols)}


def shapes_at(graph: Graph, lengths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The shape of every input with these lengths for its dynamic axes."""
    return {port.name: tuple(lengths.get(d, d) for d in port.shape) for port in graph.inputs}


def fixed_lengths(graph: Graph) -> frozenset[int]:
    """Numbers of a graph that could be mistaken for a stand-in: its fixed axes, sizes of constants and integer attributes."""
    found = {d for port in (*graph.inputs, *graph.outputs) for d in port.shape if isinstance(d, int)}
    for array in graph.constants.values():
        found.update(lengths_in(array))
    found.update(_of_nodes(graph.nodes))
    return frozenset(n for n in map(abs, found) if n >= _STARTS[-1])


def lengths_in(array: np.ndarray) -> set[int]:
    """Lengths of the axes of a constant, and what it lists when it is a short array of integers."""
    listed = array.ravel().tolist() if array.dtype.kind == "i" and array.size <= _FEW else ()
    return {*array.shape, *listed}


def _of_nodes(nodes: Sequence[Node]) -> set[int]:
    return {number for node in nodes for value in node.attrs.values() for number in _integers(value)}


def _integers(value: Any) -> Iterable[int]:
    if isinstance(value, Body):
        return _of_nodes(value.nodes)
    if isinstance(value, tuple | list):
        return [n for item in value for n in _integers(item)]
    if isinstance(value, Mapping):
        return [n for item in value.values() for n in _integers(item)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def _primes(start: int) -> Iterator[int]:
    return (n for n in count(start) if all(n % d for d in range(2, int(n**0.5) + 1)))
