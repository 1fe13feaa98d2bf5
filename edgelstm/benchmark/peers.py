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
    """A trained file, and what it needs of a run: the model converted from it, and inputs that the conversion fixed."""

    path: Path | None
    model: Model
    threads: int

    def file(self, ending: str) -> str:
        """The path, which must end so."""
        if self.path is None or self.path.suffix.lower() != ending:
            given = "no source file was given" if self.path is None else f"{self.path.name} is none"
            raise NotComparable(f"it runs {ending} files, and {given}; name one with --source")
        return str(self.path)

    def completed(self, arrays: Arrays, wanted: Sequence[str]) -> Arrays:
        """Inputs by the file's names: what the conversion fixed, and states at zero, are added."""
        graph = self.model.graph
        fixed = graph.provenance.get("fix", {})
        batch = _batch(self.model, arrays)
        shapes = feeds.step_shapes(graph, batch, 1)
        zeros = {name: np.zeros(shapes[name], graph.input(name).dtype) for name, _ in graph.states}
        known = {**{name: np.asarray(value) for name, value in fixed.items()}, **zeros, **arrays}
        for name in wanted:
            if name not in known:
                raise NotComparable(f"its file has an input {name!r} that the converted model does not have")
        return {name: known[name] for name in wanted}


def compare(name: str, model: Model, source: Path | None, settings: Settings) -> dict[str, Any]:
    """Median microseconds of a run of both, the median of the paired ratios and its quartiles, and the peer's largest error.

    A model that carries explicit states and has no time axis is run for one step. Raises NotComparable.
    """
    inputs = feeds.sequences(model.graph, settings.batch, settings.steps, SEQUENCES)
    run = PEERS[name](Source(source, model, settings.threads), inputs[0])
    error = _check(model, run, inputs)
    taken = timing.turns([_burst(model.run), _burst(run)], inputs, settings.seconds)
    own, theirs = np.median(taken, axis=0) * 1e6
    low, ratio, high = np.percentile(taken[:, 0] / taken[:, 1], (25, 50, 75))
    return {"edgelstm_us": float(own), "peer_us": float(theirs), "ratio": float(ratio), "spread": [float(low), float(high)],
            "max_error": error}


def _check(model: Model, run: Run, inputs: Sequence[Arrays]) -> float:
    """The largest error of a peer over all inputs. Raises NotComparable where it does not compute what the model does."""
    worst = 0.0
    for arrays in inputs:
        whole = {port.name: arrays.get(port.name) for port in model.graph.inputs}
        shapes = feeds.step_shapes(model.graph, _batch(model, arrays), 1)
        whole = {name: np.zeros(shapes[name], model.graph.input(name).dtype) if a is None else a for name, a in whole.items()}
        expected = list(reference.run(model.graph, whole).values())
        found = [np.asarray(array) for array in run(arrays)]
        if [array.shape for array in found] != [array.shape for array in expected]:
            raise NotComparable(f"it gives the shapes {[a.shape for a in found]}, the model {[a.shape for a in expected]}")
        for mine, right in zip(found, expected, strict=True):
            error = np.abs(mine - right)
            if not np.all(error <= TOLERANCE * (1 + np.abs(right))):
                raise NotComparable(f"its numbers differ from the float64 reference by {float(np.max(error)):.2g}")
            worst = max(worst, float(np.max(error, initial=0.0)))
    return worst


def _batch(model: Model, arrays: Arrays) -> int:
    found = [arrays[port.name].shape[port.batch] for port in model.graph.inputs
             if port.batch is not None and port.name in arrays]
    return found[0] if found else 1


def _burst(run: Callable[[Arrays], Any]) -> Callable[[Sequence[Arrays]], None]:
    def burst(inputs: Sequence[Arrays]) -> None:
        for arrays in inputs:
            run(arrays)

    return burst


def _onnxruntime(source: Source, example: Arrays) -> Run:
    path, ort = source.file(".onnx"), _imported("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = source.threads, 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted, shown = [port.name for port in session.get_inputs()], [port.name for port in source.model.graph.outputs]
    rest = source.completed(example, wanted)
    return lambda arrays: session.run(shown, {**rest, **arrays})


def _openvino(source: Source, example: Arrays) -> Run:
    path, ov = source.file(".onnx"), _imported("openvino")
    settings = {"INFERENCE_NUM_THREADS": source.threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(path, "CPU", settings)
    rest = source.completed(example, [port.any_name for port in compiled.inputs])
    shown = [compiled.output(port.name) for port in source.model.graph.outputs]
    request = compiled.create_infer_request()

    def run(arrays: Arrays) -> list[np.ndarray]:
        found = request.infer({**rest, **arrays}, share_inputs=True)
        return [found[port] for port in shown]

    return run


def _litert(source: Source, example: Arrays) -> Run:
    path = source.file(".tflite")
    interpreter = _imported("ai_edge_litert.interpreter").Interpreter(path, num_threads=source.threads)
    ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(ins) != len(example) or len(outs) != len(source.model.graph.outputs):
        raise NotComparable(f"its file has {len(ins)} inputs and {len(outs)} outputs, the model {len(example)} and "
                            f"{len(source.model.graph.outputs)}")
    for port, array in zip(ins, example.values(), strict=True):
        interpreter.resize_tensor_input(port["index"], array.shape)
    interpreter.allocate_tensors()

    def run(arrays: Arrays) -> list[np.ndarray]:
        for port, array in zip(ins, arrays.values(), strict=True):
            interpreter.set_tensor(port["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(port["index"]) for port in outs]

    return run


def _torch(source: Source, example: Arrays) -> Run:
    raise NotComparable("it reads no file that EdgeLSTM converts")


def _numpy(source: Source, example: Arrays) -> Run:
    """The float64 reference, op by op in NumPy."""
    graph = source.model.graph
    wanted = [port.name for port in graph.inputs]
    return lambda arrays: list(reference.run(graph, source.completed(arrays, wanted)).values())


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotComparable(f"the package {module.partition('.')[0].replace('_', '-')} is not installed") from None


PEERS: dict[str, Callable[[Source, Arrays], Run]] = {
    "onnxruntime": _onnxruntime, "litert": _litert, "openvino": _openvino, "torch": _torch, "numpy": _numpy,
}
