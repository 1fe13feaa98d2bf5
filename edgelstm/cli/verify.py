"""Run the probe of an .elstm file on this machine and compare with the outputs stored in it, or, with --against, run the
model on seeded inputs and compare with what another file makes of them.

Exit code 0 when every output stays within its tolerance, 1 when one misses it or the file has no probe, 4 when the file is
damaged.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgelstm.cli.open_model import add_model, open_model
from edgelstm.cli.text import print_json, say, table

if TYPE_CHECKING:
    from edgelstm.graph import Graph
    from edgelstm.verify import Report

SUMMARY = "prove on this machine that a file computes what it should"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--against", metavar="FILE", type=Path,
                        help="compare with this file, the original for example, instead of the stored probe")
    parser.add_argument("--json", action="store_true", help="the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    model = open_model(arguments.model)
    report = model.verify() if arguments.against is None else against(model.graph, arguments.against)
    if arguments.json:
        print_json(as_json(report))
    elif report.rows:
        print(rows(report))
    if not report.rows:
        say(f"{arguments.model}: {report}")
    return 0 if report.ok else 1


def against(graph: "Graph", path: Path) -> "Report":
    """How far a graph is from another file. Raises what opening that file raises, and ShapeError where they do not fit."""
    from edgelstm.against import compare

    return compare(graph, open_model(path).graph, path.name)


def rows(report: "Report") -> str:
    """The report as a table."""
    return table(("probe", "output", "max error", "tolerance", ""),
                 [(str(row.probe), row.name, f"{row.max_error:.3g}", f"{row.tolerance:.3g}", "ok" if row.ok else "MISS")
                  for row in report.rows])


def as_json(report: "Report") -> dict[str, object]:
    from dataclasses import asdict

    return {"ok": report.ok, "max_error": report.max_error, "rows": [asdict(row) for row in report.rows]}
