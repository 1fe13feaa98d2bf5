"""EdgeLSTM beside other runtimes on the same layers, interleaved in one process, as ratios.

    python -m bench.side_by_side [--rows step,sequence] [--sizes 1,8 40,128] [--peers onnxruntime,litert]
                                 [--litert-models DIR] [--seconds 2] [--json | --markdown]

Every runtime is held against the float64 reference first, with frames that change; one that misses it is not timed. Then short
bursts of all runtimes take turns. A time is the median of the bursts, a ratio the median of the ratios within each turn, which
what else the machine does disturbs least; `spread` gives their quartiles. A ratio below 1 says that EdgeLSTM is faster.

The threads of some runtimes go on spinning after a call (ONNX Runtime's for some 40 ms, PyTorch's for 8) and keep a processor
that the next runtime needs. So where several threads are compared, every burst begins when all threads have come to rest, and
with a call that is not timed: each runtime is seen as in a program that uses it alone, call after call.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import cycle, islice
from typing import Any

import numpy as np

from bench import ceilings, grid
from bench.peers import LITERT_MODELS, PEERS
from bench.report import markdown, text
from bench.runners import NotComparable, Runner, Work, edgelstm_runner
from edgelstm.benchmark import timing
from edgelstm.errors import DeviceError

CHECKED_FRAMES, CHECKED_SEQUENCES, TIMED_FRAMES = 50, 2, 64
TOLERANCE = 5e-6  # absolute, of float32 outputs of unit scale


@dataclass(frozen=True)
class Entry:
    """A runtime in a comparison. `error` is its largest difference to the reference."""

    runner: Runner
    error: float


def compare(row: str, work: Work, peers: Sequence[str], limits: ceilings.Ceilings, seconds: float) -> dict[str, Any]:
    """One cell of the table: times in us, ratios, bound, and why a runtime is missing."""
    found = {"row": row, "size": work.cell.size, "batch": work.batch, "steps": work.steps, "threads": work.threads,
             "target": grid.target(row, work), "bound_us": _bound(work, limits) / 1e3}
    entries, missing = _entries(work, peers)
    if "EdgeLSTM" in missing:
        return found | {"missing": missing}
    inputs = checked_inputs(work)[0]
    timed = inputs if not work.is_step else list(islice(cycle(inputs), TIMED_FRAMES))
    turns = timing.turns([entry.runner.burst for entry in entries], timed, seconds, settled=work.threads > 1)
    names = [entry.runner.name for entry in entries]
    times = {name: 1e6 * float(median) for name, median in zip(names, np.median(turns, axis=0), strict=True)}
    errors = {entry.runner.name: entry.error for entry in entries}
    return found | {"missing": missing, "times_us": times, "errors": errors, "turns": len(turns)} | _ratios(names, turns)


def _ratios(names: Sequence[str], turns: np.ndarray) -> dict[str, Any]:
    """Median of the paired ratios to every peer, and the peer that leaves EdgeLSTM the largest."""
    if len(names) == 1:
        return {"ratios": {}}
    paired = turns[:, :1] / turns[:, 1:]
    ratios = dict(zip(names[1:], map(float, np.median(paired, axis=0)), strict=True))
    best = max(ratios, key=lambda name: ratios[name])
    spread = np.percentile(paired[:, names.index(best) - 1], (25, 75)).tolist()
    return {"ratios": ratios, "best_peer": best, "ratio": ratios[best], "spread": spread}


@lru_cache(maxsize=1)
def checked_inputs(work: Work) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Seeded inputs that all differ, and what the float64 reference makes of them."""
    rng = np.random.default_rng(7)
    count = CHECKED_FRAMES if work.is_step else CHECKED_SEQUENCES
    inputs = [rng.standard_normal(work.input_shape).astype(np.float32) for _ in range(count)]
    if work.is_step:
        return inputs, list(work.cell.expected(np.stack(inputs)[None])[0])
    return inputs, [work.cell.expected(x) for x in inputs]


def _entries(work: Work, peers: Sequence[str]) -> tuple[list[Entry], dict[str, str]]:
    """The runtimes whose numbers are right, EdgeLSTM first, and why the others are missing: all of them where it is.

    Where threads are compared a peer also runs on one, and the better of the two counts.
    """
    wanted = [("EdgeLSTM", edgelstm_runner, work)]
    wanted += [(name, PEERS[name], replace(work, threads=n)) for name in peers for n in sorted({1, work.threads})]
    entries, missing = [], {}
    for name, make, own in wanted:
        several = "" if own.threads == 1 or name == "EdgeLSTM" else f", {own.threads} threads"
        try:
            entries.append(_checked(make(own), several, *checked_inputs(work)))
        except (NotComparable, DeviceError) as reason:
            missing[name + several] = str(reason)
        if "EdgeLSTM" in missing:
            break
    return entries, missing


def _checked(runner: Runner, suffix: str, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Entry:
    error = largest_error(runner, inputs, expected)
    if error > TOLERANCE:
        raise NotComparable(f"its numbers are wrong: it misses the float64 reference by {error:.2g}")
    return Entry(replace(runner, name=runner.name + suffix), error)


def largest_error(runner: Runner, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    worst = 0.0
    for x, y in zip(inputs, expected, strict=True):
        runner.burst([x])
        found = runner.last()
        error = np.max(np.abs(found - y)) if found.shape == y.shape and np.isfinite(found).all() else np.inf
        worst = max(worst, float(error))
    return worst


def _bound(work: Work, limits: ceilings.Ceilings) -> float:
    if work.is_step:
        return limits.step(work.cell)
    return limits.sequence(work.cell, work.steps, work.batch, work.threads)


def machine() -> dict[str, Any]:
    """What the figures belong to: processor, cores, versions."""
    from importlib import metadata

    packages = ("edgelstm", "numpy", "onnxruntime", "ai-edge-litert", "openvino", "torch")
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return {"cpu": _processor(), "cores": os.cpu_count(), "python": platform.python_version(),
            "versions": {name: installed[name] for name in packages if name in installed}}


def _processor() -> str:
    from edgelstm import native

    target = native.host()
    return f"{target.cpu} ({target.name}, {target.lanes} float32 lanes)"


def cells(given: argparse.Namespace, limits: ceilings.Ceilings) -> Iterator[dict[str, Any]]:
    """Every wanted cell of the grid, in order. GRU and SimpleRNN aim at the lead over ONNX Runtime of LSTM in this run."""
    told: set[tuple[str, str, str]] = set()
    leads: dict[tuple[str, str], float | None] = {}
    for row in given.rows:
        for work in grid.works(row, given.sizes):
            peers = given.peers if work.cell.op == "lstm" else [name for name in given.peers if name == "onnxruntime"]
            found = compare(row, work, peers, limits, given.seconds)
            leads[row, work.cell.size] = found.get("ratios", {}).get("ONNX Runtime")
            if work.cell.op != "lstm":
                found["target"] = leads.get((work.form, work.cell.size))
            for name, reason in found["missing"].items():
                if (row, name, reason) not in told:
                    told.add((row, name, reason))
                    print(f"{row}: without {name}: {reason}", file=sys.stderr)
            yield found


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parsed(arguments)
    if given.litert_models:
        os.environ[LITERT_MODELS] = given.litert_models
    limits = ceilings.measure()
    print(ceilings.text(limits), file=sys.stderr)
    results = []
    for found in cells(given, limits):
        results.append(found)
        print(text([found], heads=len(results) == 1), file=sys.stderr)
    if given.json:
        print(json.dumps({"machine": machine(), "ceilings": asdict(limits), "cells": results}, indent=1))
    elif given.markdown:
        print(markdown(results))
    return 0 if all("times_us" in found for found in results) else 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(grid.ROWS), help=",".join(grid.ROWS))
    parser.add_argument("--sizes", nargs="+", default=list(grid.SIZES), choices=grid.SIZES, metavar="FEATURES,UNITS")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--litert-models", metavar="DIR", help=f"cellS_f32_F_H.tflite files; or set {LITERT_MODELS}")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each cell")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true")
    given = parser.parse_args(arguments)
    for kind, names, known in (("row", given.rows, grid.ROWS), ("peer", given.peers, PEERS)):
        for name in names:
            if name not in known:
                parser.error(f"no {kind} is called {name!r}; there are {', '.join(known)}")
    return given


if __name__ == "__main__":
    sys.exit(main())
