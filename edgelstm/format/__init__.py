"""The .elstm file: a Graph as a valid safetensors file under one checksum. docs/format.md is its specification."""

from edgelstm.format.files import is_elstm, read, write
from edgelstm.format.graph_json import from_bytes, to_bytes

__all__ = ["from_bytes", "is_elstm", "read", "to_bytes", "write"]
