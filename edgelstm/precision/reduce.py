"""A float32 graph made into one of reduced precision, as a caller of `convert` asks for it: checked, chosen, applied, measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelstm.errors import PrecisionError, ShapeError
from edgelstm.graph import Graph
from edgelstm.ops.stored import PRECISIONS
from edgelstm.precision.apply import apply
from edgelstm.precision.auto import Choice
from edgelstm.precision.calibrate import RANGES, Calibration, calibrate
from edgelstm.precision.choose import resolve
from edgelstm.precision.drift import absolute_errors
from edgelstm.precision.measure import default_data, observe

AUTO, INTEGER = "auto", "integer"
STATIC = ("int8-static", INTEGER)  # precisions that need calibration data


@dataclass(frozen=True, eq=False)
class Reduction:
    """A graph of reduced precision, what `auto` tried, and the calibration data that were used."""

    graph: Graph
    tried: Choice | None = None
    data: Mapping[str, np.ndarray] | None = None


def check(precision: str | Mapping[str, str], calibration: Any, max_error: float | None, activation_range: str) -> None:
    """Raise PrecisionError for what no model could be given, before one is read."""
    if not isinstance(precision, str | Mapping):
        raise PrecisionError(f"precision is {precision!r}; give {_names()}, or {{layer name: precision}}")
    wanted = {precision} if isinstance(precision, str) else set(precision.values())
    for name in wanted - {*PRECISIONS, *((AUTO, INTEGER) if isinstance(precision, str) else ())}:
        whole = f"; {AUTO!r} and {INTEGER!r} are for whole models" if name in (AUTO, INTEGER) else ""
        raise PrecisionError(f"precision {name!r} is not supported{whole}; supported are {_names()}")
    if activation_range not in RANGES:
        raise PrecisionError(f"activation_range {activation_range!r} is not supported; supported are {', '.join(RANGES)}")
    for name in wanted & set(STATIC) if calibration is None else ():
        raise PrecisionError(f"{name} fixes the scales of activations beforehand: give data as `predict` takes them as calibration")
    if max_error is not None and not (_is_number(max_error) and 0 <= max_error < math.inf):
        raise PrecisionError(f"max_error is {max_error!r}; give the largest absolute error to allow, a finite number from 0 on")


def reduce(graph: Graph, precision: str | Mapping[str, str], calibration: Any = None, max_error: float | None = None,
           activation_range: str = "mse") -> Reduction:
    """The graph in that precision. Raises PrecisionError: unknown layers, bad data, an error above `max_error`."""
    seen = None if calibration is None else calibrate(graph, calibration)
    tried, told = None, {"requested": dict(precision) if isinstance(precision, Mapping) else precision}
    if precision == AUTO:
        from edgelstm.precision.auto import choose

        chosen, tried = choose(graph, seen, max_error)
        found, told["chosen"] = apply(graph, chosen, seen, activation_range=activation_range), chosen
    elif precision == INTEGER:
        from edgelstm.precision.integer import apply as apply_integer

        found = apply_integer(graph, seen)
    else:
        found = apply(graph, resolve(graph, precision), seen, activation_range=activation_range)
    if max_error is not None:
        told |= {"max_error": max_error, "error": _checked_error(graph, found, seen, max_error)}
    found = replace(found, provenance={**found.provenance, "precision": told})
    return Reduction(found, tried, None if seen is None else seen.data)


def _checked_error(graph: Graph, found: Graph, seen: Calibration | None, max_error: float) -> float:
    """The largest error on the calibration data, or on seeded inputs. Raises PrecisionError where it is above the limit."""
    try:
        data = default_data(graph) if seen is None else seen.data
    except ShapeError as error:
        raise PrecisionError(f"max_error cannot be checked without calibration data: {error}") from None
    error = largest_error(graph, found, data)
    if error > max_error:
        where = "seeded inputs" if seen is None else "the calibration data"
        raise PrecisionError(f"the largest error on {where} is {error:.3g}, above max_error = {max_error:g}; nothing is written. "
                             "Choose a more exact precision (bfloat16, float32) for some layers, or 'auto'")
    return error


def largest_error(graph: Graph, found: Graph, data: Mapping[str, np.ndarray]) -> float:
    """The largest absolute error at the outputs that users see (all but carried states) over some data."""
    carried = {result for _, result in graph.states}
    expected, outputs = (observe(g, (), data).outputs for g in (graph, found))
    errors = [absolute_errors(signal.array, outputs[name].array) for name, signal in expected.items() if name not in carried]
    return max((float(np.max(array, initial=0.0)) for array in errors), default=0.0)


def _names() -> str:
    return ", ".join((*PRECISIONS, AUTO, INTEGER))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
