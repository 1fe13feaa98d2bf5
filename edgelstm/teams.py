"""One Program run by several threads together: the caller leads, helpers join it when they have a processor."""

from collections.abc import Sequence

import numpy as np

from edgelstm import helpers
from edgelstm.memory import aligned_zeros
from edgelstm.program.plan import Program
from edgelstm.session import Session

ASKED, JOINED, LEFT, DEBT, WORDS = 0, 3, 5, 32, 64  # of a barrier, and the words of a member; see kernels/team.py
OVER = 1 << 30  # what is asked when a run is over
MULTIPLICATIONS = 16  # that one thread does in the time unit of debts
SHARE = 64  # alone for so many times what was lost
WAKING = 100_000  # what waking helpers costs, in the time unit of debts, some 50 us


class TeamSession:
    """One arena for all members, and a table for each of them. Used by one caller at a time."""

    def __init__(self, program: Program, members: int) -> None:
        self._barrier = aligned_zeros((WORDS * members,), np.int32)
        self._calls = len(program.shared_calls)
        first = self._first = Session(program, barrier=self._barrier)
        self._helpers = [Session(program, barrier=self._barrier, member=k, arena=first.arena) for k in range(1, members)]
        self._woken, self._begun = helpers.current(), list[int]()

    @property
    def shares(self) -> bool:
        """Whether helpers have anything to do."""
        return self._calls > 0

    def ready(self, work: int) -> bool:
        """Whether helpers should be woken for a run of so many multiplications; if not, it is taken as done by one thread."""
        if self._woken is helpers.current() and any(not self._has_left(member) for member in self._begun):
            return False
        debt, paid = int(self._barrier[DEBT]), work // MULTIPLICATIONS // SHARE
        if debt < paid:
            return True
        self._barrier[DEBT] = debt - paid
        return False

    def _has_left(self, member: int) -> bool:
        return bool(self._barrier[WORDS * member + LEFT] == self._calls)

    def run(self, ports: Sequence[np.ndarray]) -> None:
        """Computes the outputs from the inputs, `ports` being the inputs, then the outputs. Only when the team is ready."""
        debt, self._barrier[:] = self._barrier[DEBT], 0
        self._barrier[DEBT] = debt
        for member in (self._first, *self._helpers):
            member.bind(ports)
        self._woken, jobs = helpers.current(), list[helpers.Job]()
        try:
            jobs = self._woken.begin([helper.run for helper in self._helpers])
            self._first.run()
        finally:
            self._barrier[ASKED] = OVER
            self._begun = [member for member, job in enumerate(jobs, 1) if not helpers.withdraw(job)]
        if self._barrier[JOINED] == 0:
            self._barrier[DEBT] = max(debt, 0) + WAKING
