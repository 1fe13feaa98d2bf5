"""Runs on several threads: the rows of a batch in parts, each by a program of its own, or else the units of large layers."""

import os
import threading
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from edgelstm import helpers, rows
from edgelstm.graph import Port
from edgelstm.program.plan import Program
from edgelstm.programs import Programs

WORTH = 2_000_000  # multiplications for which waking a helper pays
_one_team = threading.Lock()
ROWS_TOGETHER = 4  # rows that the kernels compute at once


class Threads:
    """Divides the runs of one model among `count` threads, where that is possible and pays."""

    def __init__(self, programs: Programs, count: int) -> None:
        self.count = count
        self._programs, self._graph = programs, programs.graph

    def run(self, program: Program, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> bool:
        """Fill the outputs; False, with nothing done, where one thread is the better choice. `program` is the undivided one."""
        if self.count == 1 or (work := self._work(program, inputs)) < WORTH:
            return False
        parts = _parts(self._batch(inputs), self.count)
        if len(parts) == 1 or not self._independent:
            return self._together(work, inputs, outputs)
        helpers.at_once([partial(self._part, part, inputs, outputs) for part in parts])
        return True

    def _together(self, work: int, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> bool:
        """The run by a team that meets at every time step: one team at a time, and only where each has a processor."""
        if processors() < self.count or not _one_team.acquire(blocking=False):
            return False
        try:
            shapes = {port.name: array.shape for port, array in zip(self._graph.inputs, inputs, strict=True)}
            team = self._programs.for_team(shapes, self.count)
            if team is None or not team.ready(work):
                return False
            team.run([*inputs, *outputs])
            return True
        finally:
            _one_team.release()

    @cached_property
    def _independent(self) -> bool:
        return rows.independent(self._graph)

    def _batch(self, inputs: Sequence[np.ndarray]) -> int:
        ports = zip(self._graph.inputs, inputs, strict=True)
        return next((array.shape[port.batch] for port, array in ports if port.batch is not None), 1)

    def _work(self, program: Program, inputs: Sequence[np.ndarray]) -> int:
        """Multiplications of a run, about."""
        ports = zip(self._graph.inputs, inputs, strict=True)
        steps = max((array.shape[port.time] for port, array in ports if port.time is not None), default=1)
        return program.constant_nbytes // 4 * self._batch(inputs) * steps

    def _part(self, part: slice, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """The rows of one part, read and written where they are unless the batch is not the outermost axis."""
        ins = [np.ascontiguousarray(_rows(port, array, part))
               for port, array in zip(self._graph.inputs, inputs, strict=True)]
        targets = [_rows(port, array, part) for port, array in zip(self._graph.outputs, outputs, strict=True)]
        outs = [target if target.flags.c_contiguous else np.empty_like(target, order="C") for target in targets]
        shapes = {port.name: array.shape for port, array in zip(self._graph.inputs, ins, strict=True)}
        self._programs.for_run(shapes).run(ins, outs)
        for target, out in zip(targets, outs, strict=True):
            if out is not target:
                target[...] = out


def _rows(port: Port, array: np.ndarray, part: slice) -> np.ndarray:
    return array if port.batch is None else array[(slice(None),) * port.batch + (part,)]


def _parts(batch: int, count: int) -> list[slice]:
    """Parts of nearly the same size, whole multiples of ROWS_TOGETHER where there are enough rows."""
    unit = ROWS_TOGETHER if batch >= ROWS_TOGETHER * count else 1
    size = -(-batch // (count * unit)) * unit
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_anew() -> None:
    global _one_team
    _one_team = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
