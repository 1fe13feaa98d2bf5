"""What users hand in, made into arrays a program can read: checked against the model's ports, integers without loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.errors import ShapeError

if TYPE_CHECKING:
    from edgelstm.graph import Graph
    from edgelstm.ports import Port


def whole_number(what: str, given: Any) -> int:
    """A number from 1 on, such as a batch. Raises ShapeError for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        raise ShapeError(f"{what} is a whole number from 1 on, not {given!r}")
    return int(given)


def as_port(port: "Port", given: Any) -> np.ndarray:
    """A C-contiguous array of the port's dtype. Raises ShapeError where a number would change its meaning.

    Floats of other widths become float32; a number that float32 can't hold, or that is no integer where one is due, is refused.
    """
    return converted(f"input {port.name!r}", port.dtype, given)


def converted(what: str, dtype: str, given: Any) -> np.ndarray:
    """An array of that dtype, C-contiguous; the given one itself when it is that already. Raises ShapeError."""
    array = given if type(given) is np.ndarray else _array(what, given)
    if array.dtype == dtype:
        return np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"{what} is an array of {array.dtype}; give numbers ({dtype})")
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.ascontiguousarray(array, dtype).reshape(array.shape)
    if dtype == "float32" and not np.array_equal(np.isfinite(found), np.isfinite(array)):
        raise ShapeError(f"{what} holds numbers that are too large for float32")
    if dtype != "float32" and not np.array_equal(found, array):
        raise ShapeError(f"{what} takes {dtype}; some of the given {array.dtype} numbers can't be that without a change")
    return found


def _array(what: str, given: Any) -> np.ndarray:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ShapeError(f"{what} is a masked array; give an array without gaps, or the mask as an input of its own")
    try:
        return np.asarray(given)
    except (TypeError, ValueError, OverflowError):
        raise ShapeError(f"{what} is not an array of numbers: {type(given).__name__}") from None


def named_inputs(graph: "Graph", given: Any) -> dict[str, Any]:
    """Inputs by name from an array, a list in the model's order, or a dict. State inputs may be left out."""
    names = [port.name for port in graph.inputs]
    plain = [name for name in names if name not in dict(graph.states)]
    if isinstance(given, Mapping):
        return dict(given)
    if len(plain) == 1 and not _is_list_of_inputs(given, {1, len(names)}):
        return {plain[0]: given}
    if not isinstance(given, list | tuple) or len(given) not in (len(plain), len(names)):
        raise ShapeError(f"the model has the inputs {names}; give a list of {len(plain)} arrays, or a dict")
    return dict(zip(plain if len(given) == len(plain) else names, given, strict=True))


def _is_list_of_inputs(given: Any, counts: set[int]) -> bool:
    return isinstance(given, list | tuple) and len(given) in counts and all(isinstance(a, np.ndarray) for a in given)


def complete(graph: "Graph", given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every input by name as an array a program can read; absent states become zeros. Raises ShapeError."""
    names = [port.name for port in graph.inputs]
    if not isinstance(given, Mapping):
        raise ShapeError(f"inputs are given by name, as a dict with the keys {names}, not as {type(given).__name__}")
    check_names(given, names)
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


def check_names(given: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise ShapeError for a name that is none of the model's."""
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ShapeError(f"the model has no input {unknown[0]!r}; its inputs are {list(names)}")


def check_shapes(graph: "Graph", shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The length of every symbol. Raises ShapeError where a shape does not fit its port or two axes disagree."""
    lengths: dict[str, int] = {}
    for port in graph.inputs:
        if port.name not in shapes:
            continue
        shape = tuple(shapes[port.name])
        known = dict(lengths)
        fits = len(shape) == len(port.shape) and all(
            (d if isinstance(d, int) else lengths.setdefault(d, n)) == n for d, n in zip(port.shape, shape, strict=True))
        if not fits:
            expected = describe(port, [known.get(d, d) for d in port.shape])
            raise ShapeError(f"input {port.name!r} has the shape {shape}, expected {expected}")
    return lengths


def describe(port: "Port", shape: Sequence[int | str] | None = None) -> str:
    """A shape as users read it: (batch, time, 40)."""
    shape = port.shape if shape is None else shape
    roles = {port.batch: "batch", port.time: "time"}
    shown = [str(d) if isinstance(d, int) else roles.get(axis, d) for axis, d in enumerate(shape)]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"


def _resolved(port: "Port", lengths: Mapping[str, int]) -> tuple[int, ...]:
    unknown = [d for d in port.shape if isinstance(d, str) and d not in lengths]
    if unknown:
        raise ShapeError(f"the state {port.name!r} of shape {describe(port)} must be given: no other input tells its size")
    return tuple(d if isinstance(d, int) else lengths[d] for d in port.shape)
