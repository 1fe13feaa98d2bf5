"""Reduced precision: speed beside other runtimes, accuracy, bytes, and what it costs real models.

    python -m bench.quantization [--rows accuracy,integer,step,sequence,bfloat16,int4,gru,bytes,models] [--sizes 40,128 ...]
                                 [--litert-models DIR] [--corpus DIR] [--seconds 2] [--json | --markdown]

Speed: two runtimes take turns in short bursts, after both were held against the float64 reference; a ratio is the median of the
ratios within each turn and below 1 where EdgeLSTM is faster, `spread` gives their quartiles. Accuracy: the largest absolute
error of a random layer over sequences of 1000 steps, against the float64 equations on the unrounded weights. The exit status
is 1 when a target is missed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import edgelstm
from bench import real_models, side_by_side
from bench.cells import Cell
from bench.grid import LARGE, SEQUENCE_STEPS
from bench.peers import LITERT_MODELS, litert_dynamic_runner, onnxruntime_int8_runner, onnxruntime_runner
from bench.runners import NotComparable, Runner, Work, calling, edgelstm_runner, in_precision
from edgelstm.benchmark import timing
from edgelstm.precision import apply, calibrate, resolve
from edgelstm.precision.integer import integer

Found = dict[str, Any]

WRONG = 0.5  # an error of an output between -1 and 1 from which numbers are wrong, not rounded
ACCURACY_LIMITS = {"int8": dict(zip(LARGE, (0.013, 0.013, 0.013, 0.022), strict=True)),
                   "bfloat16": dict.fromkeys(LARGE, 3.5e-3), "int4": dict.fromkeys(LARGE, 0.16)}
OVER_PEER = 0.9  # of the error of ONNX Runtime's DynamicQuantizeLSTM, which int8 may have
CALIBRATION_SEQUENCES = 4
INTEGER_SIZES = "16,32", "16,128"
BYTES_SIZE, BYTES_LIMITS = "128,512", {"bfloat16": 0.51, "int8": 0.27, "int4": 0.16}
HEADS = ("row", "size", "what", "value", "beside", "ratio", "spread", "target", "")


@dataclass(frozen=True)
class Speed:
    """A row of ratios: EdgeLSTM in a precision, beside another runtime, with a target for every size."""

    op: str
    form: str
    precision: str
    peer: Callable[[Work], Runner]
    targets: dict[str, float]

    def work(self, size: str) -> Work:
        features, units = map(int, size.split(","))
        steps = SEQUENCE_STEPS if self.form == "sequence" else 1
        return Work(Cell(self.op, features, units), self.form, steps, precision=self.precision)


def _own_int8(work: Work) -> Runner:
    return replace(edgelstm_runner(replace(work, precision="int8")), name="EdgeLSTM int8")


def _targets(*values: float) -> dict[str, float]:
    return dict(zip(LARGE[-len(values):], values, strict=True))


SPEEDS = {
    "step": Speed("lstm", "step", "int8", litert_dynamic_runner, _targets(0.60, 0.75, 0.85, 0.95)),
    "sequence": Speed("lstm", "sequence", "int8", onnxruntime_int8_runner, _targets(0.75, 0.80, 0.90, 0.95)),
    "bfloat16": Speed("lstm", "sequence", "bfloat16", onnxruntime_runner, _targets(0.60, 0.55, 0.52, 0.50)),
    "int4": Speed("lstm", "sequence", "int4", _own_int8, _targets(1.0, 0.90, 0.75, 0.75)),
    "gru": Speed("gru", "sequence", "int8", onnxruntime_runner, _targets(1 / 3, 1 / 3, 1 / 3)),
}
ROWS = ("accuracy", "integer", *SPEEDS, "bytes", "models")


def speed(row: str, size: str, seconds: float) -> Found:
    """The ratio of one cell, or `missing`: why there is none."""
    measured = SPEEDS[row]
    work = measured.work(size)
    inputs, expected = side_by_side.checked_inputs(replace(work, precision="float32"))
    found = {"row": row, "size": size, "what": f"{measured.op} {measured.form} in {measured.precision}, us",
             "target": measured.targets.get(size)}
    try:
        runners = [edgelstm_runner(work), measured.peer(work)]
    except NotComparable as reason:
        return found | {"missing": str(reason)}
    errors = [side_by_side.largest_error(runner, inputs, expected) for runner in runners]
    if max(errors) > WRONG:
        return found | {"missing": f"wrong numbers: the errors are {errors}"}
    turns = timing.turns([runner.burst for runner in runners], inputs, seconds)
    paired, times = turns[:, 0] / turns[:, 1], 1e6 * np.median(turns, axis=0)
    return found | {"value": float(times[0]), "beside": f"{runners[1].name} {times[1]:.3g}", "ratio": float(np.median(paired)),
                    "spread": np.percentile(paired, (25, 75)).tolist(), "errors": errors}


def accuracy(size: str) -> Iterator[Found]:
    """The largest errors of a random LSTM in every precision; int8 beside ONNX Runtime too."""
    features, units = map(int, size.split(","))
    work = Work(Cell("lstm", features, units), "sequence", SEQUENCE_STEPS)
    inputs, expected = side_by_side.checked_inputs(work)

    def error(runner: Runner) -> float:
        return side_by_side.largest_error(runner, inputs, expected)

    errors = {}
    for name, limits in ACCURACY_LIMITS.items():
        runners = edgelstm_runner(replace(work, precision=name)), _calibrated(work, name)
        errors[name], calibrated = map(error, runners)
        beside, typical = (root_mean_square(runner, inputs, expected) for runner in runners)
        yield {"row": "accuracy", "size": size, "what": f"largest error of {name}", "value": errors[name],
               "target": limits[size]}
        yield {"row": "accuracy", "size": size, "what": f"largest error of {name}, calibrated", "value": calibrated,
               "target": limits[size]}
        yield {"row": "accuracy", "size": size, "what": f"{name}, calibrated: root mean square error", "target": 1.0,
               "value": typical, "beside": f"not calibrated {beside:.3g}", "ratio": typical / beside}
    what = {"row": "accuracy", "size": size, "what": "int8, error over that of a peer", "target": OVER_PEER}
    try:
        peer = error(onnxruntime_int8_runner(work))
    except NotComparable as reason:
        yield what | {"missing": str(reason)}
        return
    yield what | {"value": errors["int8"], "beside": f"ONNX Runtime int8 {peer:.3g}", "ratio": errors["int8"] / peer}


def root_mean_square(runner: Runner, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The typical error of a runtime over several sequences."""
    squares = []
    for x, y in zip(inputs, expected, strict=True):
        runner.burst([x])
        squares.append(np.mean(np.square(runner.last() - y)))
    return float(np.sqrt(np.mean(squares)))


def _calibrated(work: Work, precision: str) -> Runner:
    """EdgeLSTM with weights rounded by the help of sequences that no error is measured on."""
    graph = work.cell.graph
    return calling("EdgeLSTM", edgelstm.load(apply(graph, resolve(graph, precision), calibrate(graph, _seen(work)))).predict)


def _seen(work: Work) -> np.ndarray:
    """Calibration data."""
    shape = (CALIBRATION_SEQUENCES, *work.input_shape[1:])
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def integer_accuracy() -> Iterator[Found]:
    """The largest errors of random layers in integers alone."""
    for op in ("lstm", "gru"):
        for size in INTEGER_SIZES:
            features, units = map(int, size.split(","))
            work = Work(Cell(op, features, units), "sequence", SEQUENCE_STEPS)
            inputs, expected = side_by_side.checked_inputs(work)
            runner = calling("EdgeLSTM", edgelstm.load(integer(work.cell.graph, _seen(work))).predict)
            yield {"row": "integer", "size": size, "what": f"largest error of an integer-only {op}",
                   "value": side_by_side.largest_error(runner, inputs, expected)}


def tensor_bytes() -> Iterator[Found]:
    """Bytes of all tensors of an LSTM over those in float32."""
    features, units = map(int, BYTES_SIZE.split(","))
    graph = Cell("lstm", features, units).graph
    whole = sum(array.nbytes for array in graph.constants.values())
    for name, limit in BYTES_LIMITS.items():
        nbytes = sum(array.nbytes for array in in_precision(graph, name).constants.values())
        yield {"row": "bytes", "size": BYTES_SIZE, "what": f"tensor bytes in {name}", "value": float(nbytes),
               "beside": f"float32 {whole}", "ratio": nbytes / whole, "target": limit}


def missed(found: Found) -> bool:
    """Whether a figure is over its target; the ratio counts where there is one."""
    judged = found.get("ratio", found.get("value"))
    return found.get("target") is not None and judged is not None and not judged <= found["target"]


def measure(given: argparse.Namespace) -> Iterator[Found]:
    """Every wanted figure, in order."""
    for row in given.rows:
        sizes = [size for size in LARGE if size in given.sizes]
        if row == "accuracy":
            yield from (found for size in sizes for found in accuracy(size))
        elif row == "integer":
            yield from integer_accuracy()
        elif row == "bytes":
            yield from tensor_bytes()
        elif row == "models":
            yield from real_models.figures(given.writer, given.denoiser, given.voice)
        else:
            yield from (speed(row, size, given.seconds) for size in sizes if size in SPEEDS[row].targets)


def cells(found: Found) -> tuple[str, ...]:
    """The row of the table."""
    value = f"{found['value']:.4g}" if "value" in found else f"missing: {found['missing']}"
    spread = "{:.2f}-{:.2f}".format(*found["spread"]) if "spread" in found else ""
    target = "" if found.get("target") is None else f"{found['target']:.3g}"
    return (found["row"], found["size"], found["what"], value, found.get("beside", ""),
            f"{found['ratio']:.3f}" if "ratio" in found else "", spread, target, "MISS" * missed(found))


def markdown(results: Sequence[Found]) -> str:
    lines = [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    return "\n".join(lines + [f"| {' | '.join(cells(found))} |" for found in results])


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parsed(arguments)
    if given.litert_models:
        os.environ[LITERT_MODELS] = given.litert_models
    results = []
    for found in measure(given):
        results.append(found)
        print("  ".join(cells(found)), file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"machine": side_by_side.machine(), "figures": results}, indent=1))
    elif given.markdown:
        print(markdown(results))
    return int(any(missed(found) for found in results))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help=",".join(ROWS))
    parser.add_argument("--sizes", nargs="+", default=list(LARGE), choices=LARGE, metavar="FEATURES,UNITS")
    parser.add_argument("--litert-models", metavar="DIR", help=f"cellS_dyn_F_H.tflite files; or set {LITERT_MODELS}")
    files = parser.add_argument_group("files of the row models")
    files.add_argument("--writer", nargs=3, metavar=("MODEL.json", "WEIGHTS.hdf5", "CHARACTERS.json"), type=Path,
                       help="a textgenrnn model and its numbers of characters")
    files.add_argument("--denoiser", nargs=2, metavar=("MODEL.onnx", "SPEECH.wav"), type=Path, help="the first model of a DTLN")
    files.add_argument("--voice", nargs=2, metavar=("MODEL.onnx", "SPEECH.wav"), type=Path, help="a Silero VAD")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each ratio")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true")
    return parser.parse_args(arguments)


def _rows(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"no row is called {name!r}; there are {', '.join(ROWS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
