"""What the activations of each layer are on data of the user: fixed scales for int8-static, second moments for rounding.

The range of a scale may be `max` (the largest value seen), `percentile` (99.99 % of the values lie inside) or `mse` (the least
mean-square error of the rounded activations).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.arrays import complete, named_inputs
from edgelstm.errors import FormatError, PrecisionError, ShapeError
from edgelstm.expand import expand
from edgelstm.facts import infer
from edgelstm.graph import Graph, Node
from edgelstm.ops.recurrent import Recurrent
from edgelstm.ops.window import window_of
from edgelstm.precision.choose import layers
from edgelstm.precision.measure import frame_ports, is_stepped, observe, with_sequences

RANGES = ("max", "percentile", "mse")
DEFAULT_RANGE = "max"  # rare clipped activations cost recurrent layers more than coarser steps do
PERCENTILE = 99.99
MOST_NUMBERS = 1 << 27  # of all values of a run over the calibration data; evenly spaced rows of the batch are taken of more
MOST_ROWS = 1 << 14  # of activations that a covariance is taken from
MOST_SEARCHED = 1 << 18  # activations that a range is searched with
LARGEST = 127
_FRACTIONS = np.geomspace(0.05, 1.0, 60)  # of the largest activation, tried as ends of the range


@dataclass(frozen=True, eq=False)
class Observed:
    """The activations that multiply one weight matrix: a scale by each kind of range, and their second moments.

    `chance` (0 .. 1) is how much of what the moments tell of two different inputs is chance.
    """

    scales: Mapping[str, float]
    covariance: np.ndarray
    chance: float

    @property
    def shrunk(self) -> np.ndarray:
        """The second moments without what is chance, in the mean (Schaefer and Strimmer 2005)."""
        own = np.diag(np.diag(self.covariance))
        return self.chance * own + (1 - self.chance) * self.covariance


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration data by input name, and what every layer saw of them: {node name: {role of the weights: Observed}}."""

    data: Mapping[str, np.ndarray]
    layers: Mapping[str, Mapping[str, Observed]]


def calibrate(graph: Graph, given: Any) -> Calibration:
    """The float32 graph run on calibration data: an array, a dict of arrays, or the path of a .npy or .npz file, as `predict`
    takes them. Models with explicit states and no time axis take the time steps as one more axis in front.

    Raises PrecisionError for data that are empty, not finite or of the wrong shape.
    """
    data = read_data(graph, given)
    graph = with_sequences(graph)
    values = _multiplied(graph)
    wanted = {value for pair in values.values() for group in pair.values() for value in group} - set(graph.constants)
    try:
        signals = observe(graph, sorted(wanted), data).values
    except ShapeError as error:
        raise PrecisionError(f"calibration data do not fit the model: {error}") from None
    arrays = {name: signal.array for name, signal in signals.items()} | dict(graph.constants)
    nodes = {node.name: node for node in graph.nodes}
    seen = {name: {role: _observed(nodes[name], role, [arrays[value] for value in group], graph)
                   for role, group in pair.items()} for name, pair in values.items()}
    return Calibration(data, seen)


def read_data(graph: Graph, given: Any) -> dict[str, np.ndarray]:
    """Calibration data by input name, checked. Raises PrecisionError."""
    given = _from_file(Path(given)) if isinstance(given, str | os.PathLike) else given
    plain = [port.name for port in frame_ports(graph)]
    if isinstance(given, Mapping) and len(given) == len(plain) == 1 and not set(given) & set(plain):
        given = next(iter(given.values()))
    try:
        arrays = {name: np.asarray(array) for name, array in named_inputs(graph, given).items()}
        data = _stepped(graph, arrays) if is_stepped(graph, arrays) else complete(graph, arrays)
    except (ShapeError, ValueError) as error:
        raise PrecisionError(f"calibration data do not fit the model: {error}") from None
    for name, array in data.items():
        if not array.size and name in plain:
            raise PrecisionError(f"calibration data are empty: input {name!r} has the shape {list(array.shape)}")
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise PrecisionError(f"calibration data hold NaN or infinity in input {name!r}")
    try:
        return data if is_stepped(graph, data) else _thinned(graph, data)
    except ShapeError as error:
        raise PrecisionError(f"calibration data do not fit the model: {error}") from None


def _from_file(path: Path) -> Any:
    from edgelstm.cli.signals import read_arrays

    if path.suffix.lower() not in (".npy", ".npz"):
        raise PrecisionError(f"calibration data {str(path)!r}: only .npy and .npz files are supported")
    try:
        arrays = read_arrays(path)
    except FormatError as error:
        raise PrecisionError(f"calibration data: {error}") from None
    return arrays.get(None, arrays)


def _stepped(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays with the time steps in front, checked step by step in shape and as a whole in dtype."""
    frames = {port.name for port in frame_ports(graph)}
    first = complete(graph, {name: array[0] if name in frames and len(array) else array for name, array in arrays.items()})
    counts = {name: len(array) for name, array in arrays.items() if name in frames}
    if len(set(counts.values())) > 1:
        raise ShapeError(f"the inputs have {counts} time steps in front; all must have as many")
    return {name: array.astype(first[name].dtype) for name, array in arrays.items()}


def _thinned(graph: Graph, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Data with evenly spaced rows of the batch left, where all that the model computes of them would take too much memory."""
    shapes = {name: array.shape for name, array in data.items()}
    axes = {port.name: port.batch for port in graph.inputs}
    numbers = sum(fact.size for fact in infer(expand(graph, shapes), shapes).values())
    if numbers <= MOST_NUMBERS or None in axes.values():
        return data
    rows = max(array.shape[axes[name]] for name, array in data.items())
    step = min(rows, -(-numbers // MOST_NUMBERS))
    return {name: np.take(array, range(0, rows, step), axes[name]) for name, array in data.items()}


def _multiplied(graph: Graph) -> dict[str, dict[str, list[str]]]:
    """{node: {role of its weights: the values that they are multiplied with}} of every layer but embeddings."""
    values = {}
    for node in layers(graph):
        if isinstance(ops.get(node.op), Recurrent):
            start = dict(zip(ops.get(node.op).roles(len(node.inputs)), node.inputs, strict=True)).get("h0")
            values[node.name] = {"W": [node.inputs[0]], "R": [node.outputs[0], *([] if start is None else [start])]}
        elif node.op != "embedding":
            values[node.name] = {"W": [node.inputs[0]]}
    return values


def _observed(node: Node, role: str, arrays: list[np.ndarray], graph: Graph) -> Observed:
    rows = np.concatenate([_rows(node, array, graph) for array in arrays])
    some = rows[:: -(-len(rows) // MOST_ROWS) or 1].astype(np.float64)
    covariance = some.T @ some / max(1, len(some))
    return Observed({name: fitted_scale(np.abs(rows), name) for name in RANGES}, covariance, chance(some, covariance))


def chance(rows: np.ndarray, covariance: np.ndarray) -> float:
    """The variance of the second moments of two different columns, as estimated from so many rows, over their squares."""
    squares = np.square(rows)
    products = np.mean(np.sum(squares, axis=1) ** 2 - np.sum(np.square(squares), axis=1)) if len(rows) else 0.0
    found = np.sum(np.square(covariance)) - np.sum(np.square(np.diag(covariance)))
    return float(np.clip((products - found) / (len(rows) * found), 0, 1)) if found > 0 else 1.0


def _rows(node: Node, array: np.ndarray, graph: Graph) -> np.ndarray:
    """What the weights of a node are multiplied with, a row for each product; of convolutions the padded windows."""
    if node.op != "conv1d":
        return array.reshape(-1, array.shape[-1])
    taps, per_group, _ = graph.constants[node.inputs[1]].shape
    array = array.reshape(-1, *array.shape[-2:])
    stride, dilation = node.attrs["stride"], node.attrs["dilation"]
    reach = (taps - 1) * dilation + 1
    window = window_of(array.shape[1], reach, stride, node.attrs["padding"], node.attrs["pads"])
    array = np.pad(array, ((0, 0), (window.left, window.right), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(array, reach, axis=1)[:, ::stride, :, ::dilation][:, :window.count]
    groups = array.shape[2] // per_group
    split = windows.reshape(*windows.shape[:2], groups, per_group, taps).transpose(0, 1, 2, 4, 3)
    return split.reshape(-1, taps * per_group)


def fitted_scale(sizes: np.ndarray, kind: str) -> float:
    """The scale of activations of these sizes; 1/127 where all are zero."""
    sizes = sizes.reshape(-1)
    largest = float(np.max(sizes, initial=0.0))
    if kind == "percentile" and largest:
        largest = float(np.percentile(sizes, PERCENTILE)) or largest
    if kind == "mse" and largest:
        some = sizes[:: -(-len(sizes) // MOST_SEARCHED) or 1]
        ends = largest * _FRACTIONS
        rounded = (np.minimum(np.rint(some * (LARGEST / end)), LARGEST) * (end / LARGEST) for end in ends)
        errors = [np.mean(np.square(some - found)) for found in rounded]
        largest = float(ends[int(np.argmin(errors))])
    return float(np.float32(max(largest, np.finfo(np.float32).tiny * LARGEST) / LARGEST)) if largest else 1 / LARGEST
