"""A float32 graph made into one of reduced precision as a caller of `convert` asks: checked, chosen, applied, measured."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelstm.drift import absolute_errors
from edgelstm.errors import PrecisionError, ShapeError
from edgelstm.graph import Graph
from edgelstm.ops.stored import PRECISIONS
from edgelstm.precision.apply import apply
from edgelstm.precision.auto import Choice, choose
from edgelstm.precision.calibrate import DEFAULT_RANGE, RANGES, calibrate, read_data
from edgelstm.precision.choose import resolve
from edgelstm.precision.integer import integer
from edgelstm.precision.measure import default_data, observe

WHOLE = AUTO, INTEGER, INTEGER_PORTS = "auto", "integer", "integer-ports"  # for whole models
FIXED_SCALES = "int8-static", INTEGER, INTEGER_PORTS  # activations have scales from calibration data
_NAMES = ", ".join((*PRECISIONS, *WHOLE))


@dataclass(frozen=True, eq=False)
class Request:
    """What a caller of `convert` wants of precision; see there."""

    precision: str | Mapping[str, str] = "float32"
    calibration: Any = None
    max_error: float | None = None
    activation_range: str | None = None

    @property
    def integer_ports(self) -> bool:
        """Whether the model takes and gives integers, so that its outputs cannot be held against those in float32."""
        return self.precision == INTEGER_PORTS

    @property
    def names(self) -> set[str]:
        """The precisions that are asked for."""
        given = [self.precision] if isinstance(self.precision, str) else self.precision.values()
        return {name if isinstance(name, str) else repr(name) for name in given}

    def check(self) -> None:
        """Raise PrecisionError for what no model could be given, before one is read."""
        if not isinstance(self.precision, str | Mapping):
            raise PrecisionError(f"precision is {self.precision!r}; give {_NAMES}, or {{layer name: precision}}")
        for name in self.names - {*PRECISIONS, *(WHOLE if isinstance(self.precision, str) else ())}:
            why = f"; {name!r} is for whole models" if name in WHOLE else ""
            raise PrecisionError(f"precision {name!r} is not supported{why}; supported are {_NAMES}")
        if self.activation_range not in (None, *RANGES):
            raise PrecisionError(f"activation_range {self.activation_range!r} is not supported; use one of {', '.join(RANGES)}")
        if self.activation_range is not None and not self.names & {*FIXED_SCALES, AUTO}:
            raise PrecisionError(f"activation_range says how {', '.join(FIXED_SCALES)} fix their scales; leave it out for "
                                 f"{', '.join(sorted(self.names))}")
        for name in self.names & set(FIXED_SCALES) if self.calibration is None else ():
            raise PrecisionError(f"{name} fixes the scales of activations: as calibration, give data as `predict` takes them")
        self._check_limit()

    def _check_limit(self) -> None:
        limit = self.max_error.item() if isinstance(self.max_error, np.number) else self.max_error
        if limit is not None and not (_is_number(limit) and 0 <= limit <= sys.float_info.max):
            raise PrecisionError(f"max_error is {limit!r}; give the largest absolute error to allow, a finite number from 0 on")
        if self.integer_ports and limit is not None:
            raise PrecisionError(f"max_error compares outputs with those in float32, which {INTEGER_PORTS} does away with; "
                                 f"use {INTEGER!r}, or leave max_error out")


@dataclass(frozen=True, eq=False)
class Reduction:
    """A graph of reduced precision, what `auto` tried, and the calibration data that were used."""

    graph: Graph
    tried: Choice | None = None
    data: Mapping[str, np.ndarray] | None = None


def reduce(graph: Graph, request: Request) -> Reduction:
    """The graph as it is asked for. Raises PrecisionError: unknown layers, bad data, an error above `max_error`."""
    found = _integer(graph, request) if request.precision in (INTEGER, INTEGER_PORTS) else _stored(graph, request)
    precision = request.precision
    told: dict[str, Any] = {"requested": dict(precision) if isinstance(precision, Mapping) else precision}
    if found.tried is not None:
        told["chosen"] = dict(found.tried.precisions)
    if request.max_error is not None:
        limit = float(request.max_error)
        told |= {"max_error": limit, "error": _checked_error(graph, found, limit)}
    return replace(found, graph=replace(found.graph, provenance={**found.graph.provenance, "precision": told}))


def _stored(graph: Graph, request: Request) -> Reduction:
    """Weights of reduced precision, activations in float32 or rounded by the kernels."""
    seen = None if request.calibration is None else calibrate(graph, request.calibration)
    if request.precision == AUTO:
        chosen, tried = choose(graph, seen, request.max_error)
    else:
        chosen, tried = resolve(graph, request.precision), None
    found = apply(graph, chosen, seen, activation_range=request.activation_range or DEFAULT_RANGE)
    return Reduction(found, tried, None if seen is None else seen.data)


def _integer(graph: Graph, request: Request) -> Reduction:
    data = read_data(graph, request.calibration)
    kind = request.activation_range or DEFAULT_RANGE
    found = integer(graph, data, integer_ports=request.integer_ports, activation_range=kind)
    return Reduction(found, None, data)


def _checked_error(graph: Graph, found: Reduction, max_error: float) -> float:
    """The largest error on the calibration data, or on seeded inputs. Raises PrecisionError where it is above the limit."""
    try:
        data = default_data(graph) if found.data is None else found.data
    except ShapeError as error:
        raise PrecisionError(f"max_error cannot be checked without calibration data: {error}") from None
    error = largest_error(graph, found.graph, data)
    if error > max_error:
        where = "seeded inputs" if found.data is None else "the calibration data"
        raise PrecisionError(f"the largest error on {where} is {error:.3g}, above max_error = {max_error:g}, so nothing is "
                             "written; choose a more exact precision (bfloat16, float32) for some layers, or 'auto'")
    return error


def largest_error(graph: Graph, found: Graph, data: Mapping[str, np.ndarray]) -> float:
    """The largest absolute error at the outputs that users see (all but carried states) over some data."""
    carried = {result for _, result in graph.states}
    expected, outputs = (observe(g, (), data).outputs for g in (graph, found))
    errors = [absolute_errors(signal.array, outputs[name].array) for name, signal in expected.items() if name not in carried]
    return max((float(np.max(array, initial=0.0)) for array in errors), default=0.0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
