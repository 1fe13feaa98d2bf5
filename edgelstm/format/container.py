"""The container of an .elstm file: safetensors whose header begins with fixed bytes and carries a checksum of the whole file.

    8 bytes        header length N, little-endian
    N bytes        JSON header, padded with spaces so that the tensors begin at a multiple of 64
    the rest       tensor bytes, little-endian, C order, no holes, falling element size
"""

import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from edgelstm.errors import FormatError
from edgelstm.format.checksum import hex_digest
from edgelstm.format.strict_json import dump, fields, listed, natural, parse, text

VERSION = (1, 1)
MAX_HEADER = 100_000_000  # the limit of the safetensors readers
ALIGNMENT = 64
METADATA, CHECKSUM, VERSION_KEY, GRAPH = "__metadata__", "elstm.sha256", "elstm.version", "elstm.graph"
MAGIC = b'{"__metadata__":{"elstm.sha256":"'

_DIGITS = slice(8 + len(MAGIC), 8 + len(MAGIC) + 64)
_ZEROS = b"0" * 64
_DTYPES = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1", "BF16": "<u2", "I8": "|i1", "I16": "<i2"}
_CODES = {str(np.dtype(dtype).newbyteorder("=")): code for code, dtype in _DTYPES.items()}
_ENTRY = fields(dtype=text, shape=listed(natural), data_offsets=listed(natural))


class Entry(NamedTuple):
    """A line of the tensor table; `start` and `end` count bytes from the first tensor byte."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    end: int


def encode(graph: str, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The file that holds a graph's JSON text and its tensors; the same content gives the same bytes."""
    version = ".".join(map(str, VERSION))
    table: dict[str, Any] = {METADATA: {CHECKSUM: _ZEROS.decode(), VERSION_KEY: version, GRAPH: graph}}
    parts, end = [], 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array = tensors[name]
        code = _CODES[str(array.dtype)]
        start, end = end, end + array.nbytes
        table[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
        parts.append(array.astype(_DTYPES[code], copy=False).tobytes())
    header = dump(table)
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    if len(header) > MAX_HEADER:
        raise FormatError(f"the graph needs a header of {len(header)} bytes, more than the {MAX_HEADER} a file may have")
    blob = bytearray(b"".join([struct.pack("<Q", len(header)), header, *parts]))
    blob[_DIGITS] = hex_digest([blob]).encode()
    return bytes(blob)


def decode(data: Any) -> tuple[str, dict[str, np.ndarray]]:
    """The graph's JSON text and the tensors, read-only views into `data` (bytes or a read-only memory map).

    Raises FormatError for everything that is not exactly as docs/format.md says; nothing is allocated by what a length claims.
    """
    header, begin = _header(data)
    metadata = _metadata(header.pop(METADATA, None), bytes(data[8:8 + len(MAGIC)]))
    entries = _table(header, len(data) - begin)
    _verify_checksum(data, metadata[CHECKSUM])
    return metadata[GRAPH], {entry.name: _tensor(data, begin, entry) for entry in entries}


def _header(data: Any) -> tuple[dict[str, Any], int]:
    """The parsed header and where the tensors begin."""
    if len(data) < 8:
        raise FormatError(f"{len(data)} bytes are too few for an .elstm file")
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER:
        raise FormatError(f"not an .elstm file: its header would have {length} bytes, more than {MAX_HEADER}")
    if 8 + length > len(data):
        raise FormatError(f"the file ends inside its header: {length} bytes announced, {len(data) - 8} there")
    header = parse(bytes(data[8:8 + length]), "the header")
    if not isinstance(header, dict):
        raise FormatError("the header is not a JSON object")
    if (8 + length) % ALIGNMENT:
        raise FormatError(f"the tensors begin at byte {8 + length}, which is no multiple of {ALIGNMENT}")
    return header, 8 + length


def _metadata(found: Any, beginning: bytes) -> dict[str, str]:
    """The three strings of the metadata. Raises FormatError for a foreign file or a newer version."""
    if not isinstance(found, dict) or VERSION_KEY not in found:
        raise FormatError("a safetensors file without an EdgeLSTM graph; convert the trained model with `edgelstm convert`")
    version = text(found[VERSION_KEY], f"{METADATA}.{VERSION_KEY}")
    major, dot, minor = version.partition(".")
    if not (dot and _is_number(major) and _is_number(minor)):
        raise FormatError(f"the format version is {version!r}, not two numbers such as '1.0'")
    if int(major) != VERSION[0]:
        raise FormatError(f"format version {version}; this EdgeLSTM reads {VERSION[0]}.x. Update edgelstm to read the file")
    checked = fields(**{CHECKSUM: text, VERSION_KEY: text, GRAPH: text})(found, METADATA)
    if beginning != MAGIC:
        raise FormatError(f"the header does not begin with {MAGIC.decode()!r}; another program rewrote the file")
    return checked


def _is_number(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) < 6


def _table(header: dict[str, Any], available: int) -> list[Entry]:
    """The tensors in the order of their bytes, which follow each other without holes to the end of the file."""
    entries = sorted((_entry(name, value) for name, value in header.items()), key=lambda entry: (entry.start, entry.end))
    end = 0
    for entry in entries:
        if entry.start != end:
            what = "overlaps the one before it" if entry.start < end else "leaves a hole before it"
            raise FormatError(f"tensor {entry.name!r} at bytes {entry.start} to {entry.end} {what}")
        if entry.start % entry.dtype.itemsize:
            raise FormatError(f"tensor {entry.name!r} at byte {entry.start} is not aligned to its {entry.dtype} elements")
        end = entry.end
    if end > available:
        raise FormatError(f"the file ends inside its tensors: {end} bytes announced, {available} there")
    if end < available:
        raise FormatError(f"{available - end} bytes follow the last tensor")
    return entries


def _entry(name: str, value: Any) -> Entry:
    entry = _ENTRY(value, f"tensor {name!r}")
    if entry["dtype"] not in _DTYPES:
        raise FormatError(f"tensor {name!r} has the dtype {entry['dtype']!r}; supported are {list(_DTYPES)}")
    if len(entry["data_offsets"]) != 2:
        raise FormatError(f"tensor {name!r} has {len(entry['data_offsets'])} data_offsets, not 2")
    dtype, (start, end) = np.dtype(_DTYPES[entry["dtype"]]), entry["data_offsets"]
    if len(entry["shape"]) > 32 or math.prod(max(n, 1) for n in entry["shape"]) * dtype.itemsize >= 2**63:
        raise FormatError(f"tensor {name!r} has an impossible shape")
    size = math.prod(entry["shape"]) * dtype.itemsize
    if end - start != size:
        raise FormatError(f"tensor {name!r} has {end - start} bytes where {dtype}{list(entry['shape'])} needs {size}")
    return Entry(name, dtype, entry["shape"], start, end)


def _verify_checksum(data: Any, expected: str) -> None:
    view = memoryview(data)
    if hex_digest([view[:_DIGITS.start], _ZEROS, view[_DIGITS.stop:]]) != expected:
        raise FormatError("the checksum does not match: the file is damaged or was edited; copy or convert it again")


def _tensor(data: Any, begin: int, entry: Entry) -> np.ndarray:
    count = math.prod(entry.shape)
    if entry.dtype == bool:
        codes = np.frombuffer(data, np.uint8, count, begin + entry.start) if count else np.empty(0, np.uint8)
        if np.any(codes > 1):
            raise FormatError(f"tensor {entry.name!r} is BOOL and holds a byte other than 0 and 1")
    if not count:
        return np.empty(entry.shape, entry.dtype)
    return np.frombuffer(data, entry.dtype, count, begin + entry.start).reshape(entry.shape)
