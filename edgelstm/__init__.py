"""EdgeLSTM runs trained recurrent networks where the training framework cannot go.

Everything public is listed in `__all__` and loaded on first use, so that `import edgelstm` costs little more than nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from edgelstm.version import __version__

_HOMES = {
    "BuildError": "errors",
    "BuildReport": "aot.report",
    "DependencyError": "errors",
    "DeviceError": "errors",
    "DeviceMemoryError": "errors",
    "DeviceWarning": "errors",
    "EdgeLSTMError": "errors",
    "FormatError": "errors",
    "Graph": "graph",
    "Model": "model",
    "Pool": "stream_pool",
    "PrecisionError": "errors",
    "Report": "verify",
    "ShapeError": "errors",
    "Stream": "stream",
    "TensorSpec": "graph",
    "UnsupportedError": "errors",
    "build": "aot.build",
    "convert": "conversion",
    "evaluate": "precision.evaluate",
    "load": "loading",
    "register_layer": "layers",
}

__all__ = [
    "BuildError",
    "BuildReport",
    "DependencyError",
    "DeviceError",
    "DeviceMemoryError",
    "DeviceWarning",
    "EdgeLSTMError",
    "FormatError",
    "Graph",
    "Model",
    "Pool",
    "PrecisionError",
    "Report",
    "ShapeError",
    "Stream",
    "TensorSpec",
    "UnsupportedError",
    "__version__",
    "build",
    "convert",
    "evaluate",
    "load",
    "register_layer",
]

if TYPE_CHECKING:
    from edgelstm.aot.build import build
    from edgelstm.aot.report import BuildReport
    from edgelstm.conversion import convert
    from edgelstm.errors import (
        BuildError,
        DependencyError,
        DeviceError,
        DeviceMemoryError,
        DeviceWarning,
        EdgeLSTMError,
        FormatError,
        PrecisionError,
        ShapeError,
        UnsupportedError,
    )
    from edgelstm.graph import Graph, TensorSpec
    from edgelstm.layers import register_layer
    from edgelstm.loading import load
    from edgelstm.model import Model
    from edgelstm.precision.evaluate import evaluate
    from edgelstm.stream import Stream
    from edgelstm.stream_pool import Pool
    from edgelstm.verify import Report


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'edgelstm' has no attribute {name!r}")
    value = getattr(import_module(f"edgelstm.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
