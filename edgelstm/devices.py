"""Which device runs a model: what device="auto" measures and chooses, and the CPU that stands in for a GPU where asked to.

Neither happens silently: both warn with DeviceWarning, and `Model.choice` keeps the reason.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgelstm.arrays import whole_number
from edgelstm.errors import DependencyError, DeviceError, DeviceMemoryError, DeviceWarning, ShapeError, UnsupportedError
from edgelstm.graph import Graph
from edgelstm.model import Model
from edgelstm.stream import Stream
from edgelstm.stream_pool import Pool

BATCHES = (1, 8, 32, 128, 1024)
STEPS = 100  # of a run, for models that do not stream
MISSING = (DeviceError, DependencyError, UnsupportedError)

Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """Median seconds of one call on each device at a batch."""

    batch: int
    seconds: Mapping[str, float]

    @property
    def faster(self) -> str:
        return min(self.seconds, key=self.seconds.__getitem__)


def medians(runs: Mapping[str, Run], seconds: float = 0.2) -> dict[str, float]:
    """Median seconds of a call of each, which take turns for about `seconds` after a few calls that warm them up."""
    from edgelstm.benchmark.timing import turns

    taken = turns([_repeated(run) for run in runs.values()], [None], seconds)
    return dict(zip(runs, np.median(taken, axis=0).tolist(), strict=True))


def _repeated(run: Run) -> Callable[[Sequence[None]], None]:
    def burst(times: Sequence[None]) -> None:
        for _ in times:
            run()

    return burst


def call(model: Model, batch: int, steps: int | None = None) -> Run:
    """What is measured of a model: a step of a stream over arrays of the host; a run with `steps`, or where it can't stream."""
    from edgelstm.benchmark import feeds

    steps = _steps(model, steps)
    if steps is None:
        stream, frame = model.stream(batch), feeds.single(feeds.frames(model.graph, batch, 1)[0])
        out = stream.step(frame)
        return lambda: stream.step(frame, out)
    arrays = feeds.sequences(model.graph, batch, steps, 1)[0]
    return lambda: model.run(arrays)


def measured(model: Model, steps: int | None = None) -> str:
    """The words for what `call` measures."""
    steps = _steps(model, steps)
    return "a step" if steps is None else f"a run of {steps} steps"


def _steps(model: Model, steps: int | None) -> int | None:
    """The steps of the run that is measured; None for a step of a stream."""
    return steps or (None if steps is None and model.streaming.ok and not model.streaming.open else STEPS)


def crossover(models: Mapping[str, Model], batches: Iterable[int] = BATCHES, steps: int | None = None,
              seconds: float = 0.2) -> list[Row]:
    """A row for every batch that the model takes. Raises DeviceError, UnsupportedError."""
    rows = []
    for batch in batches:
        try:
            runs = {name: call(model, batch, steps) for name, model in models.items()}
        except ShapeError:
            continue
        rows.append(Row(batch, medians(runs, seconds)))
    return rows


def choose(graph: Graph, threads: int = 1, batch: int = 1, steps: int | None = None, fallback: str | None = None) -> Model:
    """A Model on the device that is faster at this batch; on the CPU where there is no GPU for it."""
    whole_number("the batch that device='auto' measures", batch)
    if steps is not None:
        whole_number("the number of steps that device='auto' measures", steps)
    _check_fallback(fallback)
    cpu = Model(graph, "cpu", threads)
    try:
        gpu = on_device(graph, "cuda")  # with a fallback the CPU might be measured in its place
        rows = crossover({"cpu": cpu, "cuda": gpu}, [batch], steps)
    except MISSING as error:
        return _told(cpu, f"device='auto' runs this model on the CPU: {_line(error)}", stacklevel=5)
    if not rows:
        raise ShapeError(f"the model does not take the batch {batch} that device='auto' is to measure")
    row = rows[0]
    shown = ", ".join(f"{1e6 * row.seconds[name]:.1f} us on {name}" for name in ("cpu", "cuda"))
    text = f"device='auto' runs this model on {row.faster!r}: {measured(cpu, steps)} at batch {batch} takes {shown}"
    faster = cpu if row.faster == "cpu" else gpu
    chosen = FallbackModel(graph, "cuda", threads) if fallback and faster is gpu else faster
    return _told(chosen, text, stacklevel=5)


def on_device(graph: Graph, device: str, threads: int = 1, fallback: str | None = None) -> Model:
    """A Model on this device. With fallback="cpu" the CPU stands in where that can't be, now or when its memory is full."""
    _check_fallback(fallback)
    if device != "cpu":
        number_of(device)
    if fallback is None or device == "cpu":
        return Model(graph, device, threads)
    try:
        return FallbackModel(graph, device, threads)
    except MISSING as error:
        text = f"device={device!r} can't be used, the CPU runs this model: {_line(error)}"
        return _told(Model(graph, "cpu", threads), text, stacklevel=5)


class FallbackModel(Model):
    """A Model whose runs and streams go to the CPU where the device's memory is full or a kernel is missing.

    A stream that has begun stays where it is.
    """

    def __init__(self, graph: Graph, device: str, threads: int = 1) -> None:
        super().__init__(graph, device)
        self._cpu_threads = threads

    def __reduce__(self) -> Any:
        return FallbackModel, (self._graph, self._device, self._cpu_threads)

    @cached_property
    def _cpu(self) -> Model:
        return Model(self._graph, "cpu", self._cpu_threads)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return super().run(inputs)
        except (DeviceMemoryError, UnsupportedError) as error:
            if self._programs.takes(inputs):
                raise
            return self._warned(error).run(inputs)

    def stream(self, batch: int = 1) -> Stream:
        try:
            return super().stream(batch)
        except (DeviceMemoryError, UnsupportedError) as error:
            return self._warned(error).stream(batch)

    def pool(self, capacity: int) -> Pool:
        try:
            return super().pool(capacity)
        except (DeviceMemoryError, UnsupportedError) as error:
            return self._warned(error).pool(capacity)

    def _warned(self, error: Exception) -> Model:
        _warn(f"the CPU does this instead of device={self._device!r}: {_line(error)}", stacklevel=4)
        return self._cpu


def _check_fallback(fallback: str | None) -> None:
    if fallback not in (None, "cpu"):
        raise DeviceError(f"fallback={fallback!r} is not supported; give 'cpu', or leave it out")


def number_of(device: Any) -> int | None:
    """The number in 'cuda:1', None for 'cuda', which is the current device. Raises DeviceError for other names."""
    kind, colon, number = device.partition(":") if isinstance(device, str) else (None, "", "")
    if kind != "cuda" or (colon and not (number.isascii() and number.isdecimal())):
        raise DeviceError(f"device {device!r} is not supported; use 'cpu', 'cuda', 'cuda:1' or 'auto'")
    return int(number) if colon else None


def _told(model: Model, reason: str, stacklevel: int) -> Model:
    model._choice = reason
    _warn(reason, stacklevel + 1)
    return model


def _warn(text: str, stacklevel: int) -> None:
    warnings.warn(text, DeviceWarning, stacklevel=stacklevel)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
