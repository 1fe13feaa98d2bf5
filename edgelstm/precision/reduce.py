"""A float32 graph made into one of reduced precision as a caller of `convert` asks: checked, chosen, applied, measured."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelstm.drift import absolute_errors, default_limit
from edgelstm.errors import PrecisionError, ShapeError
from edgelstm.graph import Graph
from edgelstm.ops.stored import PRECISIONS
from edgelstm.precision.apply import FINER, apply, written_precision
from edgelstm.precision.auto import Choice, choose
from edgelstm.precision.calibrate import DEFAULT_RANGE, RANGES, Calibration, calibrate, read_data
from edgelstm.precision.choose import resolve
from edgelstm.precision.integer import integer
from edgelstm.precision.measure import default_data, observe

WHOLE = AUTO, INTEGER, INTEGER_PORTS = "auto", "integer", "integer-ports"  # for whole models
COARSE = "int8"  # of layers with a state: activations have 8 bits
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
    """A graph of reduced precision, what `auto` tried, the calibration data that were used, and what every layer was given."""

    graph: Graph
    tried: Choice | None = None
    data: Mapping[str, np.ndarray] | None = None
    chosen: Mapping[str, str] | None = None


def reduce(graph: Graph, request: Request) -> Reduction:
    """The graph as it is asked for. Raises PrecisionError: unknown layers, bad data, an error above `max_error`."""
    if request.precision in (INTEGER, INTEGER_PORTS):
        seen, found = None, _integer(graph, request)
    else:
        seen = None if request.calibration is None else calibrate(graph, request.calibration)
        found = _stored(graph, request, seen)
    precision = request.precision
    told: dict[str, Any] = {"requested": dict(precision) if isinstance(precision, Mapping) else precision}
    if request.max_error is not None or (precision == COARSE and seen is not None):
        found, error = _within(graph, request, seen, found)
        told |= {} if request.max_error is None else {"max_error": float(request.max_error), "error": error}
    if found.tried is not None:
        told["chosen"] = dict(found.tried.precisions)
    return replace(found, graph=replace(found.graph, provenance={**found.graph.provenance, "precision": told}))


def _stored(graph: Graph, request: Request, seen: Calibration | None) -> Reduction:
    """Weights of reduced precision, activations in float32 or rounded by the kernels."""
    if request.precision == AUTO:
        chosen, tried = choose(graph, seen, request.max_error)
    else:
        chosen, tried = resolve(graph, request.precision), None
    found = apply(graph, chosen, seen, activation_range=request.activation_range or DEFAULT_RANGE)
    return Reduction(found, tried, None if seen is None else seen.data, chosen)


def _integer(graph: Graph, request: Request) -> Reduction:
    data = read_data(graph, request.calibration)
    kind = request.activation_range or DEFAULT_RANGE
    found = integer(graph, data, integer_ports=request.integer_ports, activation_range=kind)
    return Reduction(found, None, data)


def _within(graph: Graph, request: Request, seen: Calibration | None, found: Reduction) -> tuple[Reduction, float]:
    """What keeps the limit, as found or with activations of 16 bits, and its error on the calibration data or seeded inputs.

    The limit is `max_error`; without it the usual one, which is wished for and not held. Raises PrecisionError.
    """
    data, where = (found.data, "the calibration data") if found.data is not None else (_seeded(graph), "seeded inputs")
    exact = shown_outputs(graph, data)
    limit = default_limit(exact.values()) if request.max_error is None else request.max_error
    error = largest_error(exact, found.graph, data)
    if error > limit:
        found = _finer(graph, request, seen, found, f"the largest error on {where} is {error:.3g}, above {limit:.3g}")
        error = largest_error(exact, found.graph, data)
    if request.max_error is not None and error > limit:
        raise PrecisionError(f"the largest error on {where} is {error:.3g}, above max_error = {limit:g}, so nothing is "
                             "written; choose a more exact precision (bfloat16, float32) for some layers, or 'auto'")
    return found, error


def _finer(graph: Graph, request: Request, seen: Calibration | None, found: Reduction, why: str) -> Reduction:
    """The same where all int8 layers have activations of 16 bits; as found where they do already, or `auto` chose them."""
    coarse = [node.name for node in found.graph.nodes
              if node.attrs.get("precision") == COARSE and written_precision(node, FINER) == FINER]
    if not coarse or found.chosen is None or found.tried is not None:
        return found
    chosen = {**found.chosen, **dict.fromkeys(coarse, FINER)}
    finer = apply(graph, chosen, seen, activation_range=request.activation_range or DEFAULT_RANGE)
    note = f"{FINER} in place of {COARSE} for {', '.join(coarse)}, with which {why}"
    return replace(found, graph=replace(finer, notes=(*finer.notes, note)), chosen=chosen)


def _seeded(graph: Graph) -> Mapping[str, np.ndarray]:
    try:
        return default_data(graph)
    except ShapeError as error:
        raise PrecisionError(f"max_error cannot be checked without calibration data: {error}") from None


def shown_outputs(graph: Graph, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What users see for some data: all outputs but carried states."""
    carried = {result for _, result in graph.states}
    return {name: signal.array for name, signal in observe(graph, (), data).outputs.items() if name not in carried}


def largest_error(exact: Mapping[str, np.ndarray], found: Graph, data: Mapping[str, np.ndarray]) -> float:
    """The largest absolute error at the outputs that users see, given what they should be."""
    outputs = shown_outputs(found, data)
    errors = [absolute_errors(array, outputs[name]) for name, array in exact.items()]
    return max((float(np.max(array, initial=0.0)) for array in errors), default=0.0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
