"""The same source file in other runtimes, in turns with EdgeLSTM. A runtime is imported only when it is asked for."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm import reference
from edgelstm.benchmark import feeds, timing
from edgelstm.benchmark.measure import SEQUENCES, Settings
from edgelstm.model import Model

TOLERANCE = 1e-4  # absolute and relative, to the float64 reference; a runtime that misses it is not timed

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Sequence[np.ndarray]]


class NotComparable(Exception):
    """A runtime that cannot run the source; the text says why."""


@dataclass(frozen=True)
class Source:
    """A trained file, and what it needs of a run: the model converted from it, and inputs that the conversion fixed.

    `carries` says that every run continues from the states that the last one left: a step of a model with explicit states.
    """

    path: Path | None
    model: Model
    threads: int
    carries: bool

    def file(self, ending: str) -> str:
        """The path, which must end so."""
        if self.path is None or self.path.suffix.lower() != ending:
            given = "no source file was given" if self.path is None else f"{self.path.name} is none"
            raise NotComparable(f"it runs {ending} files, and {given}; name one with --source")
        return str(self.path)

    def run(self, call: Run, wanted: Sequence[str], batch: int) -> Run:
        """`call` with all inputs of the file: what the conversion fixed, and states that start at zero, are added."""
        graph = self.model.graph
        shapes = feeds.step_shapes(graph, batch, 1)
        states = {name: np.zeros(shapes[name], graph.input(name).dtype) for name, _ in graph.states}
        fixed = {name: np.asarray(value) for name, value in graph.provenance.get("fix", {}).items() if name in wanted}
        for name in wanted:
            if name not in {*fixed, *(port.name for port in graph.inputs)}:
                raise NotComparable(f"its file has an input {name!r} that the converted model does not have")
        places = {port.name: place for place, port in enumerate(graph.outputs)}

        def run(arrays: Arrays) -> Sequence[np.ndarray]:
            found = call({**fixed, **states, **arrays})
            if self.carries:
                states.update((source, found[places[result]]) for source, result in graph.states)
            return found

        return run


def compare(name: str, model: Model, source: Path | None, settings: Settings) -> dict[str, Any]:
    """Median microseconds of both, the median of the paired ratios and its quartiles, and the peer's largest error.

    What is run is one step where the model has explicit states and no time axis, else a sequence. Raises NotComparable.
    """
    graph, batch = model.graph, settings.batch
    carries = bool(graph.states) and model.streaming.ok and all(port.time is None for port in graph.inputs)
    whole = feeds.sequences(graph, batch, settings.steps, SEQUENCES)
    peer = _peer(name, Source(source, model, settings.threads, carries), whole[0], batch)
    error = _check(peer, _numpy(Source(None, model, 1, carries), whole[0], batch), whole)
    own = feeds.frames(graph, batch, SEQUENCES) if carries else whole
    ours = _stepping(model, own, batch) if carries else model.run
    pairs = list(zip(own, whole, strict=True))
    taken = timing.turns([_burst(ours, 0), _burst(peer, 1)], pairs, settings.seconds)
    mine, theirs = np.median(taken, axis=0) * 1e6
    low, ratio, high = np.percentile(taken[:, 0] / taken[:, 1], (25, 50, 75))
    return {"form": "step" if carries else "sequence", "edgelstm_us": float(mine), "peer_us": float(theirs),
            "ratio": float(ratio), "spread": [float(low), float(high)], "max_error": error}


def _peer(name: str, source: Source, example: Arrays, batch: int) -> Run:
    try:
        return PEERS[name](source, example, batch)
    except (RuntimeError, ValueError) as error:
        raise NotComparable(f"it refuses the file: {str(error).strip().splitlines()[-1]}") from None


def _stepping(model: Model, frames: Sequence[Arrays], batch: int) -> Callable[[Arrays], Any]:
    stream = model.stream(batch)
    first = stream.step(frames[0])
    out = [np.empty_like(array) for array in first] if isinstance(first, list) else np.empty_like(first)
    return lambda arrays: stream.step(feeds.single(arrays), out)


def _check(peer: Run, right: Run, inputs: Sequence[Arrays]) -> float:
    """The largest error of a peer over all inputs. Raises NotComparable where it does not compute what the model does."""
    worst = 0.0
    for arrays in inputs:
        found, expected = [np.asarray(array) for array in peer(arrays)], right(arrays)
        if [array.shape for array in found] != [array.shape for array in expected]:
            raise NotComparable(f"it gives the shapes {[a.shape for a in found]}, the model {[a.shape for a in expected]}")
        for mine, reference_y in zip(found, expected, strict=True):
            error = np.abs(mine - reference_y)
            if not np.all(error <= TOLERANCE * (1 + np.abs(reference_y))):
                raise NotComparable(f"its numbers differ from the float64 reference by {float(np.max(error)):.2g}")
            worst = max(worst, float(np.max(error, initial=0.0)))
    return worst


def _burst(run: Callable[[Arrays], Any], side: int) -> Callable[[Sequence[tuple[Arrays, Arrays]]], None]:
    def burst(inputs: Sequence[tuple[Arrays, Arrays]]) -> None:
        for pair in inputs:
            run(pair[side])

    return burst


def _onnxruntime(source: Source, example: Arrays, batch: int) -> Run:
    path, ort = source.file(".onnx"), _imported("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = source.threads, 1
    own_errors = tuple(kind for kind in vars(_imported("onnxruntime.capi.onnxruntime_pybind11_state")).values()
                       if isinstance(kind, type) and issubclass(kind, Exception))
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except own_errors as error:
        raise NotComparable(f"it refuses the file: {error}") from None
    shown = [port.name for port in source.model.graph.outputs]
    return source.run(lambda arrays: session.run(shown, arrays), [port.name for port in session.get_inputs()], batch)


def _openvino(source: Source, example: Arrays, batch: int) -> Run:
    path, ov = source.file(".onnx"), _imported("openvino")
    settings = {"INFERENCE_NUM_THREADS": source.threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(path, "CPU", settings)
    shown = [compiled.output(port.name) for port in source.model.graph.outputs]
    request = compiled.create_infer_request()

    def call(arrays: Arrays) -> list[np.ndarray]:
        found = request.infer(arrays, share_inputs=True)
        return [found[port] for port in shown]

    return source.run(call, [port.any_name for port in compiled.inputs], batch)


def _litert(source: Source, example: Arrays, batch: int) -> Run:
    path = source.file(".tflite")
    interpreter = _imported("ai_edge_litert.interpreter").Interpreter(path, num_threads=source.threads)
    ins, outs, graph = interpreter.get_input_details(), interpreter.get_output_details(), source.model.graph
    if len(ins) != len(graph.inputs) or len(outs) != len(graph.outputs):
        raise NotComparable(f"its file has {len(ins)} inputs and {len(outs)} outputs, the model {len(graph.inputs)} and "
                            f"{len(graph.outputs)}")
    names = [port.name for port in graph.inputs]
    for port, name in zip(ins, names, strict=True):
        if name in example:
            interpreter.resize_tensor_input(port["index"], example[name].shape)
    interpreter.allocate_tensors()

    def call(arrays: Arrays) -> list[np.ndarray]:
        for port, name in zip(ins, names, strict=True):
            interpreter.set_tensor(port["index"], arrays[name])
        interpreter.invoke()
        return [interpreter.get_tensor(port["index"]) for port in outs]

    return source.run(call, names, batch)


def _torch(source: Source, example: Arrays, batch: int) -> Run:
    raise NotComparable("it reads no file that EdgeLSTM converts")


def _numpy(source: Source, example: Arrays, batch: int) -> Run:
    """The float64 reference, op by op in NumPy."""
    graph = source.model.graph
    return source.run(lambda arrays: list(reference.run(graph, arrays).values()), [port.name for port in graph.inputs], batch)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotComparable(f"the package {module.partition('.')[0].replace('_', '-')} is not installed") from None


PEERS: dict[str, Callable[[Source, Arrays, int], Run]] = {
    "onnxruntime": _onnxruntime, "litert": _litert, "openvino": _openvino, "torch": _torch, "numpy": _numpy,
}
