"""Convert a trained model (.keras, .h5, .json with --weights, .onnx) to one .elstm file.

All that is not supported is listed at once, with exit code 3; nothing is written then.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli import precision, verify
from edgelstm.cli.text import count_bytes, print_json, say
from edgelstm.cli.verify import error_limit
from edgelstm.errors import PrecisionError, ShapeError

if TYPE_CHECKING:
    from edgelstm.conversion import Conversion
    from edgelstm.precision.report import PrecisionReport

SUMMARY = "convert a trained model to an .elstm file"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="the trained model")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the .elstm file to write")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="the weight file of a JSON architecture")
    parser.add_argument("--fix", metavar="NAME=VALUE", type=_constant, action="append", default=[],
                        help="a constant for an input, or a length for a dynamic axis, of an ONNX model, e.g. sr=16000; "
                             "may be repeated")
    parser.add_argument("--state", metavar="IN=OUT", type=_pair, action="append", default=[],
                        help="an input and the output that feeds it at the next step, e.g. h0=hn; may be repeated")
    parser.add_argument("--precision", metavar="[LAYER=]NAME", action="append", default=[],
                        help="float32 (default), bfloat16, int8, int8-static, int8x16 or int4, for all layers or for one and "
                             "its inner layers (may be repeated); auto: the fastest on this machine for each layer; integer: "
                             "no floating point inside; integer-ports: nor in its inputs and outputs")
    parser.add_argument("--calibration", metavar="FILE", type=Path,
                        help="inputs from use, .npy or .npz: int8-static and integer need them, all others round better with "
                             "them, auto and --max-error measure on them")
    parser.add_argument("--max-error", metavar="X", type=error_limit,
                        help="the largest absolute error that may arise at an output; above it nothing is written")
    parser.add_argument("--activation-range", metavar="KIND", choices=("max", "percentile", "mse"),
                        help="how int8-static and integer find the ranges of activations; max is the default")
    parser.add_argument("--plot", metavar="OUT.png", type=Path, help="draw the errors that a reduced precision makes")
    parser.add_argument("--no-probe", action="store_true", help="do not store inputs and outputs for `edgelstm verify`")
    parser.add_argument("--against", metavar="FILE", type=Path,
                        help="compare the result with this file, e.g. the Keras model that an ONNX file was exported from; "
                             "exit code 1 when they differ; OUT is written all the same")
    parser.add_argument("--json", action="store_true", help="describe the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    from edgelstm.conversion import converted

    wanted = {"precision": _precision(arguments.precision), "calibration": arguments.calibration,
              "max_error": arguments.max_error, "activation_range": arguments.activation_range}
    compares = wanted["precision"] not in ("float32", "integer-ports")
    if arguments.plot is not None and not compares:
        raise PrecisionError("--plot draws the errors of a reduced precision with float outputs; give --precision too")
    conversion = converted(
        arguments.source, arguments.output, wanted, weights=arguments.weights,
        fix=dict(arguments.fix) or None, state=dict(arguments.state) or None, probe=not arguments.no_probe)
    graph = conversion.graph
    nbytes = arguments.output.stat().st_size
    for note in graph.notes:
        say(f"note: {note}")
    for source, result in graph.states:
        say(f"state: output {result!r} feeds input {source!r}")
    say(f"wrote {arguments.output}: {len(graph.nodes)} nodes, {graph.parameters:,} parameters, {count_bytes(nbytes)}")
    errors = _errors(conversion, arguments.plot) if compares else None
    report = None if arguments.against is None else verify.against(graph, arguments.against)
    if report is not None:
        say(f"against {arguments.against}:\n{verify.rows(report)}")
    if arguments.json:
        print_json({"file": str(arguments.output), "bytes": nbytes, "nodes": len(graph.nodes), "parameters": graph.parameters,
                    "states": graph.states, "notes": graph.notes, "probes": len(graph.probes),
                    "provenance": dict(graph.provenance), "against": None if report is None else verify.as_json(report),
                    "tried": None if conversion.tried is None else conversion.tried.as_dict(),
                    "errors": None if errors is None else errors.as_dict()})
    return 0 if report is None or report.ok else 1


def _precision(given: list[str]) -> str | dict[str, str]:
    """One name for all layers, or a name for each layer, `*` for those not named. Raises PrecisionError."""
    if not given:
        return "float32"
    pairs = [argument.rpartition("=") for argument in given]
    chosen = {layer if equals else "*": name for layer, equals, name in pairs}
    if len(chosen) < len(pairs):
        raise PrecisionError(f"--precision is given twice for the same layer: {', '.join(given)}")
    return chosen["*"] if list(chosen) == ["*"] else chosen


def _errors(conversion: "Conversion", plot: Path | None) -> "PrecisionReport | None":
    """The errors of every layer against float32, told and drawn; None where no inputs fit the model."""
    from edgelstm.precision.measure import default_data
    from edgelstm.precision.report import compare

    if conversion.tried is not None:
        precision.tell_choice(conversion.tried)
    try:
        report = compare(conversion.exact, conversion.graph, conversion.data or default_data(conversion.exact))
    except ShapeError as error:
        say(f"errors: cannot tell: {error}")
        return None
    say(precision.errors(report))
    if plot is not None:
        precision.plot(report, plot)
    return report


def _pair(argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form NAME=VALUE")
    return name, value


def _constant(argument: str) -> tuple[str, Any]:
    name, value = _pair(argument)
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number, true, false or a list of numbers") from None
