"""Latencies: calls timed one by one, bursts of calls too short for the clock, several runtimes in turns, and percentiles."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np

WARM_UP_CALLS, LEAST_CALLS, MOST_CALLS = 5, 5, 1_000_000
_CHUNK_SECONDS = 0.05
_BURST_NS, _BURSTS = 2e6, 15
LEAST_TURNS, MOST_TURNS = 7, 2000
_TURN_NS = 1e6
_TRIES = 3  # that find how many calls fill a turn; on a GPU the first call compiles, the second records, the third runs that
SETTLED_WITHIN, _AT_REST = 2.0, 5e-3  # seconds; thread pools were seen to spin for up to 43 ms after a call
_clock = time.perf_counter_ns


def latencies(call: Callable[[Any], Any], inputs: Sequence[Any], seconds: float) -> np.ndarray:
    """ns of every call in about `seconds`, fed with one input after another. The cost of reading the clock is taken off."""
    chunk = list(islice(cycle(inputs), max(LEAST_CALLS, _calls_within(call, inputs, _CHUNK_SECONDS))))
    off = statistics.median(_timed(lambda x: None, chunk[:1000] * 3))
    taken: list[int] = []
    deadline = time.perf_counter() + seconds
    while not taken or (time.perf_counter() < deadline and len(taken) < MOST_CALLS):
        taken += _timed(call, chunk)
    return np.maximum(np.array(taken, np.float64) - off, 0.0)


def burst_ns(call: Callable[[], Any]) -> float:
    """ns of a call that takes no argument, the loop included: that of the least disturbed of many bursts."""
    call()
    repeats = 1
    while (spent := _burst(call, repeats)) < _BURST_NS:
        repeats *= 2 if spent > _BURST_NS / 10 else 8
    return min(_burst(call, repeats) / repeats for _ in range(_BURSTS))


def summary(samples: np.ndarray) -> dict[str, float]:
    """Percentiles of latencies in ns, as microseconds."""
    p50, p90, p99 = np.percentile(samples, (50, 90, 99)) / 1e3
    return {"p50_us": float(p50), "p90_us": float(p90), "p99_us": float(p99), "max_us": float(samples.max()) / 1e3,
            "calls": len(samples)}


def _calls_within(call: Callable[[Any], Any], inputs: Sequence[Any], seconds: float) -> int:
    start = time.perf_counter()
    for x in islice(cycle(inputs), WARM_UP_CALLS):
        call(x)
    once = min(_timed(call, inputs[:WARM_UP_CALLS])) * 1e-9
    return int(seconds / max(once, 1e-7)) if time.perf_counter() - start < 10 * seconds else 1


def _timed(call: Callable[[Any], Any], inputs: Sequence[Any]) -> list[int]:
    taken, clock = [], _clock
    for x in inputs:
        start = clock()
        call(x)
        taken.append(clock() - start)
    return taken


def _burst(call: Callable[[], Any], repeats: int) -> int:
    start = _clock()
    for _ in range(repeats):
        call()
    return _clock() - start


def turns(bursts: Sequence[Callable[[Sequence[Any]], Any]], inputs: Sequence[Any], seconds: float,
          settled: bool = False) -> np.ndarray:
    """Seconds a call, (turns, bursts): short bursts of all take turns for about `seconds`, and who begins changes.

    `bursts` each call what they time for every input of a list. With `settled` all threads have come to rest before each burst,
    and a call that is not timed has woken those of its own runtime, so that none meets those of another. Compare within
    a turn: what else the machine does meanwhile meets all alike.
    """
    fed = [list(islice(cycle(inputs), _calls_a_turn(burst, inputs))) for burst in bursts]
    taken: list[list[float]] = []
    deadline = _clock() + int(seconds * 1e9)
    while len(taken) < LEAST_TURNS or (_clock() < deadline and len(taken) < MOST_TURNS):
        turn = [0.0] * len(bursts)
        for k in ((len(taken) + k) % len(bursts) for k in range(len(bursts))):
            if settled:
                settle()
                bursts[k](fed[k][:1])
            start = _clock()
            bursts[k](fed[k])
            turn[k] = (_clock() - start) * 1e-9 / len(fed[k])
        taken.append(turn)
    return np.array(taken)


def settle() -> bool:
    """Returns when no thread of this process is busy any more; False where one still was after SETTLED_WITHIN seconds."""
    deadline = time.perf_counter() + SETTLED_WITHIN
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(_AT_REST)
        if time.process_time() - used < _AT_REST / 10:
            return True
    return False


def _calls_a_turn(burst: Callable[[Sequence[Any]], Any], inputs: Sequence[Any]) -> int:
    """How many calls fill a turn; the best of a few tries, after a first call."""
    burst(inputs[:1])
    few, best = inputs[:8], float("inf")
    for _ in range(_TRIES):
        start = _clock()
        burst(few)
        best = min(best, (_clock() - start) / len(few))
    return max(1, int(_TURN_NS / max(best, 1.0)))
