"""One report of a model on this machine, as plain values: latencies in microseconds, sizes in bytes."""

import hashlib
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edgelstm import native
from edgelstm.benchmark import feeds, profile, timing
from edgelstm.format import to_bytes
from edgelstm.graph import Graph
from edgelstm.model import Model
from edgelstm.version import __version__

FORMAT = 1
FRAMES, SEQUENCES = 64, 4  # different inputs that take turns


@dataclass(frozen=True)
class Settings:
    """What is measured: `steps` of a sequence, `batch`, `threads` of the model, `seconds` for each latency."""

    steps: int
    batch: int
    threads: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """A report, and the latencies in ns behind it: `step` (None where the model cannot stream) and `sequence`."""

    report: dict[str, Any]
    step: np.ndarray | None
    sequence: np.ndarray


def measure(model: Model, settings: Settings) -> Measured:
    """Latencies, throughput, overhead, bytes and profile. Raises ShapeError where the model does not take such a batch."""
    step_report, step = _step(model, settings) if model.streaming.ok else ({"refused": str(model.streaming)}, None)
    sequence_report, sequence = _sequence(model, settings)
    report = {
        "format": FORMAT, "edgelstm": __version__, "machine": machine() | _gpu(model),
        "model": {"sha256": fingerprint(model.graph)},
        "settings": asdict(settings), "step": step_report, "sequence": sequence_report,
        "bytes": asdict(model.footprint(settings.batch, settings.steps)),
    }
    return Measured(report, step, sequence)


def machine() -> dict[str, Any]:
    """What a latency depends on besides the model."""
    target = native.host()
    return {"cpu": target.cpu, "target": target.name, "cores": os.cpu_count(), "system": platform.system(),
            "architecture": platform.machine()}


def _gpu(model: Model) -> dict[str, str]:
    if model.device == "cpu":
        return {}
    from edgelstm.cuda import driver
    from edgelstm.devices import number_of

    return {"gpu": driver.describe(number_of(model.device), memory=False)}


def fingerprint(graph: Graph) -> str:
    """sha256 of what a model computes, whatever file it came from."""
    bare = replace(graph, provenance={}, notes=(), probes=())
    return hashlib.sha256(to_bytes(bare)).hexdigest()


def _step(model: Model, settings: Settings) -> tuple[dict[str, Any], np.ndarray]:
    graph, batch = model.graph, settings.batch
    stream = model.stream(batch)
    inputs = [feeds.single(frame) for frame in feeds.frames(graph, batch, FRAMES)]
    first = stream.step(inputs[0])
    out = [np.empty_like(array) for array in first] if isinstance(first, list) else np.empty_like(first)
    samples = timing.latencies(_step_into(stream.step, out), inputs, settings.seconds)
    return _latency(samples, batch) | _native(model, batch, None, samples), samples


def _sequence(model: Model, settings: Settings) -> tuple[dict[str, Any], np.ndarray]:
    graph, batch, steps = model.graph, settings.batch, settings.steps
    samples = timing.latencies(model.run, feeds.sequences(graph, batch, steps, SEQUENCES), settings.seconds)
    return _latency(samples, batch * _steps_of(graph, steps)) | _native(model, batch, steps, samples), samples


def _native(model: Model, batch: int, steps: int | None, samples: np.ndarray) -> dict[str, Any]:
    """Overhead and kernels of a step, or of a run of so many steps; nothing for a GPU, whose kernels can't be called alone."""
    if model.device != "cpu":
        return {}
    inputs = _whole(model.graph, batch, steps or 1)
    bound = profile.bound_step(model.graph, inputs, batch) if steps is None else \
        profile.bound_run(model.graph, inputs, batch, steps)
    return _overhead(bound, samples) | {"kernels": bound.calls()}


def _step_into(step: Callable[..., Any], out: Any) -> Callable[[Any], Any]:
    def call(frame: Any) -> None:
        step(frame, out)

    return call


def _latency(samples: np.ndarray, steps: int) -> dict[str, float]:
    """Percentiles, and time steps a second at the median, over all sequences of the batch."""
    found = timing.summary(samples)
    return found | {"steps_per_second": steps * 1e6 / max(found["p50_us"], 1e-3)}


def _overhead(bound: profile.Bound, samples: np.ndarray) -> dict[str, float]:
    """The native call alone on one thread, an empty one through the same door, and what Python adds around it."""
    native_us = bound.whole() / 1e3
    return {"native_us": native_us, "door_us": profile.door_ns() / 1e3,
            "python_us": max(float(np.median(samples)) / 1e3 - native_us, 0.0)}


def _whole(graph: Graph, batch: int, steps: int) -> dict[str, np.ndarray]:
    """All inputs in the model's own shapes, states as zeros."""
    given = feeds.sequences(graph, batch, steps, 1)[0]
    shapes = feeds.step_shapes(graph, batch, steps)
    return {port.name: given.get(port.name, np.zeros(shapes[port.name], port.dtype)) for port in graph.inputs}


def _steps_of(graph: Graph, steps: int) -> int:
    """Time steps of a run: as asked where the time axis is dynamic, else the model's own, 1 without such an axis."""
    lengths = [port.shape[port.time] for port in graph.inputs if port.time is not None]
    return next((steps if isinstance(length, str) else length for length in lengths), 1)
