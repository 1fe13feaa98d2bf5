"""Several threads in one kernel call each: every member of a team runs the same kernel on its share and meets the others.

The kernels of a team end in `_team`; beside their ordinary parameters they take the number of the member, how many there are,
and a barrier: WORDS int32 for each member, one cache line, zero before a run; see the constants below.
idle[0] is the address of a function that gives the processor to another thread, or zero.

A team dissolves where a member has no processor: a helper that has not come when member 0 first waits for it stays out, and
when member 0 has waited for long it goes on alone from the meeting after next. Members agree on that by number, so a member
is never inside a kernel that member 0 has left.
"""

import functools
from typing import Any, NamedTuple

PARAMS = "member:int members:int barrier:i32* idle:i64*"
PATIENCE = 400_000  # looks, some 200 us, that member 0 waits for others before the team dissolves
BRIEF = 1000  # looks before the processor is offered to others, where nothing better can be done
WORDS = 16  # int32 of a cache line, so that members don't share one

MEETINGS = 0  # how many meetings the member has come to
ENTERED = 1  # how many kernels
LAST = 2  # of member 0: the meeting after which the team is no more, or 0
CLAIM = 3  # of a helper: added to by itself and by member 0; the first decides whether it belongs to the team


class Team(NamedTuple):
    """Which member this is, how many there are, where they meet, and what they do when that takes long."""

    member: int
    members: int
    barrier: Any
    idle: Any


@functools.cache
def enter(v: Any) -> Any:
    """`enter(team) -> bool`: before the work of a kernel; False where there is no team any more and member 0 works alone.

    What member 0 did before is then seen by all.
    """
    atomic_add, atomic_load, atomic_store, rest = v.atomic_add, v.atomic_load, v.atomic_store, _rest(v)

    @v.inline
    def enter(team):
        mine = WORDS * team.member
        entered, meetings = team.barrier[mine + ENTERED] + 1, team.barrier[mine + MEETINGS]
        atomic_store(team.barrier, mine + ENTERED, entered)
        if team.member == 0:
            return team.barrier[LAST] == 0 or team.barrier[LAST] > meetings
        if meetings == 0 and atomic_add(team.barrier, mine + CLAIM, 1) != 0:
            return False
        looks = 0
        while atomic_load(team.barrier, ENTERED) < entered:
            looks = rest(team, looks)
        last = atomic_load(team.barrier, LAST)
        return last == 0 or last > meetings

    return enter


@functools.cache
def meet(v: Any) -> Any:
    """`meet(team, patience) -> bool`: returns when all have come; what they wrote before is then seen. False where member 0 goes
    on alone, `patience` being the looks before it decides to.

    The first meeting of a run may have missed members, whose shares member 0 then has to do.
    """
    atomic_load, atomic_store, rest, gather = v.atomic_load, v.atomic_store, _rest(v), _gather(v)

    @v.inline
    def meet(team, patience):
        mine = WORDS * team.member
        meeting = team.barrier[mine + MEETINGS] + 1
        if team.member == 0 and meeting == 1:
            gather(team)
        atomic_store(team.barrier, mine + MEETINGS, meeting)
        for other in range(team.members):
            looks = 0
            while atomic_load(team.barrier, WORDS * other + MEETINGS) < meeting:
                looks += 1
                if looks > patience:
                    if team.member == 0 and team.barrier[LAST] == 0:
                        team.barrier[LAST] = meeting + 1
                    looks = rest(team, looks)
        last = atomic_load(team.barrier, LAST)
        return last == 0 or last > meeting

    return meet


def _gather(v: Any) -> Any:
    """`gather(team)`: of all helpers that have not come yet, marks the meetings as done."""
    atomic_add, atomic_store = v.atomic_add, v.atomic_store

    @v.inline
    def gather(team):
        for other in range(1, team.members):
            if atomic_add(team.barrier, WORDS * other + CLAIM, 1) == 0:
                team.barrier[LAST] = 1
                atomic_store(team.barrier, WORDS * other + MEETINGS, 1)

    return gather


def _rest(v: Any) -> Any:
    """`rest(team, looks)`: one look more, and a pause after many."""
    call = v.call

    @v.inline
    def rest(team, looks):
        if looks > BRIEF and team.idle[0] != 0:
            call(team.idle[0])
        return looks + 1

    return rest


@functools.cache
def share(v: Any) -> Any:
    """`share(team, count, unit)`: (begin, end) of this member's part of `count`, in whole units but for the last."""

    @v.inline
    def share(team, count, unit):
        size = (count + unit * team.members - 1) // (unit * team.members) * unit
        begin, end = team.member * size, (team.member + 1) * size
        return (begin if begin < count else count), (end if end < count else count)

    return share
