"""Builds what index.html needs: the network of examples/forecast as WebAssembly, and its series as JSON.

    python examples/browser/build.py
    python -m http.server -d examples/browser        # then open http://localhost:8000
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import edgelstm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "forecast"))

from forecast import EVALUATION_START, REFERENCE, read_series  # noqa: E402 (it lies beside this folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "build", help="the folder to build into")
    output = parser.parse_args(argv).output

    graph = edgelstm.convert(HERE.parent / "forecast" / "model.keras")
    report = edgelstm.build(graph, output / "forecast", "wasm32", self_test=True)
    series = read_series()
    with np.load(REFERENCE) as reference:
        scale = float(reference["scale"])
    content = {"dates": [day.isoformat() for day in series.dates], "values": [round(float(v), 2) for v in series.values],
               "scale": scale, "evaluationStart": EVALUATION_START.isoformat()}
    (output / "series.json").write_text(json.dumps(content), encoding="utf-8")
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
