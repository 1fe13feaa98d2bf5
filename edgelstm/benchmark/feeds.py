"""Inputs of a model for a batch and a number of time steps: the values of its probe where it has one, else normal numbers."""

from collections.abc import Mapping

import numpy as np

from edgelstm.graph import Graph, Port
from edgelstm.streaming import step_shapes

Arrays = dict[str, np.ndarray]

_SEED = 20240607


def sequences(graph: Graph, batch: int, steps: int, count: int) -> list[Arrays]:
    """`count` different sets of inputs by name, for `run`; explicit states are left out, which makes them zero."""
    shapes, states, rng = step_shapes(graph, batch, steps), dict(graph.states), np.random.default_rng(_SEED)
    return [{port.name: _values(graph, port, shapes[port.name], rng) for port in graph.inputs if port.name not in states}
            for _ in range(count)]


def frames(graph: Graph, batch: int, count: int) -> list[Arrays]:
    """`count` different frames by name, as `step` takes them: no time axis, and no batch axis where the batch is 1."""
    ports = {port.name: port for port in graph.inputs}
    return [{name: np.ascontiguousarray(array.squeeze(_left_out(ports[name], batch))) for name, array in arrays.items()}
            for arrays in sequences(graph, batch, 1, count)]


def single(arrays: Mapping[str, np.ndarray]) -> np.ndarray | Arrays:
    """The only array, as users pass it, or all of them by name."""
    return next(iter(arrays.values())) if len(arrays) == 1 else dict(arrays)


def _left_out(port: Port, batch: int) -> tuple[int, ...]:
    return tuple(axis for axis in (port.time, port.batch if batch == 1 else None) if axis is not None)


def _values(graph: Graph, port: Port, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values of the probe, which a table accepts as indices, in random order; else normal numbers, or zeros for integers."""
    known = [probe.inputs[port.name].ravel() for probe in graph.probes if probe.inputs[port.name].size]
    if known:
        return rng.choice(np.concatenate(known), shape).astype(port.dtype)
    if port.dtype == "float32":
        return rng.standard_normal(shape, np.float32)
    return np.zeros(shape, port.dtype)
