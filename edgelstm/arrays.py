"""What users hand in, made into arrays a program can read: converted without loss, checked against the model's ports."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Port


def as_port(port: Port, given: Any) -> np.ndarray:
    """A C-contiguous array of the port's dtype. Raises ShapeError where a number would change its meaning."""
    array = given if isinstance(given, np.ndarray) else _array(port, given)
    if array.dtype == port.dtype:
        return np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"input {port.name!r} is an array of {array.dtype}; give numbers ({port.dtype})")
    with np.errstate(invalid="ignore", over="ignore"):
        converted = np.ascontiguousarray(array, port.dtype).reshape(array.shape)
    if port.dtype != "float32" and not np.array_equal(converted, array):
        raise ShapeError(f"input {port.name!r} takes {port.dtype}; some of the given {array.dtype} numbers are no such integers")
    return converted


def _array(port: Port, given: Any) -> np.ndarray:
    try:
        return np.asarray(given, None if _has_dtype(given) else port.dtype)
    except (TypeError, ValueError, OverflowError):
        raise ShapeError(f"input {port.name!r} is not an array of numbers: {type(given).__name__}") from None


def _has_dtype(given: Any) -> bool:
    return hasattr(given, "dtype") or isinstance(given, list | tuple) or isinstance(given, int | float)


def named_inputs(graph: Graph, given: Any) -> dict[str, Any]:
    """Inputs by name from an array, a list in the model's order, or a dict. State inputs may be left out."""
    plain = [port.name for port in graph.inputs if port.name not in dict(graph.states)]
    if isinstance(given, Mapping):
        return dict(given)
    if len(plain) == 1 and not _is_list_of_inputs(given, len(graph.inputs)):
        return {plain[0]: given}
    if not isinstance(given, list | tuple) or len(given) not in (len(plain), len(graph.inputs)):
        raise ShapeError(f"the model has the inputs {[port.name for port in graph.inputs]}; give a list of {len(plain)} arrays, or a dict")
    names = plain if len(given) == len(plain) else [port.name for port in graph.inputs]
    return dict(zip(names, given, strict=True))


def _is_list_of_inputs(given: Any, count: int) -> bool:
    return isinstance(given, list | tuple) and len(given) == count and all(isinstance(a, np.ndarray) for a in given)


def complete(graph: Graph, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every input by name as an array a program can read; absent states become zeros. Raises ShapeError."""
    names = [port.name for port in graph.inputs]
    unknown = set(given) - set(names)
    if unknown:
        raise ShapeError(f"the model has no input {sorted(unknown)[0]!r}; its inputs are {names}")
    states = dict(graph.states)
    arrays = {port.name: as_port(port, given[port.name]) for port in graph.inputs if port.name in given}
    missing = [name for name in names if name not in arrays and name not in states]
    if missing:
        raise ShapeError(f"the input {missing[0]!r} is missing; the model's inputs are {names}")
    lengths = check_shapes(graph, {name: array.shape for name, array in arrays.items()})
    for port in graph.inputs:
        if port.name not in arrays:
            arrays[port.name] = np.zeros(_resolved(port, lengths), port.dtype)
    return {name: arrays[name] for name in names}


def check_shapes(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The length of every symbol. Raises ShapeError where a shape does not fit its port or two inputs disagree."""
    lengths: dict[str, int] = {}
    for port in graph.inputs:
        if port.name not in shapes:
            continue
        shape = shapes[port.name]
        expected = tuple(lengths.get(d, d) for d in port.shape)
        fits = len(shape) == len(expected) and all(isinstance(e, str) or e == n for e, n in zip(expected, shape, strict=True))
        if not fits:
            raise ShapeError(f"input {port.name!r} has the shape {tuple(shape)}, expected {describe(port, expected)}")
        lengths.update((d, n) for d, n in zip(port.shape, shape, strict=True) if isinstance(d, str))
    return lengths


def describe(port: Port, shape: Sequence[int | str] | None = None) -> str:
    """A shape as users read it: (batch, time, 40)."""
    shape = port.shape if shape is None else shape
    roles = {port.batch: "batch", port.time: "time"}
    shown = [str(d) if isinstance(d, int) else roles.get(axis, d) for axis, d in enumerate(shape)]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"


def _resolved(port: Port, lengths: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(d if isinstance(d, int) else lengths.get(d, 1) for d in port.shape)
