"""Offsets for buffers that live only between two kernel calls, so that buffers whose lives do not meet share memory."""

from collections.abc import Iterable

import numpy as np

from edgelstm.memory import ALIGNMENT, round_up
from edgelstm.program.operands import Buffer, Space


def place(buffers: Iterable[Buffer], alignment: int = ALIGNMENT) -> int:
    """Give every unplaced buffer an offset in the arena, a multiple of `alignment`; gives the arena's size in bytes.

    The largest go first, each to the lowest gap that is free for the whole of its life.
    """
    waiting = sorted((b for b in buffers if b.space is None), key=lambda b: -b.nbytes)
    first, last = (np.array([getattr(b, end) for b in waiting], np.int64) for end in ("first", "last"))
    sizes = np.array([round_up(b.nbytes, alignment) for b in waiting], np.int64)
    offsets = np.zeros(len(waiting), np.int64)
    for k, buffer in enumerate(waiting):
        alive = np.flatnonzero((first[:k] <= last[k]) & (first[k] <= last[:k]))
        offsets[k] = _lowest_gap(offsets[alive], sizes[alive], sizes[k])
        buffer.offset, buffer.space = int(offsets[k]), Space.ARENA
    return int(np.max(offsets + sizes, initial=0))


def _lowest_gap(starts: np.ndarray, sizes: np.ndarray, wanted: int) -> int:
    """The lowest offset with `wanted` free bytes among blocks that may overlap each other."""
    order = np.argsort(starts)
    starts = starts[order]
    ends = np.maximum.accumulate(np.concatenate([[0], starts + sizes[order]]))
    fitting = np.flatnonzero(starts - ends[:-1] >= wanted)
    return int(ends[fitting[0]] if fitting.size else ends[-1])
