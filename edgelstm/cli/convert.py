"""Convert a trained model (.keras, .h5, .json with --weights, .onnx) to one .elstm file.

All that is not supported is listed at once, with exit code 3; nothing is written then.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from edgelstm.cli import verify
from edgelstm.cli.text import count_bytes, print_json, say

SUMMARY = "convert a trained model to an .elstm file"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path, help="the trained model")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the .elstm file to write")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="the weight file of a JSON architecture")
    parser.add_argument("--fix", metavar="NAME=VALUE", type=_constant, action="append", default=[],
                        help="a constant for an input, or a length for a dynamic axis, of an ONNX model, e.g. sr=16000; may be repeated")
    parser.add_argument("--state", metavar="IN=OUT", type=_pair, action="append", default=[],
                        help="an input and the output that feeds it at the next step, e.g. h0=hn; may be repeated")
    parser.add_argument("--precision", default="float32", help="precision of the weights; only float32 so far")
    parser.add_argument("--no-probe", action="store_true", help="do not store inputs and outputs for `edgelstm verify`")
    parser.add_argument("--against", metavar="FILE", type=Path,
                        help="compare the result with this file, e.g. the Keras model that an ONNX file was exported from; "
                             "exit code 1 when they differ")
    parser.add_argument("--json", action="store_true", help="describe the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    import edgelstm

    graph = edgelstm.convert(
        arguments.source, arguments.output, weights=arguments.weights, precision=arguments.precision,
        fix=dict(arguments.fix) or None, state=dict(arguments.state) or None, probe=not arguments.no_probe)
    nbytes = arguments.output.stat().st_size
    for note in graph.notes:
        say(f"note: {note}")
    for source, result in graph.states:
        say(f"state: output {result!r} feeds input {source!r}")
    say(f"wrote {arguments.output}: {len(graph.nodes)} nodes, {graph.parameters:,} parameters, {count_bytes(nbytes)}")
    report = None if arguments.against is None else verify.against(graph, arguments.against)
    if report is not None:
        say(f"against {arguments.against}:\n{verify.rows(report)}")
    if arguments.json:
        print_json({"file": str(arguments.output), "bytes": nbytes, "nodes": len(graph.nodes), "parameters": graph.parameters,
                    "states": graph.states, "notes": graph.notes, "probes": len(graph.probes),
                    "provenance": dict(graph.provenance), "against": None if report is None else verify.as_json(report)})
    return 0 if report is None or report.ok else 1


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
