"""Readers of trained models: a Keras or ONNX file in, a Graph out. The framework that wrote the file is not needed."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgelstm.errors import FormatError
from edgelstm.graph import Graph

__all__ = ["read", "register_layer"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
KERAS_ENDINGS = (".keras", ".h5", ".hdf5", ".json")


def read(
    source: str | Path,
    *,
    weights: str | Path | None = None,
    fix: Mapping[str, Any] | None = None,
    state: Mapping[str, str] | None = None,
) -> Graph:
    """The Graph of a Keras or ONNX file, told apart by content.

    `weights` is the weight file of a Keras JSON architecture; `fix` gives constants for inputs and `state` the
    {input: output} pairs that a stream carries, both of ONNX models only.
    Raises FormatError (no such file, or damaged), UnsupportedError and DependencyError.
    """
    path = Path(source)
    for given in (path, *([Path(weights)] if weights is not None else [])):
        if not given.is_file():
            raise FormatError(f"there is no file {given}")
    if not path.stat().st_size:
        raise FormatError(f"{path.name} is empty")
    if is_keras(path):
        return _read_keras(path, None if weights is None else Path(weights), fix, state)
    if weights is not None:
        raise FormatError(f"{path.name} is no Keras architecture, so it takes no separate weights")
    from edgelstm_converters import onnx

    return onnx.read(path, dict(fix) if fix else None, dict(state) if state else None)


def is_keras(path: Path) -> bool:
    """Whether a file is one of the containers of Keras: an HDF5 file, an archive with config.json, or JSON.

    A file that is none of them but is named like one counts as a damaged Keras file.
    """
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith(HDF5_MAGIC) or head.lstrip()[:1] == b"{" or zipfile.is_zipfile(path):
        return True
    return path.suffix.lower() in KERAS_ENDINGS


def register_layer(name: str, handler: Callable[[Any], Any]) -> None:
    """Teach the Keras reader a custom layer class: `handler(call)` emits known ops and gives the output's value name."""
    from edgelstm_converters import keras

    keras.register(name, handler)


def _read_keras(path: Path, weights: Path | None, fix: Mapping[str, Any] | None, state: Mapping[str, str] | None) -> Graph:
    for option, value in (("fix", fix), ("state", state)):
        if value:
            raise FormatError(f"{path.name} is a Keras model, and {option} applies to ONNX models only; leave it out")
    from edgelstm_converters import keras

    return keras.read(path, weights)
