"""Offsets for buffers that live only between two kernel calls, so that buffers whose lives do not meet share memory."""

from collections.abc import Iterable

from edgelstm.memory import round_up
from edgelstm.program.operands import Buffer, Space


def place(buffers: Iterable[Buffer]) -> int:
    """Give every unplaced buffer an offset in the arena; gives the arena's size in bytes.

    The largest go first, each to the lowest gap that is free for the whole of its life.
    """
    placed: list[Buffer] = []
    for buffer in sorted((b for b in buffers if b.space is None), key=lambda b: -b.nbytes):
        neighbours = sorted((b for b in placed if b.first <= buffer.last and buffer.first <= b.last), key=lambda b: b.offset)
        buffer.offset = _lowest_gap(neighbours, buffer.nbytes)
        buffer.space = Space.ARENA
        placed.append(buffer)
    return max((b.offset + round_up(b.nbytes) for b in placed), default=0)


def _lowest_gap(neighbours: list[Buffer], nbytes: int) -> int:
    offset = 0
    for other in neighbours:
        if offset + nbytes <= other.offset:
            break
        offset = max(offset, other.offset + round_up(other.nbytes))
    return offset
