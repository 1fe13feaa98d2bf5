"""Start-up: whole processes from their start to the end after the first output, with kernels cached and with an empty cache."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelstm.errors import DeviceError
from edgelstm.format import write
from edgelstm.graph import Graph

CACHE = "EDGELSTM_CACHE"


def measure(graph: Graph, batch: int, steps: int, threads: int, repeats: int) -> dict[str, Any]:
    """Milliseconds: `warm_ms` is the median of `repeats` processes that find their kernels cached, `cold_ms` one that compiles
    them, `numpy_ms` the median of processes that only import NumPy. `peak_rss` is the least of the warm ones', in bytes.

    Raises DeviceError when a process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, cache = Path(folder) / "model.elstm", Path(folder) / "cache"
        write(graph, model)
        first = [sys.executable, "-m", "edgelstm.benchmark.first_output", str(model), str(batch), str(steps), str(threads)]
        cold, _ = _process(first, str(cache))
        rounds = [(_process([sys.executable, "-c", "import numpy"], str(cache))[0], *_process(first, str(cache)))
                  for _ in range(repeats)]
    numpy, warm, said = zip(*rounds, strict=True)
    return {"cold_ms": 1e3 * cold, "warm_ms": 1e3 * statistics.median(warm), "numpy_ms": 1e3 * statistics.median(numpy),
            "peak_rss": min((peak for peak in map(_peak, said) if peak is not None), default=None)}


def _peak(said: str) -> int | None:
    return json.loads(said)["peak_rss"]


def _process(command: Sequence[str], cache: str) -> tuple[float, str]:
    """Seconds that a process took, and what it wrote."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, CACHE: cache}, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        raise DeviceError(f"a fresh process that loads the model failed: {why}")
    return taken, done.stdout
