"""Start-up times of whole processes, interleaved, each as a ratio to `python -c "import numpy"`.

    python -m bench.startup [--repeats 15] [--json]

Rows: `import edgelstm`; a process that loads a converted model and prints its first output, with the kernels cached; the same
through the command line; and, once, with an empty cache. Beside the times stands the most memory that a process held, where the
system tells it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

MODEL = Path(__file__).parent.parent / "examples" / "forecast" / "model.keras"
FIRST_OUTPUT = (
    "import sys, numpy, edgelstm; m = edgelstm.load(sys.argv[1]); "
    "print(m.stream().step(numpy.zeros(m.inputs[0].shape[-1], 'float32')))"
)


def process(command: list[str], **environment: str) -> tuple[float, float]:
    """Wall time of one process in seconds and the most memory it held in MiB, 0 where that is not known. Raises
    CalledProcessError when it fails.
    """
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir(),
                             env={**os.environ, **environment})
    if not hasattr(os, "wait4"):
        child.wait()
        peak = 0.0
    else:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))
    taken = time.perf_counter() - start
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return taken, peak


def commands(folder: Path) -> dict[str, list[str]]:
    """The processes that are compared, by name; the baseline first."""
    import edgelstm

    model, frame = folder / "model.elstm", folder / "x.npy"
    graph = edgelstm.convert(MODEL, model)
    np.save(frame, np.zeros((1, 1, graph.inputs[0].shape[-1]), np.float32))
    python = sys.executable
    return {
        "import numpy": [python, "-c", "import numpy"],
        "import edgelstm": [python, "-c", "import edgelstm"],
        "load, first output": [python, "-c", FIRST_OUTPUT, str(model)],
        "edgelstm run": [python, "-m", "edgelstm", "run", str(model), str(frame)],
    }


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds, the median of the paired ratios to the baseline, and median peaks of memory, by command."""
    with tempfile.TemporaryDirectory() as name:
        runs = commands(Path(name))
        with tempfile.TemporaryDirectory() as empty:
            cold, peak = process(runs["load, first output"], EDGELSTM_CACHE=empty)
        for command in runs.values():
            process(command)
        rounds = [{key: process(command) for key, command in runs.items()} for _ in range(repeats)]
    base = "import numpy"
    table = {key: {"ms": 1e3 * statistics.median(r[key][0] for r in rounds),
                   "ratio": statistics.median(r[key][0] / r[base][0] for r in rounds),
                   "mib": statistics.median(r[key][1] for r in rounds)} for key in runs}
    ratio = cold / statistics.median(r[base][0] for r in rounds)
    return table | {"empty cache, first output": {"ms": 1e3 * cold, "ratio": ratio, "mib": peak}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    table = measure(args.repeats)
    if args.json:
        print(json.dumps(table, indent=1))
    else:
        for key, row in table.items():
            print(f"{key:28} {row['ms']:9.1f} ms   {row['ratio']:6.2f} x {row['mib']:7.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
