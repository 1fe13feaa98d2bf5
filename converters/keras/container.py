"""The containers Keras writes: .keras archives, whole-model HDF5, and JSON with a weight file; told apart by content."""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from edgelstm_converters.keras.hdf5 import WeightFile

from edgelstm.errors import FormatError
from edgelstm.format import strict_json

MAX_CONFIG = 64 << 20
MAX_WEIGHTS = 2 << 30
MAX_RATIO = 200  # inflated to stored bytes; trained weights hardly compress
MAX_JSON_DEPTH = 200
UTF8_MARK = b"\xef\xbb\xbf"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK"


@dataclass(frozen=True)
class Container:
    """What a Keras file holds.

    `layout` is "legacy" (groups named after layers) or "tree" (Keras 3, groups named after classes); `root` is the
    group under which the weights lie. `version` is the Keras version that wrote it, "" when the file does not say.
    """

    label: str
    form: str
    architecture: dict[str, Any]
    weights: WeightFile
    layout: str
    root: str
    version: str
    backend: str


def open_container(source: Path, weights: Path | None) -> Container:
    """Read a Keras file and, for a JSON architecture, its weights. Raises FormatError for anything else."""
    with open(source, "rb") as file:
        magic = file.read(8)
    if magic[:2] == ZIP_MAGIC:
        return _from_archive(source)
    if magic == HDF5_MAGIC:
        return _from_hdf5(source)
    return _from_json(source, weights)


def _from_archive(source: Path) -> Container:
    label = source.name
    try:
        with zipfile.ZipFile(source) as archive:
            _check_names(archive, label)
            architecture = _parsed(_member(archive, "config.json", MAX_CONFIG, label), f"{label}: config.json")
            metadata = _parsed(_member(archive, "metadata.json", MAX_CONFIG, label), f"{label}: metadata.json")
            stored = _member(archive, "model.weights.h5", MAX_WEIGHTS, label)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{label}: the zip archive is damaged or truncated ({error}); save or copy the file again") from None
    weights = WeightFile(BytesIO(stored), f"{label}: model.weights.h5")
    version = str(metadata.get("keras_version", ""))
    return Container(label, "keras", architecture, weights, "tree", "", version, "")


def _check_names(archive: zipfile.ZipFile, label: str) -> None:
    """Nothing is ever unpacked to disk, but a member that would leave the folder shows that the archive was tampered with."""
    for name in archive.namelist():
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
            raise FormatError(f"{label}: the member {name[:80]!r} of the archive points out of its folder; do not trust it")


def _member(archive: zipfile.ZipFile, name: str, limit: int, label: str) -> bytes:
    """The bytes of one member, its CRC checked. Raises FormatError when it is absent, doubled or too large."""
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        what = "has no" if not found else f"has {len(found)} members"
        raise FormatError(f"{label}: the archive {what} {name!r}; a .keras file holds exactly one")
    most = min(limit, MAX_RATIO * max(found[0].compress_size, 1024))
    content = b""
    if found[0].file_size <= most:
        with archive.open(found[0]) as member:
            content = member.read(most + 1)
    if max(found[0].file_size, len(content)) > most:
        raise FormatError(f"{label}: {name!r} inflates to more than {most} bytes, which no model of this size does")
    return content


def _from_hdf5(source: Path) -> Container:
    label = source.name
    weights = WeightFile(source, label)
    text = weights.text("", "model_config")
    if text is None:
        raise FormatError(
            f"{label} holds weights but no architecture; convert the JSON that model.to_json() gives, "
            "with this file as its weights"
        )
    architecture = _parsed(text.encode("utf-8", "surrogatepass"), f"{label}: model_config")
    version, backend = weights.text("", "keras_version") or "", weights.text("", "backend") or ""
    if not weights.has("model_weights"):
        raise FormatError(f"{label} has no group 'model_weights'; save the whole model again with model.save()")
    return Container(label, "h5", architecture, weights, "legacy", "model_weights", version, backend)


def _from_json(source: Path, weights: Path | None) -> Container:
    label = source.name
    with open(source, "rb") as file:
        opening = file.read(64).lstrip(UTF8_MARK + b" \t\r\n")[:1]
    if opening != b"{" or source.stat().st_size > MAX_CONFIG:
        raise FormatError(f"{label} is no Keras model: neither a .keras archive, nor HDF5, nor a JSON architecture")
    architecture = _parsed(source.read_bytes(), label)
    if weights is None:
        raise FormatError(f"{label} is an architecture without weights; give the weight file with weights=")
    held = WeightFile(weights, weights.name)
    legacy = held.strings("", "layer_names") is not None
    whole = not legacy and held.strings("model_weights", "layer_names") is not None
    if not (legacy or whole or held.has("layers") or held.has("_layer_checkpoint_dependencies")):
        raise FormatError(f"{weights.name} holds no Keras weights: neither 'layer_names' nor a group 'layers'")
    version = str(architecture.get("keras_version") or held.text("", "keras_version") or "")
    backend = str(held.text("", "backend") or architecture.get("backend") or "")
    return Container(
        label,
        "json",
        architecture,
        held,
        "legacy" if legacy or whole else "tree",
        "model_weights" if whole else "",
        version,
        backend,
    )


def _parsed(content: bytes, label: str) -> dict[str, Any]:
    """The object of a JSON text, no deeper than any model is nested: everything behind this may recurse."""
    parsed = strict_json.parse(content.removeprefix(UTF8_MARK), label)
    if not isinstance(parsed, dict):
        raise FormatError(f"{label} is JSON but not the description of a Keras model")
    level: list[Any] = [parsed]
    for _ in range(MAX_JSON_DEPTH):
        level = [item for value in level for item in _inner(value) if isinstance(item, (dict, list))]
        if not level:
            return parsed
    raise FormatError(f"{label} nests objects deeper than {MAX_JSON_DEPTH}, which no Keras model does")


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
