"""The time of every kernel call of a program, alone and with the arguments that it has in the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgelstm import native
from edgelstm.benchmark.timing import burst_ns
from edgelstm.graph import Graph
from edgelstm.memory import address, aligned_copy, aligned_zeros
from edgelstm.program.operands import Space
from edgelstm.program.plan import Program
from edgelstm.programs import Programs
from edgelstm.streaming import step_shapes


@dataclass(frozen=True)
class Bound:
    """A program on memory of its own, filled with `inputs`. `table` calls all kernels; `holds` keeps the memory alive."""

    program: Program
    table: np.ndarray
    holds: tuple[np.ndarray, ...]

    def whole(self) -> float:
        """ns of the native call alone, as a Python loop sees it."""
        return burst_ns(native.thunk(self.table))

    def calls(self) -> list[dict[str, str | float | int]]:
        """Number, kernel, time (without the call's own overhead) and share of every kernel call. Shares sum to 100.

        Calls of a kernel with the same weights, one for each part of a long sequence, count as one.
        """
        empty, groups = door_ns(), self._groups()
        self.whole()
        times = [max(burst_ns(native.thunk(self._alone(numbers))) - empty, 0.0) for numbers in groups]
        total = sum(times) or 1.0
        return [{"call": first, "kernel": self.program.kernels[first], "us": ns / 1e3, "share_percent": 100 * ns / total}
                for (first, *_), ns in zip(groups, times, strict=True)]

    def _groups(self) -> list[list[int]]:
        """The numbers of the calls, those together that only differ in the part of the time that they work on."""
        words, kernels = self.program.words, self.program.kernels
        starts = [*(words[2 : 2 + 2 * len(kernels) : 2] // 8), len(words)]
        weights = {address(array) for array in self.program.constants if array.nbytes}
        groups: dict[tuple[str, int | frozenset[int]], list[int]] = {}
        for number, name in enumerate(kernels):
            read = weights.intersection(words[starts[number] : starts[number + 1]].tolist())
            groups.setdefault((name, frozenset(read) or number), []).append(number)
        return list(groups.values())

    def _alone(self, numbers: Sequence[int]) -> np.ndarray:
        """A table with these kernel calls only; their argument blocks are those in the whole table."""
        return np.array([len(numbers), *(word for k in numbers for word in self.table[1 + 2 * k : 3 + 2 * k])], np.int64)


def bound_step(graph: Graph, inputs: Mapping[str, np.ndarray], batch: int) -> Bound:
    """The program of one streaming step, with its states."""
    programs = Programs(graph)
    memory = programs.stream_memory(batch)
    return _bound(programs.for_stream(step_shapes(graph, batch, 1), memory), graph, inputs, memory.layout.nbytes)


def bound_run(graph: Graph, inputs: Mapping[str, np.ndarray], batch: int, steps: int) -> Bound:
    """The program of a stateless run."""
    return _bound(Programs(graph).for_run(step_shapes(graph, batch, steps)).program, graph, inputs, state_nbytes=0)


def door_ns() -> float:
    """ns of an empty table through the door that a step takes: what calling native code costs from Python."""
    return burst_ns(native.thunk(np.zeros(1, np.int64)))


def _bound(program: Program, graph: Graph, inputs: Mapping[str, np.ndarray], state_nbytes: int) -> Bound:
    ports = [aligned_copy(inputs[port.name]) for port in graph.inputs]
    ports += [aligned_zeros(shape, port.dtype) for shape, port in zip(program.outputs, graph.outputs, strict=True)]
    arena, state = (aligned_zeros((nbytes,), np.uint8) for nbytes in (program.arena_nbytes, state_nbytes))
    table = aligned_zeros(program.words.shape, np.int64)
    bases = np.zeros(Space.PORTS + len(ports), np.int64)
    bases[[Space.TABLE, Space.ARENA, Space.STATE]] = address(table), address(arena), address(state)
    bases[Space.PORTS :] = [address(array) for array in ports]
    np.add(program.words, bases[program.spaces], out=table)
    return Bound(program, table, (arena, state, *ports))
