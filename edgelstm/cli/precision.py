"""What commands tell of reduced precision: what was tried, and the error of every layer as a table and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgelstm.cli.text import say, table

if TYPE_CHECKING:
    from edgelstm.precision.auto import Choice
    from edgelstm.precision.report import PrecisionReport


def tell_choice(choice: "Choice") -> None:
    """The candidates of every layer, and what came of them, for people."""
    if choice.tried:
        say(table(*choice.cells()))
    say(f"auto: {choice.note}")


def errors(report: "PrecisionReport") -> str:
    """The error of every layer and output against float32, as a table."""
    return table(*report.cells())


def plot(report: "PrecisionReport", path: Path) -> None:
    """Draw the errors. Raises DependencyError without matplotlib, FormatError for a path that cannot be written."""
    from edgelstm.precision.report import draw

    draw(report, path)
    say(f"wrote {path}")
