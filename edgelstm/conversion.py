"""From a trained model's file to a Graph and an .elstm file."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm import format as elstm
from edgelstm.axes import mark
from edgelstm.errors import FormatError, PrecisionError, ShapeError
from edgelstm.graph import Graph
from edgelstm.parameters import check_parameters
from edgelstm.passes import simplify
from edgelstm.probe import with_probes
from edgelstm.version import __version__

if TYPE_CHECKING:
    from edgelstm.precision.auto import Choice
    from edgelstm.precision.reduce import Request

PathLike = str | os.PathLike[str]


def convert(
    source: PathLike,
    destination: PathLike | None = None,
    *,
    weights: PathLike | None = None,
    precision: str | Mapping[str, str] = "float32",
    calibration: Any = None,
    max_error: float | None = None,
    activation_range: str | None = None,
    fix: Mapping[str, Any] | None = None,
    state: Mapping[str, str] | None = None,
    probe: bool = True,
) -> Graph:
    """The Graph of a trained model, written to `destination` where that is given.

    `source` is a .keras, .h5, .hdf5, .json (with its weight file in `weights`) or .onnx file. `fix` gives constants for inputs,
    `state` the {input: output} pairs that a stream carries. `probe=False` skips running the model once for its own proof.

    `precision` is float32, bfloat16, int8, int8-static, int8x16, int4 for all layers or, as a dict, by layer name; or for the
    whole model auto, integer, or integer-ports, which also takes and gives integers. `calibration` is data as `predict` takes
    them (an array, a dict of arrays, the path of a .npy or .npz file): int8-static and integer need them, the others round
    better with them. `max_error` is the largest absolute error that may arise at an output; above it nothing is written.
    `activation_range` (max, which is the default, percentile or mse) is how int8-static and integer find the scales of
    activations.

    Raises FormatError (missing or damaged file), UnsupportedError (lists all that is not supported), PrecisionError and
    DependencyError.
    """
    wanted = {"precision": precision, "calibration": calibration, "max_error": max_error, "activation_range": activation_range}
    return converted(source, destination, wanted, weights=weights, fix=fix, state=state, probe=probe).graph


@dataclass(frozen=True, eq=False)
class Conversion:
    """What a conversion made: the graph, the float32 graph before, what `auto` tried, and the calibration data."""

    graph: Graph
    exact: Graph
    tried: "Choice | None" = None
    data: Mapping[str, np.ndarray] | None = None


def converted(source: PathLike, destination: PathLike | None, wanted: Mapping[str, Any], *, weights: PathLike | None = None,
              fix: Mapping[str, Any] | None = None, state: Mapping[str, str] | None = None, probe: bool = True) -> Conversion:
    """As `convert`, with all that came up on the way; `wanted` holds its arguments that are about precision."""
    request = _request(wanted)
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
    conversion = Conversion(graph, graph) if request is None else _reduced(graph, request)
    if probe:
        exact = None if request is None or request.integer_ports else graph
        conversion = replace(conversion, graph=with_probes(conversion.graph, exact))
    if destination is not None:
        elstm.write(conversion.graph, destination)
    return conversion


def _reduced(graph: Graph, request: "Request") -> Conversion:
    from edgelstm.precision.reduce import reduce

    found = reduce(graph, request)
    return Conversion(found.graph, graph, found.tried, found.data)


def _request(wanted: Mapping[str, Any]) -> "Request | None":
    """What is wanted of precision, checked; None for plain float32, which needs none of the code for it."""
    if wanted.get("precision", "float32") == "float32":
        for name, value in wanted.items():
            if name != "precision" and value is not None:
                raise PrecisionError(f"{name} is for reduced precisions, and the precision is 'float32'; leave it out")
        return None
    from edgelstm.precision.reduce import Request

    request = Request(**wanted)
    request.check()
    return request


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
    found: dict[str, Any] = {"source": _printable(source.name), "sha256": sha256(source), "edgelstm": __version__}
    if weights is not None:
        found |= {"weights": _printable(Path(weights).name), "weights_sha256": sha256(Path(weights))}
    if fix:
        found["fix"] = {name: np.asarray(value).tolist() for name, value in fix.items()}
    return found


def _printable(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 are shown as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def sha256(path: Path) -> str:
    """The digest of a file by which `provenance` knows it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
