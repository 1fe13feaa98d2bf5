"""The walk over time by a team: each member works on its share of the units, and all meet after every step."""

from typing import Any

from edgelstm.kernels import pairs, recurrent, team
from edgelstm.kernels.formats import Format
from edgelstm.kernels.recurrent import Step

WORDS_A_LOOK = 16  # of weights, that one thread reads


def walk(v: Any, form: Format, gates: int, step: Any) -> Any:
    """`run(sequence, h0, hn, weights, options, team)`: what `recurrent.walk` does, by a team.

    What member 0 did before is seen by all members, and what all did is seen by member 0 afterwards.
    """
    load, save, state_at = recurrent.load_state(v), recurrent.save_state(v), recurrent.state_at(v)
    join, meet, alone, leave, share = team.join(v), team.meet(v), team.alone(v), team.leave(v), team.share(v)
    near, panel, ask, lanes = pairs.near(v, form, gates), form.panel(v, gates), _ask(v), v.lanes

    @v.inline
    def run(q, h0, hn, weights, options, members):
        if members.member == 0:
            load(q, 0, h0)
        begin, end, together, s = 0, q.units, False, 0
        unit, worth = 2 * lanes if near(q.units, q.units) else lanes, panel(q.units, q.units) * q.batch // WORDS_A_LOOK
        while s < q.steps:
            if not together:
                s, together = join(members, s)
                if s < 0:
                    break
                begin, end = share(members, 0, q.units, unit) if together else (0, q.units)
            now, other = (state_at(q, 1), 0) if s & 1 else (0, state_at(q, 1))
            t = q.steps - 1 - s if q.reverse else s
            step(q, Step(t, s == 0, now, other, begin, end, members.member), weights, options)
            s += 1
            if together:
                together = meet(members, worth)
                ask(q, other)
            else:
                alone(members, worth)
        if members.member == 0:
            save(q, state_at(q, q.steps & 1), hn)
        leave(members)

    return run


def _ask(v: Any) -> Any:
    """`ask(sequence, at)`: prefetches the state at `at`, parts of which others have written."""
    prefetch, width, line = v.prefetch, recurrent.padded(v), team.LINE

    @v.inline
    def ask(q, at):
        for i in range(at, at + q.batch * width(q), line):
            prefetch(q.work, i)

    return ask
