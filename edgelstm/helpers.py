"""Helper threads of teams, shared by all models of a process; they sleep while they wait. A forked child has its own."""

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Job = list[Callable[[], None]]  # what is to be run, until somebody takes it

_queues: list["SimpleQueue[Job]"] = []  # what every helper waits for


def begin(calls: Sequence[Callable[[], None]]) -> list[Job]:
    """Wakes a helper for every call, and returns at once. The calls must not raise."""
    while len(_queues) < len(calls):
        _queues.append(SimpleQueue())
        threading.Thread(target=_wait, args=(_queues[-1],), name="edgelstm", daemon=True).start()
    jobs: list[Job] = [[call] for call in calls]
    for queue, job in zip(_queues, jobs, strict=False):
        queue.put(job)
    return jobs


def withdraw(job: Job) -> bool:
    """Whether its helper has not begun with it; it won't any more."""
    return bool(_taken(job))


def serve(job: Job) -> None:
    """Does a job that was not withdrawn."""
    for call in _taken(job):
        call()


def count() -> int:
    """How many helpers there are."""
    return len(_queues)


def _taken(job: Job) -> Job:
    """The job for the first who asks, nothing for others."""
    try:
        return [job.pop()]
    except IndexError:
        return []


def _wait(queue: "SimpleQueue[Job]") -> None:
    while True:
        serve(queue.get())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_queues.clear)
