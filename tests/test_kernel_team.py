"""How a team comes together and parts, held to what one thread computes: by Python threads that are disturbed at random."""

import random
import sys
import threading
import time
from itertools import pairwise

import pytest

from edgelstm.kernels import team
from edgelstm.kernels.team import JOINED, LEFT, TRIES, WORDS, Team

WIDTH, KERNELS = 12, 3


class Disturbed:
    """What kernels are made with, as far as the members of a team need it: every look may take long."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def inline(self, function):
        return function

    def atomic_load(self, p, i):
        self.call(0)
        return p[i]

    def atomic_store(self, p, i, number):
        p[i] = number

    def call(self, address):
        time.sleep(0.001 if self._random.random() < 0.01 else 0)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Little patience, and threads that take turns often."""
    monkeypatch.setattr(team, "PATIENCE", 3)
    monkeypatch.setattr(team, "CREDIT", 30)
    monkeypatch.setattr(team, "BRIEF", 2)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def advanced(state, i, s):
    return (sum(state) * 31 + 7 * i + s) % 1_000_003


def in_series(pieces):
    state = list(range(WIDTH))
    for s in range(KERNELS * pieces):
        state = [advanced(state, i, s % pieces) for i in range(WIDTH)]
    return state


def member(v, those, states, pieces, sessions):
    """One member's run: kernels in which every piece of work needs all of the last one."""
    join, meet, alone, leave, share = team.join(v), team.meet(v), team.alone(v), team.leave(v), team.share(v)
    for kernel in range(KERNELS):
        s, together = 0, False
        while s < pieces:
            if not together:
                s, together = join(those, s)
                if s < 0:
                    break
                begin, end = share(those, 0, WIDTH, 2) if together else (0, WIDTH)
                sessions.update({those.barrier[JOINED]} if together else ())
            now, other = (states[(kernel * pieces + s + k) % 2] for k in (0, 1))
            other[begin:end] = [advanced(now, i, s) for i in range(begin, end)]
            s += 1
            if together:
                together = meet(those, 12)
            else:
                alone(those, 2000)
        leave(those)


@pytest.mark.parametrize("members", [2, 3, 4])
def test_members_that_come_and_go_compute_what_one_does(members):
    """At least 8 times, and until teams of all kernels were seen, among them some that came together anew."""
    pieces, sessions = 40, set()
    for seed in range(80):
        assert_team_computes_what_one_does(seed, members, pieces, sessions)
        if seed >= 7 and {asked // TRIES for asked in sessions} == set(range(KERNELS)) and came_anew(sessions):
            break
    assert {asked // TRIES for asked in sessions} == set(range(KERNELS))
    assert came_anew(sessions), "no team came together anew"


def came_anew(sessions):
    return any(asked % TRIES > 1 for asked in sessions)


def assert_team_computes_what_one_does(seed, members, pieces, sessions):
    barrier, states = [0] * (WORDS * members), (list(range(WIDTH)), [0] * WIDTH)
    team_of = [Team(k, members, barrier, [1]) for k in range(members)]
    begun = [threading.Thread(target=member, args=(Disturbed(seed + k), team_of[k], states, pieces, sessions), daemon=True)
             for k in range(1, members)]
    for helper in begun[seed % 2:]:
        helper.start()
    if seed % 2:
        threading.Timer(0.003, begun[0].start).start()
    member(Disturbed(seed), team_of[0], states, pieces, sessions)
    assert states[KERNELS * pieces % 2] == in_series(pieces)
    time.sleep(0.004)
    for helper in begun:
        helper.join(10)
        assert not helper.is_alive()
    assert all(barrier[WORDS * k + LEFT] == KERNELS for k in range(members))


def test_shares_cover_all_and_are_whole_units():
    share = team.share(Disturbed(0))
    for members in (1, 2, 3, 5):
        for count in (0, 1, 16, 17, 48, 130):
            for begin in (0, 16):
                parts = [share(Team(k, members, [], []), begin, begin + count, 16) for k in range(members)]
                assert parts[0][0] == begin and parts[-1][1] == begin + count
                assert all(one[1] == two[0] for one, two in pairwise(parts))
                assert all((end - begin) % 16 == 0 or end == begin + count for _, end in parts)
