"""Helper threads of teams, shared by all models of a process; they sleep while they wait. A forked child has its own."""

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Job = list[Callable[[], None]]  # what is to be run, until somebody takes it


class Helpers:
    """The threads of this process, as many as were ever needed at once."""

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Job]] = []

    def __len__(self) -> int:
        return len(self._queues)

    def begin(self, calls: Sequence[Callable[[], None]]) -> list[Job]:
        """Wakes a helper for every call, and returns at once. The calls must not raise."""
        while len(self._queues) < len(calls) and self._grows():
            pass
        jobs: list[Job] = [[call] for call in calls]
        for queue, job in zip(self._queues, jobs, strict=False):
            queue.put(job)
        return jobs

    def _grows(self) -> bool:
        """Starts one helper more; False where the system gives no thread, and who asked does the work alone."""
        queue: SimpleQueue[Job] = SimpleQueue()
        try:
            threading.Thread(target=_wait, args=(queue,), name="edgelstm", daemon=True).start()
        except RuntimeError:
            return False
        self._queues.append(queue)
        return True


def current() -> Helpers:
    """The helpers of this process."""
    return _current[0]


def withdraw(job: Job) -> bool:
    """Whether its helper has not begun with it; it won't any more."""
    return bool(_taken(job))


def serve(job: Job) -> None:
    """Does a job that was not withdrawn."""
    for call in _taken(job):
        call()


def _taken(job: Job) -> Job:
    """The job for the first who asks, nothing for others."""
    try:
        return [job.pop()]
    except IndexError:
        return []


def _wait(queue: "SimpleQueue[Job]") -> None:
    while True:
        serve(queue.get())


def _start_anew() -> None:
    _current[0] = Helpers()


_current = [Helpers()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
