"""Several threads in one kernel call each: member 0 leads, the helpers join it when they have a processor.

The kernels of a team end in `_team`; beside their ordinary parameters they take the number of the member, how many there are,
and a barrier: WORDS int32 for each member; see the constants below. All but DEBT is zero before a run.
idle[0] is the address of a function that gives the processor to another thread, or zero.

Member 0 never waits for a helper to come. It asks, works alone, and looks between two pieces of work (a time step, a block of
columns) whether all helpers are ready; then it says where they join in. From there on all meet after every piece. Where
meetings cost more than the helpers save, member 0 goes on alone from the meeting after next, and asks again when the loss is
small beside the work done since. A helper touches no memory but the barrier until it has joined, so one that comes late, or
not before the run is over, does no harm.

Time is counted in looks, one turn of a waiting loop, about half a nanosecond.
"""

import functools
from typing import Any, NamedTuple

PARAMS = "member:int members:int barrier:i32* idle:i64*"
LINE = 16  # words of a cache line
WORDS = 4 * LINE  # of a member, so that none shares a cache line with another, nor the one that is read along with it
TRIES = 64  # how often the helpers may be asked in a kernel

PATIENCE = 400_000  # looks, some 200 us, that a team may lose before it has saved any
CREDIT = 32_000_000  # looks that it may lose at most of what it has saved
LARGEST = 1 << 25  # of debts, so that a team that had to wait for long is tried again after a second
SHARE = 64  # alone for so many times what was lost
BRIEF = 1000  # looks before a helper that waits offers its processor to others

ASKED = 0  # of member 0: TRIES times the number of the kernel that it is in, and how often it has asked there
READY = 0  # of a helper: what it was asked when it last said yes
MEETINGS = 1  # how many meetings the member has come to
LAST = 2  # of member 0: the meeting after which it goes on alone, or 0
JOINED = 3  # of member 0: what it had asked when all joined
START = 4  # of member 0: where they did
LEFT = 5  # how many kernels the member has left
DEBT = 2 * LINE  # of member 0: the looks that meetings have lost, less what they saved and what was done alone since


class Team(NamedTuple):
    """Which member this is, how many there are, where they meet, and what they do when that takes long."""

    member: int
    members: int
    barrier: Any
    idle: Any


@functools.cache
def join(v: Any) -> Any:
    """`join(team, at) -> (at, together)`: before a piece of work that is not done together yet.

    Member 0 is given `at`, where it stands, and learns whether all are together from there on. A helper waits, sees all that
    member 0 did before, and is told where; a negative number where it comes too late for this kernel.
    """
    lead, follow = _lead(v), _follow(v)

    @v.inline
    def join(team, at):
        if team.member == 0:
            return at, lead(team, at)
        at = follow(team)
        return at, at >= 0

    return join


def _lead(v: Any) -> Any:
    """`lead(team, at) -> bool`: asks the helpers, or tells them where to begin if they are ready."""
    atomic_load, atomic_store = v.atomic_load, v.atomic_store

    @v.inline
    def lead(team, at):
        if team.barrier[DEBT] > 0:
            return False
        asked, first = team.barrier[ASKED], team.barrier[LEFT] * TRIES
        if asked <= first or asked == team.barrier[JOINED]:
            if asked < first + TRIES - 1:
                atomic_store(team.barrier, ASKED, (asked if asked > first else first) + 1)
            return False
        for other in range(1, team.members):
            if atomic_load(team.barrier, WORDS * other + READY) != asked:
                return False
        team.barrier[START], team.barrier[LAST] = at, 0
        if team.barrier[DEBT] > -PATIENCE:
            team.barrier[DEBT] = -PATIENCE
        atomic_store(team.barrier, JOINED, asked)
        return True

    return lead


def _follow(v: Any) -> Any:
    """`follow(team) -> at`: waits until member 0 says where to begin, or has left the kernel."""
    atomic_load, atomic_store, rest = v.atomic_load, v.atomic_store, _rest(v)

    @v.inline
    def follow(team):
        mine = WORDS * team.member
        first, served = team.barrier[mine + LEFT] * TRIES, team.barrier[mine + READY]
        looks, long = 0, BRIEF
        while True:
            asked = atomic_load(team.barrier, ASKED)
            if asked >= first + TRIES:
                return -1
            if asked > first and asked > served:
                if team.barrier[mine + READY] != asked:
                    atomic_store(team.barrier, mine + READY, asked)
                    looks, long = 0, PATIENCE
                if atomic_load(team.barrier, JOINED) == asked:
                    return team.barrier[START]
            looks = rest(team, looks, long)

    return follow


@functools.cache
def meet(v: Any) -> Any:
    """`meet(team, worth) -> bool`: returns when all have come; what they wrote before is then seen.

    False where member 0 goes on alone. `worth` is what the piece of work takes one thread, in looks.
    """
    atomic_load, atomic_store, rest = v.atomic_load, v.atomic_store, _rest(v)

    @v.inline
    def meet(team, worth):
        mine = WORDS * team.member
        meeting, looks = team.barrier[mine + MEETINGS] + 1, 0
        atomic_store(team.barrier, mine + MEETINGS, meeting)
        for other in range(team.members):
            while atomic_load(team.barrier, WORDS * other + MEETINGS) < meeting:
                looks = rest(team, looks, PATIENCE)
        if team.member == 0:
            debt = team.barrier[DEBT] + looks - worth // 3
            if debt > 0 and team.barrier[LAST] == 0:
                team.barrier[LAST] = meeting + 1
            if team.barrier[LAST] == meeting:
                debt += PATIENCE
            team.barrier[DEBT] = -CREDIT if debt < -CREDIT else debt if debt < LARGEST else LARGEST
        last = atomic_load(team.barrier, LAST)
        return last == 0 or last > meeting

    return meet


@functools.cache
def alone(v: Any) -> Any:
    """`alone(team, worth)`: notes a piece of work that member 0 did alone."""

    @v.inline
    def alone(team, worth):
        if team.barrier[DEBT] > 0:
            debt = team.barrier[DEBT] - worth // SHARE - 1
            team.barrier[DEBT] = debt if debt > 0 else 0

    return alone


@functools.cache
def leave(v: Any) -> Any:
    """`leave(team)`: at the end of a kernel."""
    atomic_store = v.atomic_store

    @v.inline
    def leave(team):
        mine = WORDS * team.member
        left = team.barrier[mine + LEFT] + 1
        atomic_store(team.barrier, mine + LEFT, left)
        if team.member == 0:
            atomic_store(team.barrier, ASKED, left * TRIES)

    return leave


def _rest(v: Any) -> Any:
    """`rest(team, looks, long)`: one look more; after many a helper offers its processor to others, as member 0 may need it."""
    call = v.call

    @v.inline
    def rest(team, looks, long):
        if looks > long and team.member != 0 and team.idle[0] != 0:
            call(team.idle[0])
        return looks + 1

    return rest


@functools.cache
def share(v: Any) -> Any:
    """`share(team, begin, end, unit)`: (begin, end) of this member's part, in whole units but for the last."""

    @v.inline
    def share(team, begin, end, unit):
        size = (end - begin + unit * team.members - 1) // (unit * team.members) * unit
        first, last = begin + team.member * size, begin + (team.member + 1) * size
        return (first if first < end else end), (last if last < end else end)

    return share
