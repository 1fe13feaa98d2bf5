"""Run the probe of an .elstm file on this machine and compare with the outputs stored in it, or, with --against, run the
model on seeded inputs and compare with what another file makes of them.

A file of reduced precision held --against its source, or against the file converted in float32, is compared layer by layer:
the signal-to-noise ratio of each layer in the model and of the layer alone, its largest error, and how that grows over time.

Exit code 0 when every output stays within its tolerance (of a comparison by layer: within --max-error, a hundredth of the
largest output by default), 1 when one misses it or the file has no probe, 4 when the file is damaged.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgelstm.cli import precision
from edgelstm.cli.number import number
from edgelstm.cli.open_model import add_model, open_model
from edgelstm.cli.text import print_json, say, table
from edgelstm.errors import PrecisionError

if TYPE_CHECKING:
    from edgelstm.graph import Graph
    from edgelstm.verify import Report

SUMMARY = "prove on this machine that a file computes what it should"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--against", metavar="FILE", type=Path,
                        help="compare with this file, the original for example, instead of the stored probe")
    parser.add_argument("--data", metavar="FILE", type=Path,
                        help="with --against, for a file of reduced precision: inputs to compare on, .npy or .npz")
    parser.add_argument("--max-error", metavar="X", type=error_limit,
                        help="the same: the largest absolute error allowed at an output")
    parser.add_argument("--plot", metavar="OUT.png", type=Path,
                        help="the same: draw the errors of the layers")
    parser.add_argument("--json", action="store_true", help="the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    model = open_model(arguments.model)
    if arguments.against is not None and _is_reduced(model.graph):
        return _by_layer(model.graph, arguments)
    _check_options(arguments)
    report = model.verify() if arguments.against is None else against(model.graph, arguments.against)
    if arguments.json:
        print_json(as_json(report))
    elif report.rows:
        print(rows(report))
        for source in dict.fromkeys(row.source for row in report.rows):
            numbers = sorted({row.probe for row in report.rows if row.source == source})
            say(f"probe {', '.join(map(str, numbers))}: expected by {source}")
    if not report.rows:
        say(f"{arguments.model}: {report}")
    return 0 if report.ok else 1


def _by_layer(graph: "Graph", arguments: argparse.Namespace) -> int:
    """Tell how far a reduced graph is from another file, layer by layer; 1 when an output is over the limit."""
    from edgelstm.against import with_names_of
    from edgelstm.precision.calibrate import read_data
    from edgelstm.precision.measure import default_data
    from edgelstm.precision.report import compare

    path = arguments.against
    reference = with_names_of(graph, open_model(path, graph).graph, path.name)
    data = default_data(reference) if arguments.data is None else read_data(reference, arguments.data)
    report = compare(reference, graph, data)
    limit = report.limit if arguments.max_error is None else arguments.max_error
    ok = report.max_error <= limit
    if arguments.json:
        print_json({"ok": ok, "limit": limit, **report.as_dict()})
    else:
        print(precision.errors(report))
    say(f"largest error {report.max_error:.3g}, {'within' if ok else 'over'} the limit of {limit:.3g}")
    if arguments.plot is not None:
        precision.plot(report, arguments.plot)
    return 0 if ok else 1


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise PrecisionError for an option that only a comparison by layer takes."""
    for option in ("data", "max_error", "plot"):
        if getattr(arguments, option) is not None:
            name = f"--{option.replace('_', '-')}"
            raise PrecisionError(f"{name} applies to a file of reduced precision that is compared --against its source")


def against(graph: "Graph", path: Path) -> "Report":
    """How far a graph is from another file. Raises what opening that file raises, and ShapeError where they do not fit."""
    from edgelstm.against import compare

    return compare(graph, open_model(path, graph).graph, path.name)


def rows(report: "Report") -> str:
    """The report as a table."""
    from edgelstm.drift import STEPS

    heads = ("probe", "output", "max error", "tolerance", "SNR dB", *(f"at t={t}" for t in STEPS), "")
    return table(heads, [
        (str(row.probe), row.name, f"{row.max_error:.3g}", f"{row.tolerance:.3g}", f"{row.snr_db:.1f}",
         *(f"{row.drift[t]:.2e}" if t in row.drift else "" for t in STEPS), "ok" if row.ok else "MISS") for row in report.rows])


def as_json(report: "Report") -> dict[str, object]:
    from dataclasses import asdict

    return {"ok": report.ok, "max_error": report.max_error, "rows": [asdict(row) for row in report.rows]}


def error_limit(argument: str) -> float:
    """The value of --max-error: a finite number from 0 on."""
    return number(argument, "a finite number from 0 on")


def _is_reduced(graph: "Graph") -> bool:
    return any(node.attrs.get("precision", "float32") != "float32" or node.op.endswith("_integer") for node in graph.nodes)
