"""The programs of one model: planned and linked on first use for every new set of shapes, kept, and forgotten in turn."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgelstm import native
from edgelstm.graph import Graph
from edgelstm.memory import aligned_zeros
from edgelstm.ports import step_shapes
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.plan import Program, StateLayout, plan, state_layout
from edgelstm.record import changed, record
from edgelstm.session import Session, SessionPool
from edgelstm.stream import Stream
from edgelstm.stream_pool import Pool
from edgelstm.streaming import Streaming, analyse

if TYPE_CHECKING:
    from edgelstm.teams import TeamSession

PROGRAMS_KEPT = 32  # of each kind; the least recently used go first

ShapeKey = tuple[tuple[int, ...], ...]
Shapes = Mapping[str, Sequence[int]]
T = TypeVar("T")


@record()
class StreamMemory:
    """What one stream carries: the block of its nodes' states, the explicit states by input name, and views of all of them by
    name, each with its initial value (None for zeros).
    """

    layout: StateLayout
    block: np.ndarray
    explicit: Mapping[str, np.ndarray]
    slots: Mapping[str, tuple[np.ndarray, np.ndarray | None]]


class Programs:
    """Programs for stateless runs and for streams. Threads may share it: a program may be made twice, but is kept once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._packed = PackedWeights()
        self._runs: OrderedDict[ShapeKey, SessionPool] = OrderedDict()
        self._streams: OrderedDict[ShapeKey, Program] = OrderedDict()
        self._teams: OrderedDict[ShapeKey, TeamSession] = OrderedDict()
        self._lock = threading.Lock()
        self._streaming: Streaming | None = None
        _alive.add(self)

    def __len__(self) -> int:
        return len(self._runs) + len(self._streams)

    @property
    def lanes(self) -> int:
        """Units side by side in the panels of this machine's weights."""
        return native.host().lanes

    @property
    def streaming(self) -> Streaming:
        """Whether the model can run one time step at a time."""
        if self._streaming is None:
            self._streaming = analyse(self.graph)
        return self._streaming

    def for_run(self, shapes: Shapes) -> SessionPool:
        """The sessions of the stateless program for these input shapes."""
        return self._kept(self._runs, shapes, lambda: SessionPool(self._linked(shapes, None)))

    def known_run(self, shapes: ShapeKey) -> SessionPool | None:
        """The sessions for input shapes, in the model's order, that were run before; None for others."""
        with self._lock:
            found = self._runs.get(shapes)
            if found is not None:
                self._runs.move_to_end(shapes)
            return found

    def for_team(self, shapes: Shapes, members: int) -> "TeamSession | None":
        """The memory and tables with which so many threads run the program together; None where it has nothing to share."""
        from edgelstm.teams import TeamSession

        session = self._kept(self._teams, shapes, lambda: TeamSession(self._linked(shapes, None, members), members))
        return session if session.shares else None

    def for_stream(self, shapes: Shapes, memory: StreamMemory) -> Program:
        """The program for these input shapes that carries the states of a stream."""
        return self._kept(self._streams, shapes, lambda: self._linked(shapes, memory.layout))

    def session(self, program: Program, memory: StreamMemory) -> Session:
        """A program bound to the memory of one stream."""
        return Session(program, memory.block)

    def stream(self, batch: int) -> Stream:
        """A stream of a model that can stream."""
        return Stream(self, batch)

    def pool(self, make: Callable[[], Stream], capacity: int) -> Pool:
        """Up to `capacity` streams that come and go."""
        return Pool(make, capacity)

    def stream_memory(self, batch: int) -> StreamMemory:
        """The memory of a new stream of this batch."""
        layout, shapes = self.stream_layout(batch), step_shapes(self.graph, batch, 1)
        block = aligned_zeros((layout.nbytes,), np.uint8)
        explicit = {name: aligned_zeros(shapes[name], self.graph.input(name).dtype) for name, _ in self.graph.states}
        slots: dict[str, tuple[np.ndarray, np.ndarray | None]] = {name: (array, None) for name, array in explicit.items()}
        for (node, slot), declared in layout.slots.items():
            start = layout.offsets[node, slot]
            view = block[start : start + declared.nbytes].view(declared.dtype).reshape(declared.shape)
            name = f"{node}.{slot}"
            slots[f"{name} of the node" if name in slots else name] = (view, declared.initial)
        return StreamMemory(layout, block, explicit, slots)

    def stream_layout(self, batch: int) -> StateLayout:
        """Where the states of a stream of this batch lie."""
        if not self.streaming.carriers:
            return StateLayout({}, {}, 0)
        return state_layout(self.graph, step_shapes(self.graph, batch, 1), self.streaming.carriers)

    def planned(self, shapes: Shapes, packed: PackedWeights, states: StateLayout | None = None, members: int = 1) -> Program:
        """The program for these input shapes, its kernels not linked."""
        return plan(self.graph, shapes, self.lanes, packed, states, members)

    def renew_lock(self) -> None:
        """A lock that no thread holds: for a forked child, where the threads of the parent don't exist."""
        self._lock = threading.Lock()

    def _kept(self, kept: "OrderedDict[ShapeKey, T]", shapes: Shapes, make: Callable[[], T]) -> T:
        key = tuple(tuple(shapes[port.name]) for port in self.graph.inputs)
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        made = make()
        with self._lock:
            found = kept.setdefault(key, made)
            while len(kept) > PROGRAMS_KEPT:
                kept.popitem(last=False)
            return found

    def _linked(self, shapes: Shapes, states: StateLayout | None, members: int = 1) -> Program:
        program = self.planned(shapes, self._packed, states, members)
        entries = native.link(set(program.kernels))
        words = program.words.copy()
        words[program.entry_words] = [entries[name] for name in program.kernels]
        words.flags.writeable = False
        return changed(program, words=words)


_alive: "weakref.WeakSet[Programs]" = weakref.WeakSet()


def _renew_locks() -> None:
    for programs in list(_alive):
        programs.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
