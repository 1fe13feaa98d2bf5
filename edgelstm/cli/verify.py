"""Run the probe of an .elstm file on this machine and compare with the outputs stored in it.

Exit code 0 when every output stays within its tolerance, 1 when one misses it or the file has no probe, 4 when the file is
damaged.
"""

import argparse

from edgelstm.cli.open_model import add_model, open_model
from edgelstm.cli.text import print_json, say, table

SUMMARY = "prove on this machine that a file computes what it should"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    report = open_model(arguments.model).verify()
    if arguments.json:
        print_json({"ok": report.ok, "max_error": report.max_error, "rows": [asdict(row) for row in report.rows]})
    elif report.rows:
        print(table(("probe", "output", "max error", "tolerance", ""),
                    [(str(row.probe), row.name, f"{row.max_error:.3g}", f"{row.tolerance:.3g}", "ok" if row.ok else "MISS")
                     for row in report.rows]))
    if not report.rows:
        say(f"{arguments.model}: {report}")
    return 0 if report.ok else 1
