"""Start-up times of whole processes, interleaved, each as a ratio to `python -c "import numpy"`.

    python -m bench.startup [--repeats 15] [--json]

Rows: `import edgelstm`; a process that loads a converted model and prints its first output, with the kernels cached; the same
through the command line; and, once, with an empty cache. Beside the times stands the most memory that a process held, where
Linux tells it.
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
CACHES = ("EDGELSTM_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")  # that say where kernels are looked for
PEAK = """
import pathlib
status = pathlib.Path('/proc/self/status')
lines = (status.read_text() if status.exists() else 'VmHWM 0').splitlines()
print(*[line.split()[1] for line in lines if line.startswith('VmHWM')])
"""


def seconds(command: list[str], **environment: str) -> float:
    """Wall time of one process. Raises CalledProcessError when it fails."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tempfile.gettempdir(),
                   env={**os.environ, **environment})
    return time.perf_counter() - start


def peak(command: list[str]) -> float:
    """The most memory in MiB that a process of `python -c` held, 0 where the system does not tell it."""
    python, option, code, *arguments = command
    said = subprocess.run([python, option, code + PEAK, *arguments], check=True, capture_output=True, text=True).stdout
    return float(said.split()[-1]) / 1024


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
    """Median milliseconds, the median of the paired ratios to the baseline, and the peak of memory where told, by command."""
    with tempfile.TemporaryDirectory() as name:
        runs = commands(Path(name))
        with tempfile.TemporaryDirectory() as empty:
            cold = seconds(runs["load, first output"], **dict.fromkeys(CACHES, empty))
        for command in runs.values():
            seconds(command)
        rounds = [{key: seconds(command) for key, command in runs.items()} for _ in range(repeats)]
        peaks = {key: peak(command) for key, command in runs.items() if command[1] == "-c"}
    base = "import numpy"
    table = {key: {"ms": 1e3 * statistics.median(r[key] for r in rounds), "mib": peaks.get(key, 0.0),
                   "ratio": statistics.median(r[key] / r[base] for r in rounds)} for key in runs}
    ratio = cold / statistics.median(r[base] for r in rounds)
    return table | {"empty cache, first output": {"ms": 1e3 * cold, "ratio": ratio, "mib": 0.0}}


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
            print(f"{key:28} {row['ms']:9.1f} ms   {row['ratio']:6.2f} x" + f"{row['mib']:8.1f} MiB" * (row["mib"] > 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
