"""What the side-by-side benchmark times: one layer at work behind one small interface, here by EdgeLSTM.

A Work says what is to be done; a runtime makes a Runner for it, or raises NotComparable with the reason. `burst` feeds one
input after another and leaves the last output where `last` finds it, so that the loop around the calls is the same for all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import edgelstm
from bench.cells import Cell
from edgelstm.graph import Graph
from edgelstm.precision import apply, resolve

Burst = Callable[[Iterable[np.ndarray]], None]


class NotComparable(Exception):
    """A runtime that cannot do the work; the text says why."""


@dataclass(frozen=True)
class Work:
    """`form` is step or advance (inputs (F,), states kept from call to call) or sequence ((batch, steps, F), stateless).

    `precision` is that of EdgeLSTM's weights; a peer has its own by its name.
    """

    cell: Cell
    form: str
    steps: int = 1
    batch: int = 1
    threads: int = 1
    precision: str = "float32"

    @property
    def is_step(self) -> bool:
        return self.form != "sequence"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.cell.features,) if self.is_step else (self.batch, self.steps, self.cell.features)


@dataclass(frozen=True)
class Runner:
    """A runtime at work. `last` gives the newest output: (H,) of a step, (batch, steps, H) of a sequence.

    `holds` is what has to live as long.
    """

    name: str
    burst: Burst
    last: Callable[[], np.ndarray]
    holds: Any = None


def edgelstm_runner(work: Work) -> Runner:
    """EdgeLSTM: `step(frame, out=)`, bound buffers and `advance()`, or `predict`."""
    model = edgelstm.load(in_precision(work.cell.graph, work.precision), threads=work.threads)
    if work.form == "sequence":
        return calling("EdgeLSTM", model.predict)
    stream = model.stream()
    if work.form == "advance":
        return _advancing(stream)
    step, out = stream.step, np.zeros(work.cell.units, np.float32)

    def burst(frames: Iterable[np.ndarray]) -> None:
        for frame in frames:
            step(frame, out)

    return Runner("EdgeLSTM", burst, out.copy)


def in_precision(graph: Graph, precision: str) -> Graph:
    """A graph with the weights of all layers in a precision that needs no calibration."""
    return apply(graph, resolve(graph, precision))


def _advancing(stream: Any) -> Runner:
    if not hasattr(stream, "advance"):
        raise NotComparable("this version has no bound buffers")
    (x, y), advance = (_only(side) for side in stream.buffers()), stream.advance

    def burst(frames: Iterable[np.ndarray]) -> None:
        for frame in frames:
            x[...] = frame
            advance()

    return Runner("EdgeLSTM", burst, y.copy, stream)


def _only(side: Any) -> np.ndarray:
    """The array of a side of the buffers, given alone, in a list or by name."""
    if isinstance(side, np.ndarray):
        return side
    (array,) = side.values() if isinstance(side, dict) else side
    return array


def calling(name: str, call: Callable[[np.ndarray], Any], shown: Callable[[Any], np.ndarray] = lambda y: y) -> Runner:
    """A runner around a function that gives a fresh output for every input."""
    newest: list[Any] = [None]

    def burst(inputs: Iterable[np.ndarray]) -> None:
        for x in inputs:
            newest[0] = call(x)

    return Runner(name, burst, lambda: np.array(shown(newest[0])))
