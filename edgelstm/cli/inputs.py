"""INPUT arguments made into what a model takes: named, framed, with the batch axis that users leave out."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgelstm.cli.signals import INPUT_ENDINGS, read_arrays
from edgelstm.cli.text import say
from edgelstm.errors import ShapeError
from edgelstm.graph import Graph, Port

Source = tuple[str | None, Path]  # the input's name where it is given


def input_argument(argument: str) -> Source:
    """FILE or NAME=FILE, of a known ending."""
    name, equals, rest = argument.partition("=")
    source = (name, Path(rest)) if equals and not Path(argument).exists() else (None, Path(argument))
    if source[1].suffix.lower() not in INPUT_ENDINGS:
        raise argparse.ArgumentTypeError(f"{argument!r} does not end in one of {', '.join(INPUT_ENDINGS)}")
    return source


def read_inputs(graph: Graph, sources: Sequence[Source]) -> dict[str, np.ndarray]:
    """Arrays by input name. Unnamed ones go to the inputs in the model's order, states left out. Raises ShapeError."""
    states = dict(graph.states)
    found: dict[str, np.ndarray] = {}
    unnamed: list[np.ndarray] = []
    for name, path in sources:
        for inner, array in read_arrays(path).items():
            chosen = name if name is not None else inner
            if chosen is None:
                unnamed.append(array)
            elif chosen in found:
                raise ShapeError(f"the input {chosen!r} is given twice")
            else:
                found[chosen] = array
    free = [port.name for port in graph.inputs if port.name not in found and port.name not in states]
    if len(unnamed) > len(free):
        raise ShapeError(f"{len(unnamed)} files without a name, for the inputs {free}; write NAME=FILE for the others")
    found |= dict(zip(free, unnamed, strict=False))
    known = [port.name for port in graph.inputs]
    for name in found:
        if name not in known:
            raise ShapeError(f"the model has no input {name!r}; its inputs are {known}")
    return found


def fit(array: np.ndarray, port: Port) -> np.ndarray:
    """The array with the axes of the port: a 1-D signal cut into frames, the batch axis added where it is left out."""
    rank = len(port.shape)
    if array.ndim == 1 and rank == 3 and port.time is not None:
        array = _framed(array, port)
    if array.ndim != rank - 1:
        return array
    batch = port.batch if port.batch is not None else 0 if port.shape[0] == 1 else None
    return array if batch is None else np.expand_dims(array, batch)


def step_frames(array: np.ndarray, port: Port) -> list[np.ndarray]:
    """The frames of one input, step by step and with all of the port's axes but time.

    Without a time axis a signal is cut into frames, and any other array has the steps first.
    """
    if port.time is not None:
        array = fit(array, port)
        if array.ndim != len(port.shape):
            raise ShapeError(f"input {port.name!r} has the shape {array.shape}; it takes {len(port.shape)} axes")
        return list(np.moveaxis(array, port.time, 0))
    frame = [d if isinstance(d, int) else 1 for d in port.shape]
    size = int(np.prod(frame))
    if array.ndim > len(port.shape):
        return list(array)
    if not size or (array.ndim > 1 and int(np.prod(array.shape[1:])) != size):
        raise ShapeError(f"input {port.name!r} has the shape {array.shape}; a step of it takes {size} numbers")
    return list(_whole_frames(array.reshape(-1), size, port).reshape(-1, *frame))


def _framed(signal: np.ndarray, port: Port) -> np.ndarray:
    """(steps, features) of a signal (samples,), or (features, steps) where the port has features first."""
    axis = next(axis for axis in range(3) if axis not in (port.time, 0 if port.batch is None else port.batch))
    features = port.shape[axis]
    if not isinstance(features, int) or not features:
        return signal
    frames = _whole_frames(signal, features, port).reshape(-1, features)
    return frames if axis > port.time else frames.T


def _whole_frames(signal: np.ndarray, size: int, port: Port) -> np.ndarray:
    rest = len(signal) % size
    if rest:
        say(f"input {port.name!r}: the last {rest} of {len(signal)} samples do not fill a frame of {size} and are dropped")
    return signal[: len(signal) - rest]
