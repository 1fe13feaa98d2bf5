"""Panels as a block reads them: in global memory, or a copy of those of its units in its shared memory and registers."""

from typing import Any

import numpy as np

from edgelstm.cuda.driver import LANES, cuda
from edgelstm.cuda.recurrence import chunks
from edgelstm.cuda.recurrence.cells import Cell
from edgelstm.cuda.recurrence.chunks import Chunk
from edgelstm.cuda.recurrence.shares import quotient, unpacked
from edgelstm.cuda.recurrence.sweeps import BYTES, Panels, Weights
from edgelstm.cuda.scalars import device, written_out


def words(cell: Cell, form: str, units: int, span: int, held: int = 0) -> int:
    """The 32-bit words of the copies of a block of `span` units, the first `held` chunks of each unit left out."""
    return sum(_piece_words(chunks.get(form, gates, 1), units, span, held) for gates in cell.products)


def _piece_words(chunk: Chunk, units: int, span: int, held: int) -> int:
    beside = max(1, LANES // span)
    return max(1, span // LANES) * -(-(chunk.count(units) - held) // beside) * chunk.rows * LANES


def holder(cell: Cell, form: str, held: int) -> Any:
    """`hold(block, units, panels, words)`: the panels with the first `held` chunks of this thread in `words`, its registers."""
    if held == 0:
        return device(lambda block, units, panels, words: panels)
    chunk = chunks.get(form, cell.products[0], 1)
    fill = written_out(held, lambda i: written_out(chunk.rows, lambda row: _fill(chunk, i, row)))

    def hold(block, units, panels, words):
        if block.share.part < block.share.parts:
            fill(block, units, panels.first.source, words)
        first = Panels(panels.first.words, panels.first.at, panels.first.source, words)
        return Weights(first, first, panels.bias)

    return device(hold)


def _fill(chunk: Chunk, i: int, row: int) -> Any:
    """`fill(block, units, source, words)`: one word of the chunk number i of this thread."""
    rows, stored, at = chunk.rows, device(chunk.stored), i * chunk.rows + row

    def fill(block, units, source, words):
        share = unpacked(block.share)
        line = share.unit // LANES * stored(units) + (share.part + i * share.parts) * rows + row
        words[at] = source[np.uint64(line * LANES + share.unit % LANES)]

    return device(fill)


def opener(cell: Cell, form: str, resident: bool, held: int = 0) -> Any:
    """`opened(block, units, weights, at)`: the arrays `weights` as Panels; with `resident` copied to word `at` and so on
    of shared memory, all but the first `held` chunks of every thread, which all threads see after the next meeting.
    """
    kinds = [chunks.get(form, gates, 1) for gates in cell.products]
    return _copier(kinds, chunks.word(form), held) if resident else _pointer(kinds)


def _pointer(kinds: list[Chunk]) -> Any:
    first, second = _start(kinds[0]), _start(kinds[-1])

    def opened(block, units, weights, at):
        return Weights(Panels(weights.first, first(block, units), weights.first, weights.first),
                       Panels(weights.second, second(block, units), weights.second, weights.second), weights.bias)

    return device(opened)


def _start(chunk: Chunk) -> Any:
    """`start(block, units)`: where the words of the block's first unit begin in global memory."""
    stored = device(chunk.stored)
    return device(lambda block, units: block.begin // LANES * stored(units) * LANES + block.begin % LANES)


def _copier(kinds: list[Chunk], dtype: Any, held: int) -> Any:
    first, second = (_copy(kind, held) for kind in (kinds[0], kinds[-1]))
    several = len(kinds) == 2

    def opened(block, units, weights, at):
        to = cuda.shared.array(0, dtype, BYTES)
        then = first(block, units, weights.first, to, at)
        if several:
            second(block, units, weights.second, to, then)
        return Weights(Panels(to, at, weights.first, to), Panels(to, then if several else at, weights.second, to), weights.bias)

    return device(opened)


def _copy(chunk: Chunk, left_out: int) -> Any:
    """`copy(block, units, source, to, at) -> end`: the chunks of the block's units to to[at:end], as sweeps.py wants them."""
    inputs, rows, stored, start = chunk.inputs, chunk.rows, device(chunk.stored), _start(chunk)

    def copy(block, units, source, to, at):
        span = block.end - block.begin
        beside, across, lane = max(1, quotient(LANES, span)), min(span, LANES), block.thread % LANES
        skipped, aside = left_out * unpacked(block.share).parts, quotient(lane, across)
        groups = quotient((units + inputs - 1) // inputs - skipped + beside - 1, beside)
        piece, held = groups * rows * LANES, stored(units)
        first, behind = start(block, units) + lane - aside * across, aside * rows
        for _ in range(max(1, quotient(span, LANES))):
            i = block.thread
            while i < piece:
                line = i // LANES
                group = line // rows
                row = (group * beside + skipped) * rows + behind + line - group * rows
                if row < held:
                    to[np.uint64(at + i)] = source[np.uint64(first + row * LANES)]
                i += block.threads
            first, at = first + held * LANES, at + piece
        return at

    return device(copy)
