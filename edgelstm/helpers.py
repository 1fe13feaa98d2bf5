"""Helper threads, shared by all models of a process; they sleep while they wait. A forked child has its own."""

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


def at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Every call: the first on the caller's thread, the others on helpers; the caller also does what none of them has begun.

    Raises what a call raises, when all have ended.
    """
    others = [_Awaited(call) for call in calls[1:]]
    jobs = current().begin(others)
    try:
        calls[0]()
    finally:
        for job in jobs:
            serve(job)
        raised = [error for other in others for error in other.wait()]
    if raised:
        raise raised[0]


class _Awaited:
    """A call on any thread, and its end."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call, self._running, self._raised = call, threading.Lock(), list[BaseException]()
        self._running.acquire()

    def __call__(self) -> None:
        try:
            self._call()
        except BaseException as error:  # raised again on the thread that asked
            self._raised.append(error)
        finally:
            self._running.release()

    def wait(self) -> list[BaseException]:
        """Returns at its end, with what it raised."""
        with self._running:
            return self._raised


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
