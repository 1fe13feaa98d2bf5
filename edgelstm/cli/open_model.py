"""MODEL arguments: an .elstm file, or a trained model that is converted in memory."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edgelstm.cli.text import say

if TYPE_CHECKING:
    from edgelstm.model import Model


def add_model(parser: argparse.ArgumentParser) -> None:
    """The MODEL argument."""
    parser.add_argument("model", metavar="MODEL", type=Path,
                        help="an .elstm file, or a .keras, .h5 or .onnx file, which is converted in memory")


def open_model(path: Path) -> "Model":
    """The model of a file. Raises FormatError, UnsupportedError and DependencyError."""
    import edgelstm
    from edgelstm.format import is_elstm

    if is_elstm(path):
        return edgelstm.load(path)
    graph = edgelstm.convert(path)
    for note in graph.notes:
        say(f"note: {note}")
    return edgelstm.load(graph)
