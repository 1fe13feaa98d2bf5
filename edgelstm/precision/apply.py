"""A graph with the weights of chosen layers in reduced precision."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgelstm import ops
from edgelstm.errors import PrecisionError
from edgelstm.graph import Graph, Node
from edgelstm.ops.stored import PRECISIONS, Stored
from edgelstm.passes.dead import remove_dead
from edgelstm.precision.calibrate import DEFAULT_RANGE, RANGES, Calibration, Observed
from edgelstm.precision.choose import layers, weights_of
from edgelstm.precision.quantize import quantize, quantize_with_factors

FINER = "int8x16"  # int8 with activations of 16 bits
FEWEST_COLUMNS = 32  # of a matrix whose inputs get factors, 4 bytes each
_FORM = {"int8-static": "int8", FINER: "int8"}  # how the weights of these are stored
_SCALE_ATTRS = {"W": "x_scale", "R": "h_scale"}


def apply(graph: Graph, chosen: Mapping[str, str], calibration: Calibration | None = None, *, scales: str = "mse",
          activation_range: str = DEFAULT_RANGE) -> Graph:
    """The graph whose nodes have these precisions, {node name: precision}; all others stay as they are.

    `scales` (mse or max) says how the scales of weights are found, `activation_range` (max, percentile or mse) those of
    int8-static, which needs `calibration`. With it all matrices are rounded so that errors make up for each other on the data
    (see compensate). Raises PrecisionError.
    """
    known = {node.name for node in layers(graph)}
    if activation_range not in RANGES:
        raise PrecisionError(f"the activation range {activation_range!r} is not known; supported are {list(RANGES)}")
    for name, precision in chosen.items():
        _check(name, precision, known, calibration)
    writer = _Writer(graph, calibration, scales, activation_range)
    nodes = tuple(writer.reduced(node, chosen[node.name]) if chosen.get(node.name, "float32") != "float32" else node
                  for node in graph.nodes)
    return remove_dead(replace(graph, nodes=nodes, constants=writer.constants))


def _check(name: str, precision: str, known: set[str], calibration: Calibration | None) -> None:
    if name not in known:
        raise PrecisionError(f"node {name!r} has no float32 weights to be made smaller; nodes that have are {sorted(known)}")
    if precision not in PRECISIONS:
        raise PrecisionError(f"precision {precision!r} of node {name!r} is not known; supported are {list(PRECISIONS)}")
    if precision == "int8-static" and calibration is None:
        raise PrecisionError(f"int8-static (node {name!r}) fixes the scales of activations, so it needs calibration data")


def written_precision(node: Node, precision: str) -> str:
    """What int8 is for a node: layers without a state read activations of 16 bits, as those of one row may differ by orders of
    magnitude; tables are multiplied with nothing."""
    if precision in ("int8", FINER) and not ops.get(node.op).sequence_axes(node.attrs):
        return FINER if _takes_factors(node) else "int8"
    return precision


class _Writer:
    """Writes nodes of reduced precision and their constants; weights that nodes share stay shared."""

    def __init__(self, graph: Graph, calibration: Calibration | None, scales: str, activation_range: str) -> None:
        self.constants = dict(graph.constants)
        self._taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)} | set(graph.constants)
        self._calibration, self._scales, self._range = calibration, scales, activation_range
        self._graph = graph
        self._written: dict[tuple[str, str, bool], dict[str, str | None]] = {}

    def reduced(self, node: Node, precision: str) -> Node:
        op, precision = ops.get(node.op), written_precision(node, precision)
        inputs = dict(zip((name.rstrip("?") for name in op.inputs), op.padded(node.inputs), strict=True))
        attrs = {**node.attrs, "precision": precision}
        for role, value in weights_of(node).items():
            found = self._weights(node, role, value, precision)
            inputs |= {name: found[part] for part, name in _parts(role).items() if name in inputs}
            seen = self._seen(node, role)
            if precision == "int8-static" and seen is not None:
                attrs[_SCALE_ATTRS[role]] = seen.scales[self._range]
        if precision == "int4":
            attrs["grouped"] = _grouped(node, self.constants)
        return replace(node, inputs=tuple(inputs.values()), attrs=attrs)

    def _seen(self, node: Node, role: str) -> Observed | None:
        return None if self._calibration is None else self._calibration.layers.get(node.name, {}).get(role)

    def _weights(self, node: Node, role: str, value: str, precision: str) -> dict[str, str | None]:
        """The names of the values, scales and factors of weights, which are made at the first call."""
        stem, even = f"{value}/{_FORM.get(precision, precision)}", _has_factors(node, self.constants[value], precision)
        key = (stem, role, even)
        if key not in self._written:
            found = _quantized(node, self.constants[value], precision, self._scales, self._covariance(role, value), even)
            arrays = {"": found.values, "/scale": found.scale, "/factor": found.factor}
            names = {part: None if array is None else self._fresh(stem + part) for part, array in arrays.items()}
            self.constants |= {name: np.ascontiguousarray(arrays[part]) for part, name in names.items() if name is not None}
            self._written[key] = names
        return self._written[key]

    def _covariance(self, role: str, value: str) -> np.ndarray | None:
        """The second moments of what weights are multiplied with, in the mean over the nodes that share them."""
        sharing = [self._seen(node, role) for node in layers(self._graph) if weights_of(node).get(role) == value]
        found = [seen.shrunk for seen in sharing if seen is not None]
        return np.mean(found, axis=0) if found else None

    def _fresh(self, name: str) -> str:
        unique, number = name, 0
        while unique in self._taken:
            number += 1
            unique = f"{name}.{number}"
        self._taken.add(unique)
        return unique


def _parts(role: str) -> dict[str, str]:
    """The inputs that hold weights, by what is behind the name of their constants."""
    return {"": role, "/scale": f"{role}_scale", "/factor": f"{role}_factor"}


def _has_factors(node: Node, weights: np.ndarray, precision: str) -> bool:
    """Whether the inputs of a matrix get factors: where the op takes them, and they are few beside the weights."""
    takes = precision == FINER and _takes_factors(node) and node.attrs.get("groups", 1) == 1
    return takes and weights.shape[-1] >= FEWEST_COLUMNS


def _takes_factors(node: Node) -> bool:
    return any(name.endswith("_factor?") for name in ops.get(node.op).inputs)


def _quantized(node: Node, weights: np.ndarray, precision: str, scales: str, covariance: np.ndarray | None,
               even: bool) -> Stored:
    """Weights as their node takes them: the table of an embedding with a row for each index, all others in their own shape."""
    matrix = weights.T if node.op == "embedding" else weights.reshape(-1, weights.shape[-1])
    if node.op == "conv1d" and node.attrs["groups"] > 1:
        covariance = None
    try:
        if even:
            found = quantize_with_factors(matrix, scales=scales, covariance=covariance)
        else:
            found = quantize(matrix, precision, scales=scales, covariance=covariance)
    except PrecisionError as error:
        raise PrecisionError(f"node {node.name!r} ({node.op}): {error}") from None
    if node.op == "embedding":
        return replace(found, values=found.values.T, scale=None if found.scale is None else found.scale.T)
    return found if precision == "int4" else replace(found, values=found.values.reshape(weights.shape))


def _grouped(node: Node, constants: Mapping[str, np.ndarray]) -> int:
    """The length of the axis that int4 keeps in whole groups."""
    shape = constants[node.inputs[1]].shape
    return shape[-1] if node.op == "embedding" else int(np.prod(shape[:-1], dtype=np.int64))
