"""The native call of one LSTM step alone, without Python: python -m bench.native_calls [--json].

The time of the step's kernel table through the door, less that of an empty table through the same door. Targets hold at 3.7 GHz
and are scaled to this machine: by the latency of a dependent FMA (4 cycles) where the dependency chain decides, and by the read
bandwidth of the level that holds the weights where reading them does.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from bench import ceilings
from bench.cells import Cell
from edgelstm.benchmark import feeds, profile

FMA_LATENCY_NS = 4 / 3.7
L2_BYTES_PER_NS = 117.0
CHAIN_TARGETS = {"1,8": 0.065, "1,16": 0.095, "1,32": 0.18}  # us
READING_TARGETS = {"8,64": 0.82}
REPEATS = 7


def measure(size: str, limits: ceilings.Ceilings) -> dict[str, Any]:
    """Microseconds of the native step of an LSTM, its scaled target and its bound."""
    cell = Cell("lstm", *map(int, size.split(",")))
    bound = profile.bound_step(cell.graph, feeds.sequences(cell.graph, 1, 1, 1)[0], 1)
    taken = statistics.median(bound.whole() - profile.door_ns() for _ in range(REPEATS)) / 1e3
    return {"size": size, "native_us": taken, "target_us": target(cell, limits), "bound_us": limits.step(cell) / 1e3}


def target(cell: Cell, limits: ceilings.Ceilings) -> float:
    """The microseconds that a size may take on this machine."""
    if cell.size in CHAIN_TARGETS:
        return CHAIN_TARGETS[cell.size] * limits.fma_latency / FMA_LATENCY_NS
    return READING_TARGETS[cell.size] * L2_BYTES_PER_NS / limits.bandwidth(sum(cell.weight_bytes))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    limits = ceilings.measure()
    rows = [measure(size, limits) for size in (*CHAIN_TARGETS, *READING_TARGETS)]
    if given.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"({row['size']}) {row['native_us']:8.3f} us   target {row['target_us']:.3f}   bound {row['bound_us']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
