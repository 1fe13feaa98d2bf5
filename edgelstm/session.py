"""A Session binds a Program to memory: one arena, one argument table, one native call a run."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from edgelstm import native
from edgelstm.memory import address, aligned_zeros
from edgelstm.program.operands import Space
from edgelstm.program.plan import Program

BRIEF_NBYTES = 1 << 20  # a step over fewer bytes of weights ends before another thread could make use of the interpreter
SPARE_SESSIONS = 4  # idle sessions a program keeps for the next callers


class Session:
    """One arena and one table for one Program. Used by one thread at a time."""

    def __init__(self, program: Program, state: np.ndarray | None = None, *, barrier: np.ndarray | None = None,
                 member: int = 0, arena: np.ndarray | None = None) -> None:
        self.arena = aligned_zeros((program.arena_nbytes,), np.uint8) if arena is None else arena
        self._table = aligned_zeros(program.words.shape, np.int64)
        self._program = program
        self._keeps = state, barrier
        bases = np.zeros(Space.PORTS + len(program.port_words), np.int64)
        self._start = bases[Space.TABLE] = address(self._table)
        bases[Space.ARENA] = address(self.arena)
        bases[Space.STATE] = 0 if state is None else address(state)
        bases[Space.BARRIER] = 0 if barrier is None else address(barrier)
        bases[Space.IDLE] = 0 if barrier is None else address(native.idle())
        bases[Space.MEMBER] = member
        np.add(program.words, bases[program.spaces], out=self._table)
        if member:
            self._keep_calls(program.shared_calls)
        self._words = memoryview(self._table)

    def bind(self, ports: Sequence[np.ndarray]) -> None:
        """Point the table at the memory of every input, then every output."""
        table = self._words
        for uses, array in zip(self._program.port_words, ports, strict=True):
            start = address(array)
            for word, offset in uses:
                table[word] = start + offset

    def _keep_calls(self, calls: np.ndarray) -> None:
        pairs = self._table[1 : 1 + 2 * len(self._program.kernels)].reshape(-1, 2)
        pairs[: len(calls)] = pairs[calls]
        self._table[0] = len(calls)

    def run(self) -> None:
        """Compute the outputs from the inputs, in one native call."""
        native.run_at(self._start)

    def door(self, ports: Sequence[np.ndarray]) -> Callable[[], None]:
        """A function of no argument that runs over these ports for good, as cheaply as Python can call it.

        It keeps all memory that it works on alive.
        """
        self.bind(ports)
        call = native.thunk(self._table, brief=self._program.constant_nbytes <= BRIEF_NBYTES)
        call.memory = (self, tuple(ports))
        return call


class SessionPool:
    """Spare sessions of one Program, so that repeated runs allocate nothing but their outputs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._spare: deque[Session] = deque(maxlen=SPARE_SESSIONS)

    def run(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """One stateless run over arrays that are C-contiguous and of the program's shapes."""
        try:
            session = self._spare.pop()
        except IndexError:
            session = Session(self.program)
        session.bind([*inputs, *outputs])
        session.run()
        self._spare.append(session)
