"""An ONNX file as a checked protobuf: nothing outside its folder is read, and every tensor holds what it claims."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm.errors import DependencyError, FormatError, UnsupportedError

OPSETS = (7, 28)


@dataclass(frozen=True)
class Model:
    """A parsed ONNX model and the file it came from. `opsets` gives the version of every operator set it imports."""

    proto: Any
    source: Path
    opsets: dict[str, int]

    @property
    def functions(self) -> dict[tuple[str, str], Any]:
        """The model's own functions by (domain, name)."""
        return {(function.domain, function.name): function for function in self.proto.functions}

    def array(self, tensor: Any) -> np.ndarray:
        """The array of a tensor, external data included. Raises FormatError when it does not hold what it claims."""
        where = f"tensor {tensor.name!r}"
        dtype = _dtype(tensor, where)
        if any(n < 0 for n in tensor.dims):
            raise FormatError(f"{where} has the shape {list(tensor.dims)}")
        if tensor.data_location == 1:
            return np.frombuffer(self._external(tensor, dtype, where), dtype.newbyteorder("<")).reshape(tensor.dims)
        return _inline(tensor, dtype, where)

    def _external(self, tensor: Any, dtype: np.dtype, where: str) -> bytes:
        """The bytes of a tensor that lies in a file of its own, inside the model's folder."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = _inside(self.source.parent, entries.get("location", ""), where)
        expected = math.prod(tensor.dims) * dtype.itemsize
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        except ValueError:
            raise FormatError(f"{where}: its external data has the offset or length {entries!r}") from None
        if length != expected or offset < 0 or offset + length > path.stat().st_size:
            raise FormatError(
                f"{where} needs {expected} bytes at offset {offset} of {path.name}, "
                f"which holds {path.stat().st_size}; {length} are announced"
            )
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def load(source: Path) -> Model:
    """Parse an ONNX file and check its operator sets.

    Raises DependencyError without the onnx package, FormatError for a file that is no ONNX model.
    """
    try:
        from google.protobuf.message import DecodeError
        from onnx import ModelProto
    except ImportError:
        raise DependencyError("reading ONNX files needs the onnx package: pip install edgelstm[convert]") from None
    source = Path(source)
    proto = ModelProto()
    try:
        proto.ParseFromString(source.read_bytes())
    except OSError as error:
        raise FormatError(f"{source}: cannot be read: {error.strerror}") from None
    except DecodeError:
        raise FormatError(f"{source}: not an ONNX model, or a damaged one (its protobuf does not parse)") from None
    if not proto.HasField("graph") or not proto.graph.output:
        raise FormatError(f"{source}: holds no graph; an ONNX model has at least one output")
    _check_text(proto, source)
    return Model(proto, source, _opsets(proto.opset_import, source))


def all_nodes(*graphs: Any) -> Iterator[Any]:
    """All nodes of graphs and functions, those of subgraphs too."""
    waiting = list(graphs)
    while waiting:
        for node in waiting.pop().node:
            yield node
            waiting += [inner for attribute in node.attribute for inner in (attribute.g, *attribute.graphs)]


def _check_text(proto: Any, source: Path) -> None:
    """Raise FormatError for a name that is no UTF-8; protobuf gives such a one as bytes."""
    ports = (*proto.graph.input, *proto.graph.output)
    names = [proto.producer_name, proto.producer_version, *(named.name for named in (*proto.graph.initializer, *ports))]
    names += [dim.dim_param for port in ports for dim in port.type.tensor_type.shape.dim]
    names += [
        name for function in proto.functions for name in (function.name, function.domain, *function.input, *function.output)
    ]
    for node in all_nodes(proto.graph, *proto.functions):
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(entry.name for entry in node.attribute)]
    damaged = next((name for name in names if isinstance(name, bytes)), None)
    if damaged is not None:
        raise FormatError(f"{source}: damaged: the name {damaged!r} is no UTF-8 text")


def _opsets(imports: Any, source: Path) -> dict[str, int]:
    opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in imports}
    version = opsets.get("")
    if version is not None and not OPSETS[0] <= version <= OPSETS[1]:
        raise FormatError(
            f"{source}: uses ONNX opset {version}; supported are {OPSETS[0]} to {OPSETS[1]}. "
            "Export the model again with an opset in that range"
        )
    return opsets


def _dtype(tensor: Any, where: str) -> np.dtype:
    from onnx import TensorProto, helper

    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise FormatError(f"{where} has the unknown element type {tensor.data_type}")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    name = TensorProto.DataType.Name(tensor.data_type)
    if (dtype.kind not in "fiub" and name != "BFLOAT16") or name.startswith(("FLOAT8", "FLOAT4", "INT4", "UINT4")):
        raise UnsupportedError(f"{where} has the element type {name}; supported are the float, integer and bool types")
    return dtype


def _inline(tensor: Any, dtype: np.dtype, where: str) -> np.ndarray:
    from onnx import numpy_helper

    expected = math.prod(tensor.dims) * dtype.itemsize
    if tensor.HasField("raw_data") and len(tensor.raw_data) != expected:
        raise FormatError(f"{where} of shape {list(tensor.dims)} needs {expected} bytes, the file has {len(tensor.raw_data)}")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{where} of shape {list(tensor.dims)} is damaged: {error}") from None
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _inside(folder: Path, location: str, where: str) -> Path:
    """The path of an external data file. Raises FormatError when it is missing or leads out of the model's folder."""
    path = folder / location
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        raise FormatError(f"{where}: its external data is at {location!r}; only files in the model's own folder are read")
    if not _is_file(path):
        raise FormatError(f"{where}: its external data file {location[:200]!r} is missing beside the model")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise FormatError(f"{where}: its external data {location!r} is a link out of the model's folder")
    return path


def _is_file(path: Path) -> bool:
    """Whether there is an ordinary file; False also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
