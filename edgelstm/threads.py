"""Runs on several threads: the rows of a batch in parts, each part by a program of its own.

Helper threads are shared by all models of a process. They wait without using the processor, and a forked child starts new ones.
"""

import os
from collections.abc import Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgelstm import rows
from edgelstm.graph import Port
from edgelstm.program.plan import Program
from edgelstm.programs import Programs

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

WORTH = 2_000_000  # multiplications for which waking a helper pays
ROWS_TOGETHER = 4  # rows that the kernels compute at once


class Threads:
    """Divides the runs of one model among `count` threads, where that is possible and pays."""

    def __init__(self, programs: Programs, count: int) -> None:
        self.count = count
        self._programs, self._graph = programs, programs.graph

    def run(self, program: Program, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> bool:
        """Fill the outputs; False, with nothing done, where one thread is the better choice. `program` is the undivided one."""
        if self.count == 1 or not self._pays(program, inputs) or not self._independent:
            return False
        parts = _parts(self._batch(inputs), self.count)
        if len(parts) == 1:
            return False
        others = [_helpers(self.count - 1).submit(self._part, part, inputs, outputs) for part in parts[1:]]
        try:
            self._part(parts[0], inputs, outputs)
        finally:
            for other in others:
                other.result()
        return True

    @cached_property
    def _independent(self) -> bool:
        return rows.independent(self._graph)

    def _batch(self, inputs: Sequence[np.ndarray]) -> int:
        ports = zip(self._graph.inputs, inputs, strict=True)
        return next((array.shape[port.batch] for port, array in ports if port.batch is not None), 1)

    def _pays(self, program: Program, inputs: Sequence[np.ndarray]) -> bool:
        ports = zip(self._graph.inputs, inputs, strict=True)
        steps = max((array.shape[port.time] for port, array in ports if port.time is not None), default=1)
        return self._batch(inputs) > 1 and program.constant_nbytes // 4 * self._batch(inputs) * steps >= WORTH

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


@cache
def _helpers(count: int) -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, thread_name_prefix="edgelstm")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)
