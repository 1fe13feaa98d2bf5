"""From a trained model's file to a Graph and an .elstm file."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm import format as elstm
from edgelstm.axes import mark
from edgelstm.errors import FormatError, PrecisionError, ShapeError
from edgelstm.graph import Graph
from edgelstm.parameters import check_parameters
from edgelstm.passes import simplify
from edgelstm.probe import with_probes
from edgelstm.version import __version__

PathLike = str | os.PathLike[str]


def convert(
    source: PathLike,
    destination: PathLike | None = None,
    *,
    weights: PathLike | None = None,
    precision: str | Mapping[str, str] = "float32",
    calibration: Any = None,
    max_error: float | None = None,
    fix: Mapping[str, Any] | None = None,
    state: Mapping[str, str] | None = None,
    probe: bool = True,
) -> Graph:
    """The Graph of a trained model, written to `destination` where that is given.

    `source` is a .keras, .h5, .hdf5, .json (with its weight file in `weights`) or .onnx file. `fix` gives constants for inputs,
    `state` the {input: output} pairs that a stream carries. `probe=False` skips running the model once for its own proof.
    Raises FormatError (missing or damaged file), UnsupportedError (lists all that is not supported), PrecisionError and
    DependencyError.
    """
    _check_precision(precision, calibration, max_error)
    source = Path(source)
    _check_paths(source, weights, destination)
    import edgelstm_converters

    graph = edgelstm_converters.read(source, weights=weights, fix=fix, state=state)
    try:
        graph = mark(simplify(graph))
        check_parameters(graph)
    except (FormatError, ShapeError) as error:
        raise FormatError(f"{source}: {error}") from None
    graph = replace(graph, provenance={**graph.provenance, **_provenance(source, weights, fix)})
    if probe:
        graph = with_probes(graph)
    if destination is not None:
        elstm.write(graph, destination)
    return graph


def _check_precision(precision: str | Mapping[str, str], calibration: Any, max_error: float | None) -> None:
    if precision != "float32":
        raise PrecisionError(f"precision {precision!r} is not supported; only 'float32' is so far")
    for name, value in (("calibration", calibration), ("max_error", max_error)):
        if value is not None:
            raise PrecisionError(f"{name} applies to reduced precisions, and only 'float32' is supported so far; leave it out")


def _check_paths(source: Path, weights: PathLike | None, destination: PathLike | None) -> None:
    if not source.is_file():
        what = "is a folder, not a file" if source.is_dir() else "there is no such file"
        raise FormatError(f"{source}: {what}; supported are .keras, .h5, .hdf5, .json and .onnx files")
    if elstm.is_elstm(source):
        raise FormatError(f"{source}: is an .elstm file already; open it with edgelstm.load")
    if destination is not None and any(_is_same(Path(destination), Path(p)) for p in (source, weights) if p is not None):
        raise FormatError(f"{destination}: is the source itself, which is never overwritten; give another name")
    if destination is not None and not Path(destination).parent.is_dir():
        raise FormatError(f"{destination}: there is no folder {str(Path(destination).parent)!r} to write into")


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _provenance(source: Path, weights: PathLike | None, fix: Mapping[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"source": _printable(source.name), "sha256": _sha256(source), "edgelstm": __version__}
    if weights is not None:
        found |= {"weights": _printable(Path(weights).name), "weights_sha256": _sha256(Path(weights))}
    if fix:
        found["fix"] = {name: np.asarray(value).tolist() for name, value in fix.items()}
    return found


def _printable(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 are shown as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
