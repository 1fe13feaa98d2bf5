"""Run a model on arrays from files.

INPUT is a .npy, .npz (arrays by input name), .csv (a row per time step, header allowed) or .wav file (PCM, as float32 in
[-1, 1)); with several inputs NAME=FILE. The batch axis may be left out. A signal of one axis is cut into frames of the
model's features; samples that do not fill a frame are dropped, and the number is told.

With --stream the model is fed step by step: outputs have the time steps first, without a time axis of their own, and
without the batch axis when it is 1. Without -o a summary of the outputs is printed.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli.open_model import add_device, add_model, open_model, placed
from edgelstm.cli.text import print_json, say
from edgelstm.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np

    from edgelstm.model import Model

SUMMARY = "run a model on .npy, .npz, .csv or .wav files"
SHOWN_VALUES = 6


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="FILE, or NAME=FILE for an input of that name")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, help="where to write: .npz (all outputs), .npy or .csv")
    parser.add_argument("--stream", action="store_true", help="feed the input step by step and tell the time of a step")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    from edgelstm.cli.inputs import fit, input_argument, read_inputs
    from edgelstm.cli.signals import OUTPUT_ENDINGS, write_arrays

    try:
        sources = [input_argument(argument) for argument in arguments.inputs]
    except argparse.ArgumentTypeError as error:
        arguments.parser.error(str(error))
    if arguments.output is not None and arguments.output.suffix.lower() not in OUTPUT_ENDINGS:
        arguments.parser.error(f"{str(arguments.output)!r} does not end in one of {', '.join(OUTPUT_ENDINGS)}")
    if arguments.output is not None and arguments.output.resolve() in {path.resolve() for _, path in sources}:
        arguments.parser.error(f"{str(arguments.output)!r} is an input, which is never overwritten")
    model = open_model(arguments.model)
    arrays = read_inputs(model.graph, sources)
    if arguments.stream:
        outputs = _stream(model, arrays, arguments.device)
    else:
        fitted = {name: fit(array, model.graph.input(name)) for name, array in arrays.items()}
        if arguments.device != "cpu":
            model = placed(model.graph, arguments.device, 1, *_lengths(model, fitted))
        outputs = model.run(fitted)
    if arguments.output is not None:
        write_arrays(arguments.output, outputs)
        say(f"wrote {arguments.output}: " + ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items()))
    _summary(outputs, arguments)
    return 0


def _lengths(model: "Model", arrays: Mapping[str, "np.ndarray"]) -> tuple[int, int]:
    """Batch and time steps of inputs in the model's own shapes, 1 where there is no such axis."""
    shapes = [(model.graph.input(name), array.shape) for name, array in arrays.items()]
    batch = next((shape[port.batch] for port, shape in shapes if port.batch is not None and len(shape) == len(port.shape)), 1)
    steps = next((shape[port.time] for port, shape in shapes if port.time is not None and len(shape) == len(port.shape)), 1)
    return max(batch, 1), max(steps, 1)


def _stream(model: "Model", arrays: Mapping[str, "np.ndarray"], device: str) -> dict[str, "np.ndarray"]:
    """The outputs of every step, stacked along a first axis."""
    import numpy as np

    from edgelstm.cli.inputs import step_frames

    model.streaming.check_frames()
    explicit = dict(model.graph.states)
    ports = [port for port in model.graph.inputs if port.name not in explicit]
    for port in ports:
        if port.name not in arrays:
            raise ShapeError(f"the input {port.name!r} is missing; the model's inputs are {[p.name for p in ports]}")
    for name in arrays:
        if name in explicit:
            raise ShapeError(f"the input {name!r} is a state, which a stream carries by itself; leave it out")
    frames = {port.name: step_frames(arrays[port.name], port) for port in ports}
    counts = {name: len(steps) for name, steps in frames.items()}
    if len(set(counts.values())) != 1 or not all(counts.values()):
        raise ShapeError(f"the inputs have {counts} time steps; a stream needs equally many, and at least one")
    batch = _batch(frames, ports)
    if device != "cpu":
        model = placed(model.graph, device, 1, batch)
    stream = model.stream(batch)
    results, durations = [], []
    for values in zip(*frames.values(), strict=True):
        frame = dict(zip(frames, _without_batch(values, ports, stream.batch), strict=True))
        begin = time.perf_counter_ns()
        result = stream.step(frame)
        durations.append(time.perf_counter_ns() - begin)
        results.append(result if isinstance(result, list) else [result])
    say(f"{len(durations)} steps, median {np.median(durations) / 1000:.2f} microseconds a step")
    shown = [port.name for port in model.graph.outputs if port.name not in explicit.values()]
    return {name: np.stack(column) for name, column in zip(shown, zip(*results, strict=True), strict=True)}


def _batch_axis(port: Any) -> int | None:
    """The batch axis of a frame, which has no time axis."""
    return None if port.batch is None else port.batch - (port.time is not None and port.time < port.batch)


def _batch(frames: Mapping[str, list["np.ndarray"]], ports: list[Any]) -> int:
    for port in ports:
        axis = _batch_axis(port)
        if axis is not None and frames[port.name][0].ndim > axis:
            return frames[port.name][0].shape[axis]
    return 1


def _without_batch(values: tuple["np.ndarray", ...], ports: list[Any], batch: int) -> list["np.ndarray"]:
    """Frames as a stream takes them: without the batch axis when it is 1."""
    axes = [_batch_axis(port) if batch == 1 else None for port in ports]
    return [value if axis is None else value.squeeze(axis) for value, axis in zip(values, axes, strict=True)]


def _summary(outputs: Mapping[str, "np.ndarray"], arguments: argparse.Namespace) -> None:
    import numpy as np

    if arguments.json:
        print_json([{"name": name, "dtype": str(array.dtype), "shape": list(array.shape),
                     "first": array.reshape(-1)[:SHOWN_VALUES].tolist(),
                     **({"min": float(np.min(array)), "max": float(np.max(array)), "mean": float(np.mean(array))}
                        if array.size else {})} for name, array in outputs.items()])
    elif arguments.output is None:
        for name, array in outputs.items():
            first = " ".join(f"{value:.9g}" for value in array.reshape(-1)[:SHOWN_VALUES])
            print(f"{name}  {array.dtype} {list(array.shape)}  {first}{' ...' * (array.size > SHOWN_VALUES)}")
