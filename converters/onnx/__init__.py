"""Reads ONNX files of any exporter into a Graph."""

from edgelstm_converters.onnx.importer import read

__all__ = ["read"]
