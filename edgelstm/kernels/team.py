"""Several threads in one kernel call each: every member of a team runs the same kernel on its share and waits for the others.

The kernels of a team end in `_team`; beside their ordinary parameters they take the number of the member, how many there are,
and a barrier: 16 * (1 + members) int32, zero before a run, of which [0] counts arrivals and [16 * (1 + member)] the member's goal.
idle[0] is the address of a function that gives the processor to another thread, or zero.
"""

import functools
from typing import Any, NamedTuple

PARAMS = "member:int members:int barrier:i32* idle:i64*"
PATIENCE = 1000  # looks at the barrier before the processor is offered to others
SPACING = 16  # int32 of a cache line, so that members don't share one


class Team(NamedTuple):
    """Which member this is, how many there are, where they meet, and what they do when that takes long."""

    member: int
    members: int
    barrier: Any
    idle: Any


@functools.cache
def wait(v: Any) -> Any:
    """`wait(team)`: returns when every member has called it as often as this one; what they wrote before is then seen."""
    atomic_add, atomic_load, call = v.atomic_add, v.atomic_load, v.call

    @v.inline
    def wait(team):
        mine = SPACING * (1 + team.member)
        goal = team.barrier[mine] + team.members
        team.barrier[mine] = goal
        atomic_add(team.barrier, 0, 1)
        looks = 0
        while atomic_load(team.barrier, 0) < goal:
            looks += 1
            if looks > PATIENCE and team.idle[0] != 0:
                call(team.idle[0])

    return wait


@functools.cache
def share(v: Any) -> Any:
    """`share(team, count, unit)`: (begin, end) of this member's part of `count`, in whole units but for the last."""

    @v.inline
    def share(team, count, unit):
        size = (count + unit * team.members - 1) // (unit * team.members) * unit
        begin, end = team.member * size, (team.member + 1) * size
        return (begin if begin < count else count), (end if end < count else count)

    return share
