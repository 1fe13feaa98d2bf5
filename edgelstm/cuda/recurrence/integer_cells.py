"""Twins of the integer-only recurrent kernels: the processors' own code, a block of threads for each row of the batch."""

from functools import cache
from typing import Any

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import SIMULATED, cuda, types
from edgelstm.cuda.launching import Args, Launch, Twin, jit, launch
from edgelstm.cuda.scalars import device
from edgelstm.kernels import integer_gru, integer_lstm, integer_simple_rnn
from edgelstm.kernels.integer import Crew, Sequence

THREADS = 4 if SIMULATED else 256
BLOCKS = 2 if SIMULATED else 1 << 16
STATES = {"integer_lstm": ("h0", "c0", "hn", "cn"), "integer_gru": ("h0", "hn"), "integer_gru_before": ("h0", "hn"),
          "integer_simple_rnn": ("h0", "hn")}
_ROWS = {"integer_lstm": integer_lstm.row, "integer_gru": integer_gru.row, "integer_gru_before": integer_gru.row_before,
         "integer_simple_rnn": integer_simple_rnn.row}
_H_ROWS = 3  # of int8 in work, where a kernel needs most


def _crew() -> Crew:
    return Crew(device(lambda: cuda.threadIdx.x), device(lambda: cuda.blockDim.x), device(lambda: cuda.syncthreads()))


def _cell(name: str) -> Any:
    """`cell(states, wide, fraction)`: what the kernel calls its Cell; `wide` is work for a row of int16."""
    if name == "integer_lstm":
        lstm = integer_lstm.Cell
        return device(lambda states, wide, fraction: lstm(states[0], states[1], states[2], states[3], wide, fraction))
    if name == "integer_simple_rnn":
        simple = integer_simple_rnn.Cell
        return device(lambda states, wide, fraction: simple(states[0], states[1]))
    gru = integer_gru.Cell
    return device(lambda states, wide, fraction: gru(states[0], states[1], wide, fraction))


@cache
def kernel(name: str) -> Any:
    """All steps of all rows. sizes: batch, steps, n_in, units, x_t, x_b, y_t, y_b, reverse, hold, h_word, fraction."""
    run, cell, i8, i16 = _ROWS[name](scalars.make(), _crew()), _cell(name), types.int8, types.int16

    def rows(arrays, states, sizes):
        x, w, r, columns, y, mask, table = arrays
        h = cuda.shared.array(0, i8)
        wide = cuda.shared.array(0, i16)[(_H_ROWS * sizes[3] + 1) // 2:]
        q = Sequence(x, w, r, columns, y, h, mask, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6],
                     sizes[7], sizes[8], sizes[9], sizes[10], table)
        for b in range(cuda.blockIdx.x, sizes[0], cuda.gridDim.x):
            run(q, cell(states, wide, sizes[11]), b)
            cuda.syncthreads()

    return jit(rows)


def twin(name: str) -> Twin | None:
    """The twin of a recurrent integer kernel, None for other names."""
    if name not in _ROWS:
        return None

    def bind(args: Args) -> list[Launch]:
        if args["batch"] == 0:
            return []
        arrays = tuple(args[array] for array in ("x", "w", "r", "columns", "y", "mask", "table"))
        states = tuple(args[state] for state in STATES[name])
        sizes = tuple(args[size] for size in ("batch", "steps", "n_in", "units", "x_t", "x_b", "y_t", "y_b", "reverse", "hold",
                                              "h_word"))
        return [launch(kernel(name), min(args["batch"], BLOCKS), THREADS, arrays, states, (*sizes, args.get("fraction", 0)),
                       shared=(_H_ROWS + 3) * args["units"] + 4)]

    return Twin(bind)
