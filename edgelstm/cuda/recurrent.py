"""Twins of the recurrent kernels.

Cells of up to WHOLE units, and larger ones where the batch keeps the device busy, run as one launch: a block of threads has
some rows of the batch and all their units, its states in shared memory, and walks through time. Where one row group has more
units, blocks share them, and every step is a launch: the states are in `work`, and the end of a launch is where the blocks
meet.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda import products
from edgelstm.cuda.cells import Cell, all_cells, weights
from edgelstm.cuda.driver import LANES, SIMULATED, cuda, multiprocessors, types
from edgelstm.cuda.launching import Args, Launch, Twin, jit, launch
from edgelstm.cuda.scalars import device
from edgelstm.cuda.sweeps import Block
from edgelstm.kernels.recurrent import Sequence, Step

WHOLE = 6 if SIMULATED else 512  # units that one block walks through time with
THREADS = 4 if SIMULATED else 512
SHARED = 47 << 10  # bytes that every device gives a block unasked
SLICE = 2 if SIMULATED else 32  # units of a block where several share the units
MOST_ROWS = 2 if SIMULATED else 4  # of the batch, for a block


@device
def _width(units):
    return (units + LANES - 1) // LANES * LANES


@device
def _read_state(block, rows, units, work, at, source):
    """Rows of a state (batch, units) into work, zeros where source is null and beyond the units."""
    width, span = _width(units), block.end - block.begin
    for i in range(block.thread, rows * span, block.threads):
        m = i // span
        unit, row = block.begin + i - m * span, block.first + m
        if row < block.batch:
            value = np.float32(0.0)
            if source.shape[0] > 0 and unit < units:
                value = source[row * units + unit]
            work[at + (block.local + m) * width + unit] = value


@device
def _write_state(block, rows, units, work, at, target):
    width, span = _width(units), block.end - block.begin
    if target.shape[0] > 0:
        for i in range(block.thread, rows * span, block.threads):
            m = i // span
            unit, row = block.begin + i - m * span, block.first + m
            if row < block.batch and unit < units:
                target[row * units + unit] = work[at + (block.local + m) * width + unit]


def _advance(phases: tuple[Any, ...]) -> Any:
    if len(phases) == 1:
        return phases[0]
    first, second = phases

    def advance(q, step, block, weights, options):
        first(q, step, block, weights, options)
        second(q, step, block, weights, options)

    return device(advance)


@cache
def whole(name: str, form: str, rows: int) -> Any:
    """One block for all steps of `rows` rows. sizes: batch, steps, units, p_t, p_b, y_t, y_b, reverse, hold."""
    cell = all_cells()[name]
    advance, states = _advance(cell.phases(form, rows, False)), cell.states
    read, write = _carried(cell, rows, _read_state), _carried(cell, rows, _write_state)

    def kernel(p, y, mask, starts, ends, weights, options, sizes):
        memory = cuda.shared.array(0, types.float32)
        units, steps, size = sizes[2], sizes[1], rows * _width(sizes[2])
        work, partial = memory[:states * size], memory[states * size:]
        first = cuda.blockIdx.x * rows
        block = Block(cuda.threadIdx.x, cuda.blockDim.x, sizes[0], first, 0, 0, _width(units), partial, partial)
        q = Sequence(p, y, work, mask, rows, steps, units, sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], 0.0)
        now, other = 0, size
        read(block, q, now, starts)
        cuda.syncthreads()
        for s in range(steps):
            t = steps - 1 - s if sizes[7] else s
            advance(q, Step(t, s == 0, now, other, 0, units, 0), block, weights, options)
            now, other = other, now
        write(block, q, now, ends)

    return jit(kernel)


def _carried(cell: Cell, rows: int, copy: Any) -> Any:
    """`copy` for h, which is in work at `now`, and for the cell state where there is one."""
    if len(cell.carried) == 1:
        return device(lambda block, q, now, arrays: copy(block, rows, q.units, q.work, now, arrays[0]))
    index = cell.carried[1][1]

    def both(block, q, now, arrays):
        copy(block, rows, q.units, q.work, now, arrays[0])
        copy(block, rows, q.units, q.work, index * q.batch * _width(q.units), arrays[1])

    return device(both)


@cache
def stepwise(name: str, form: str, rows: int) -> tuple[Any, ...]:
    """Kernels for blocks that share the units: read the states, each phase of step s, write the states."""
    cell = all_cells()[name]
    copies = [_copier(_carried(cell, rows, copy), rows) for copy in (_read_state, _write_state)]
    return copies[0], tuple(_one_phase(phase, rows) for phase in cell.phases(form, rows, True)), copies[1]


def _slice(rows: int) -> Any:
    """`part(sizes, memory)`: the rows and units of this block."""
    def part(sizes, memory):
        width, first = _width(sizes[2]), cuda.blockIdx.y * rows
        begin = cuda.blockIdx.x * SLICE
        staged, partial = memory[:rows * width], memory[rows * width:]
        end = min(begin + SLICE, width)
        return Block(cuda.threadIdx.x, cuda.blockDim.x, sizes[0], first, first, begin, end, partial, staged)

    return device(part)


@device
def _sequence(p, y, work, mask, sizes):
    return Sequence(p, y, work, mask, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7],
                    sizes[8], 0.0)


def _copier(copy: Any, rows: int) -> Any:
    part = _slice(rows)

    def kernel(p, y, work, mask, arrays, now, sizes):
        memory = cuda.shared.array(0, types.float32)
        copy(part(sizes, memory), _sequence(p, y, work, mask, sizes), now, arrays)

    return jit(kernel)


def _one_phase(phase: Any, rows: int) -> Any:
    part = _slice(rows)

    def kernel(p, y, work, mask, weights, options, s, now, other, sizes):
        memory = cuda.shared.array(0, types.float32)
        t = sizes[1] - 1 - s if sizes[7] else s
        step = Step(t, s == 0, now, other, 0, sizes[2], 0)
        phase(_sequence(p, y, work, mask, sizes), step, part(sizes, memory), weights, options)

    return jit(kernel)


def padded(units: int) -> int:
    """Units rounded up to whole vectors."""
    return -(-units // LANES) * LANES


def rows_for(cell: Cell, batch: int, units: int) -> int:
    """Rows of a block: one while there are multiprocessors for all, then as many as shared memory has room for."""
    rows = 1
    while rows < MOST_ROWS and batch > rows * multiprocessors() and _shared(cell, 2 * rows, units) <= SHARED:
        rows *= 2
    return rows


def _threads(units: int) -> int:
    width = padded(units)
    parts = max(1, min(THREADS // width, -(-units // 8)))
    return min(THREADS, width * parts)


def _shared(cell: Cell, rows: int, units: int) -> int:
    """Bytes of shared memory of a block that has all units."""
    width = padded(units)
    return 4 * rows * (cell.states * width + cell.gates * max(width, _threads(units)))


def _bound(name: str, form: str, args: Args) -> list[Launch]:
    cell, batch, units = all_cells()[name], args["batch"], args["units"]
    if batch == 0:
        return []
    rows = rows_for(cell, batch, units)
    fits = _shared(cell, rows, units) <= SHARED
    busy = batch >= rows * multiprocessors() and not SIMULATED
    if fits and (padded(units) <= WHOLE or busy):
        return _whole_launches(name, form, rows, args)
    return _step_launches(name, form, rows, args)


def _common(cell: Cell, args: Args) -> tuple[tuple[int, ...], tuple[Any, ...], tuple[Any, ...], Any]:
    sizes = tuple(args[key] for key in ("batch", "steps", "units", "p_t", "p_b", "y_t", "y_b", "reverse", "hold"))
    starts, ends = (tuple(args[f"{state}{end}"] for state, _ in cell.carried) for end in "0n")
    return sizes, starts, ends, weights(cell, args)


def _whole_launches(name: str, form: str, rows: int, args: Args) -> list[Launch]:
    cell, units = all_cells()[name], args["units"]
    sizes, starts, ends, panels = _common(cell, args)
    kernel, blocks = whole(name, form, rows), -(-args["batch"] // rows)
    return [launch(kernel, blocks, _threads(units), args["p"], args["y"], args["mask"], starts, ends, panels,
                   cell.options(args), sizes, shared=_shared(cell, rows, units))]


def _step_launches(name: str, form: str, rows: int, args: Args) -> list[Launch]:
    cell, width = all_cells()[name], padded(args["units"])
    sizes, starts, ends, panels = _common(cell, args)
    read, phases, write = stepwise(name, form, rows)
    blocks = (-(-width // SLICE), -(-args["batch"] // rows))
    threads = min(THREADS, SLICE * 8) if not SIMULATED else THREADS
    shared = 4 * rows * (width + cell.gates * threads)
    bound = args["p"], args["y"], args["work"], args["mask"]
    states = [0, args["batch"] * width]
    found = [launch(read, blocks, threads, *bound, starts, 0, sizes, shared=shared)]
    for s in range(args["steps"]):
        now, other = states[s % 2], states[1 - s % 2]
        found += [launch(phase, blocks, threads, *bound, panels, cell.options(args), s, now, other, sizes, shared=shared)
                  for phase in phases]
    return [*found, launch(write, blocks, threads, *bound, ends, states[args["steps"] % 2], sizes, shared=shared)]


def _sequence_twin(name: str) -> Callable[[str], Twin]:
    return lambda form: Twin(lambda args: _bound(name, form, args))


def _step_twin(name: str, gates: int) -> Callable[[str], Twin]:
    """The kernel of one step of one row: the product of the frame, then the sequence kernel for a single step."""
    def bind(form: str, args: Args) -> list[Launch]:
        units, n_out, p = args["units"], gates * padded(args["units"]), args["scratch"]
        first = {"x": args["x"], "w": args["w"], "bias": args["bias"], "y": p, "rows": 1, "n_in": args["n_in"], "n_out": n_out,
                 "x_stride": 0, "y_stride": 0}
        null = args["bias"][:0]
        second = {"p": p, "mask": args["none"], "batch": 1, "steps": 1, "units": units, "p_t": 0, "p_b": 0, "y_t": 0, "y_b": 0,
                  "reverse": 0, "hold": 0, "work": p[n_out:], "r": args["r"], "y": args["y"], "rb": args.get("rb", null)}
        states = {f"{state}{end}": args[state] for state, _ in all_cells()[name].carried for end in "0n"}
        return [*products.gemm(form, gates).bind(first), *_bound(name, form, second | states)]

    def twin(form: str) -> Twin:
        return Twin(lambda args: bind(form, args), lambda args: (gates + 3) * padded(args["units"]))

    return twin


TWINS: dict[str, Callable[[str], Twin]] = {
    **{name: _sequence_twin(name) for name in ("lstm", "lstm_general", "gru", "gru_general", "gru_before", "gru_before_general",
                                               "simple_rnn", "simple_rnn_general")},
    "lstm_step": _step_twin("lstm", 4), "gru_step": _step_twin("gru", 3), "simple_rnn_step": _step_twin("simple_rnn", 1),
}
