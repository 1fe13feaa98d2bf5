"""Panels as a block reads them: in global memory, or a copy of those of its units in its shared memory."""

from typing import Any

from edgelstm.cuda import chunks
from edgelstm.cuda.cells import Cell
from edgelstm.cuda.chunks import Chunk
from edgelstm.cuda.driver import LANES, cuda, types
from edgelstm.cuda.scalars import device
from edgelstm.cuda.sweeps import BYTES, Panels, Weights


def words(cell: Cell, form: str, units: int, span: int) -> int:
    """The 32-bit words of the copies of a block of `span` units."""
    return sum(_piece_words(chunks.get(form, gates, 1), units, span) for gates in cell.products)


def _piece_words(chunk: Chunk, units: int, span: int) -> int:
    beside = max(1, LANES // span)
    return max(1, span // LANES) * -(-chunk.count(units) // beside) * chunk.rows * LANES


def opener(cell: Cell, form: str, resident: bool) -> Any:
    """`opened(block, units, weights, at)`: the arrays `weights` as Panels; with `resident` copied to word `at` and so on
    of shared memory, which all threads see after the next meeting.
    """
    kinds = [chunks.get(form, gates, 1) for gates in cell.products]
    return _copier(kinds, types.float32 if form == "float32" else types.int32) if resident else _pointer(kinds)


def _pointer(kinds: list[Chunk]) -> Any:
    first, second = _start(kinds[0]), _start(kinds[-1])

    def opened(block, units, weights, at):
        return Weights(Panels(weights.first, first(block, units), weights.first),
                       Panels(weights.second, second(block, units), weights.second), weights.bias)

    return device(opened)


def _start(chunk: Chunk) -> Any:
    """`start(block, units)`: where the words of the block's first unit begin in global memory."""
    stored = device(chunk.stored)
    return device(lambda block, units: block.begin // LANES * stored(units) * LANES + block.begin % LANES)


def _copier(kinds: list[Chunk], dtype: Any) -> Any:
    first, second = (_copy(kind) for kind in (kinds[0], kinds[-1]))
    several = len(kinds) == 2

    def opened(block, units, weights, at):
        to = cuda.shared.array(0, dtype, BYTES)
        then = first(block, units, weights.first, to, at)
        if several:
            second(block, units, weights.second, to, then)
        return Weights(Panels(to, at, weights.first), Panels(to, then if several else at, weights.second), weights.bias)

    return device(opened)


def _copy(chunk: Chunk) -> Any:
    """`copy(block, units, source, to, at) -> end`: the chunks of the block's units to to[at:end], as sweeps.py wants them."""
    inputs, rows, stored, start = chunk.inputs, chunk.rows, device(chunk.stored), _start(chunk)

    def copy(block, units, source, to, at):
        span = block.end - block.begin
        beside, across, lane = max(1, LANES // span), min(span, LANES), block.thread % LANES
        groups = ((units + inputs - 1) // inputs + beside - 1) // beside
        piece, held = groups * rows * LANES, stored(units)
        first, behind = start(block, units) + lane % across, lane // across * rows
        for _ in range(max(1, span // LANES)):
            i = block.thread
            while i < piece:
                line = i // LANES
                group = line // rows
                row = group * beside * rows + behind + line - group * rows
                if row < held:
                    to[at + i] = source[first + row * LANES]
                i += block.threads
            first, at = first + held * LANES, at + piece
        return at

    return device(copy)
