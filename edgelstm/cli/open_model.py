"""MODEL arguments: an .elstm file, or a trained model that is converted in memory."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli.text import say

if TYPE_CHECKING:
    from edgelstm.graph import Graph
    from edgelstm.model import Model


def add_model(parser: argparse.ArgumentParser) -> None:
    """The MODEL argument."""
    parser.add_argument("model", metavar="MODEL", type=Path,
                        help="an .elstm file, or a .keras, .h5 or .onnx file, which is converted in memory")


def open_model(path: Path, like: "Graph | None" = None) -> "Model":
    """The model of a file. Raises FormatError, UnsupportedError and DependencyError.

    The source of the graph `like` is converted with the constants for inputs that `like` was converted with.
    """
    import edgelstm
    from edgelstm.format import is_elstm

    if is_elstm(path):
        return edgelstm.load(path)
    graph = edgelstm.convert(path, fix=None if like is None else _fixed(path, like))
    for note in graph.notes:
        say(f"note: {note}")
    return edgelstm.load(graph)


def _fixed(path: Path, like: "Graph") -> dict[str, Any] | None:
    """The constants for inputs, where the file is the one that a graph came from."""
    fix = like.provenance.get("fix")
    if not isinstance(fix, Mapping) or not path.is_file():
        return None

    from edgelstm.conversion import sha256

    return dict(fix) if sha256(path) == like.provenance.get("sha256") else None


def add_device(parser: argparse.ArgumentParser) -> None:
    """The --device option."""
    parser.add_argument("--device", metavar="D", default="cpu",
                        help="cpu, cuda, cuda:N, or auto, which measures the CPU and the GPU and takes the faster (cpu)")


def placed(graph: "Graph", device: str, threads: int = 1, batch: int = 1, steps: int | None = None) -> "Model":
    """The model on a device; what auto measured and chose is told. Raises DeviceError, DependencyError."""
    import warnings

    import edgelstm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", edgelstm.DeviceWarning)
        model = edgelstm.load(graph, device, threads, batch=batch, steps=steps)
    if model.choice:
        say(model.choice)
    return model
