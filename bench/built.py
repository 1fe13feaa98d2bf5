"""A native build from C and from Python: python -m bench.built [--json].

Microseconds of one LSTM step called from a C program, with targets scaled as in `bench.native_calls`; milliseconds from the
start of a C program to its first output; and for Python the time and memory of a process that loads a built (40,128) model
and predicts, beside one that only imports NumPy and loads the same input (interleaved, the least of each).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgelstm
from bench import ceilings
from bench.cells import Cell
from bench.native_calls import FMA_LATENCY_NS, L2_BYTES_PER_NS
from bench.startup import PEAK

CHAIN_TARGETS = {"1,8": 0.060, "1,16": 0.085, "1,32": 0.17}  # us
READING_TARGETS = {"8,64": 0.80}
STARTS = 20
MOST_TIME, MOST_MIB, MOST_MS = 1.25, 10.0, 5.0

_TIMED = """#include "m.h"
#include <stdio.h>
#include <time.h>
static _Alignas(64) unsigned char state[M_STATE_BYTES + 1], arena[M_ARENA_BYTES + 1];
static _Alignas(64) float x[M_X_SIZE], y[M_Y_SIZE];
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
int main(int count, char **names)
{
    double best = 1e18;
    (void)names;
    m_init(state);
    m_step(state, arena, x, y);
    for (int round = 0; round < (count > 1 ? 400 : 0); round++) {
        double start = now();
        for (int i = 0; i < 200; i++)
            m_step(state, arena, x, y);
        double taken = (now() - start) / 200;
        best = taken < best ? taken : best;
    }
    printf("%.2f\\n", best);
    return 0;
}
"""

_BEFORE = "import sys, numpy as np; x = np.load(sys.argv[1])\n"
_PROCESSES = {"numpy": _BEFORE + PEAK, "built": _BEFORE + "import built; built.load().predict(x)" + PEAK}


def step(size: str, limits: ceilings.Ceilings, folder: Path) -> dict[str, Any]:
    """One step from C, with its scaled target; also the start of that program."""
    cell = Cell("lstm", *map(int, size.split(",")))
    edgelstm.build(cell.graph, folder / "m")
    (folder / "m" / "main.c").write_text(_TIMED)
    subprocess.run(["cc", "-O2", "main.c", "m.o", "-o", "program"], cwd=folder / "m", check=True)
    command = [str(folder / "m" / "program")]
    printed = [subprocess.run([*command, "timed"], capture_output=True, text=True, check=True).stdout for _ in range(3)]
    taken = min(map(float, printed)) / 1e3
    started = min(_seconds(command) for _ in range(STARTS)) * 1e3
    return {"size": size, "step_us": taken, "target_us": _target(cell, limits), "start_ms": started, "target_ms": MOST_MS}


def start(folder: Path) -> dict[str, Any]:
    """A process that predicts with a built model, relative to one that imports NumPy."""
    edgelstm.build(Cell("lstm", 40, 128).graph, folder / "built")
    np.save(folder / "x.npy", np.zeros((1, 100, 40), np.float32))
    seconds: dict[str, list[float]] = {name: [] for name in _PROCESSES}
    memory = dict.fromkeys(_PROCESSES, float("inf"))
    for _ in range(STARTS):
        for name, code in _PROCESSES.items():
            begun = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code, "x.npy"], cwd=folder, capture_output=True, text=True, check=True)
            seconds[name].append(time.perf_counter() - begun)
            memory[name] = min(memory[name], int(done.stdout) / 1024)
    return {"numpy_ms": min(seconds["numpy"]) * 1e3, "built_ms": min(seconds["built"]) * 1e3,
            "ratio": min(seconds["built"]) / min(seconds["numpy"]), "most_ratio": MOST_TIME,
            "more_mib": memory["built"] - memory["numpy"], "most_mib": MOST_MIB}


def _target(cell: Cell, limits: ceilings.Ceilings) -> float:
    if cell.size in CHAIN_TARGETS:
        return CHAIN_TARGETS[cell.size] * limits.fma_latency / FMA_LATENCY_NS
    return READING_TARGETS[cell.size] * L2_BYTES_PER_NS / limits.bandwidth(sum(cell.weight_bytes))


def _seconds(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    limits = ceilings.measure()
    with tempfile.TemporaryDirectory() as place:
        steps = [step(size, limits, Path(place)) for size in (*CHAIN_TARGETS, *READING_TARGETS)]
        found = {"steps": steps, "python": start(Path(place))}
    if given.json:
        print(json.dumps(found, indent=1))
        return 0
    for row in found["steps"]:
        print(f"({row['size']}) from C {row['step_us']:.3f} us (target {row['target_us']:.3f}), "
              f"first output {row['start_ms']:.1f} ms (target {MOST_MS})")
    row = found["python"]
    print(f"(40,128) from Python: {row['built_ms']:.0f} ms, {row['ratio']:.2f} of importing NumPy (target {MOST_TIME}), "
          f"{row['more_mib']:.1f} MiB more (target {MOST_MIB})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
