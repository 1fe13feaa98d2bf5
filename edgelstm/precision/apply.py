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
from edgelstm.precision.quantize import quantize

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


class _Writer:
    """Writes nodes of reduced precision and their constants; weights that nodes share stay shared."""

    def __init__(self, graph: Graph, calibration: Calibration | None, scales: str, activation_range: str) -> None:
        self.constants = dict(graph.constants)
        self._taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)} | set(graph.constants)
        self._calibration, self._scales, self._range = calibration, scales, activation_range
        self._graph = graph
        self._written: dict[tuple[str, ...], tuple[str, str | None]] = {}

    def reduced(self, node: Node, precision: str) -> Node:
        op = ops.get(node.op)
        inputs = dict(zip((name.rstrip("?") for name in op.inputs), op.padded(node.inputs), strict=True))
        attrs = {**node.attrs, "precision": precision}
        for role, value in weights_of(node).items():
            inputs[role], inputs[f"{role}_scale"] = self._weights(node, role, value, precision)
            seen = self._seen(node, role)
            if precision == "int8-static" and seen is not None:
                attrs[_SCALE_ATTRS[role]] = seen.scales[self._range]
        if precision == "int4":
            attrs["grouped"] = _grouped(node, self.constants)
        return replace(node, inputs=tuple(inputs.values()), attrs=attrs)

    def _seen(self, node: Node, role: str) -> Observed | None:
        return None if self._calibration is None else self._calibration.layers.get(node.name, {}).get(role)

    def _weights(self, node: Node, role: str, value: str, precision: str) -> tuple[str, str | None]:
        """The names of the values and scales of weights, which are made at the first call."""
        key = (value, precision.removesuffix("-static"), role)
        if key not in self._written:
            found = _quantized(node, self.constants[value], precision, self._scales, self._covariance(role, value))
            names = [self._fresh(f"{value}/{key[1]}"), None if found.scale is None else self._fresh(f"{value}/{key[1]}/scale")]
            for name, array in zip(names, (found.values, found.scale), strict=True):
                if name is not None:
                    self.constants[name] = np.ascontiguousarray(array)
            self._written[key] = (names[0], names[1])
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


def _quantized(node: Node, weights: np.ndarray, precision: str, scales: str,
               covariance: np.ndarray | None) -> Stored:
    """Weights as their node takes them: the table of an embedding with a row for each index, all others in their own shape."""
    matrix = weights.T if node.op == "embedding" else weights.reshape(-1, weights.shape[-1])
    grouped = node.op == "conv1d" and node.attrs["groups"] > 1
    try:
        found = quantize(matrix, precision, scales=scales, covariance=None if grouped else covariance)
    except PrecisionError as error:
        raise PrecisionError(f"node {node.name!r} ({node.op}): {error}") from None
    if node.op == "embedding":
        return Stored(precision, found.values.T, None if found.scale is None else found.scale.T, found.shape)
    return found if precision == "int4" else Stored(precision, found.values.reshape(weights.shape), found.scale, found.shape)


def _grouped(node: Node, constants: Mapping[str, np.ndarray]) -> int:
    """The length of the axis that int4 keeps in whole groups."""
    shape = constants[node.inputs[1]].shape
    return shape[-1] if node.op == "embedding" else int(np.prod(shape[:-1], dtype=np.int64))
