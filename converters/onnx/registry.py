"""Which function reads which ONNX node: handlers register themselves with `@node(...)`."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

Handler = Callable[[Any], Any]

_MODULES = (
    "control",
    "convolution",
    "elementwise",
    "matrix",
    "movement",
    "normalization",
    "pooling",
    "quantized",
    "recurrent",
    "reduction",
    "resize",
    "sequence",
    "shape",
)
_HANDLERS: dict[tuple[str, str], list[tuple[int, Handler]]] = {}


def node(*op_types: str, since: int = 1, domain: str = "") -> Callable[[Handler], Handler]:
    """Make a function the handler of these node types from opset `since` on, until a later one takes over.

    A handler gets a Call, emits ops through it, and gives the value of the node's output, or a list of values.
    """

    def register(handler: Handler) -> Handler:
        for op_type in op_types:
            versions = _HANDLERS.setdefault((domain, op_type), [])
            versions.append((since, handler))
            versions.sort(key=lambda entry: entry[0])
        return handler

    return register


@cache
def load_handlers() -> None:
    """Import the modules that register handlers."""
    for name in _MODULES:
        import_module(f"edgelstm_converters.onnx.{name}")


def find(domain: str, op_type: str, opset: int) -> Handler | None:
    """The handler of a node type in an opset, None when there is none."""
    handler = None
    for since, candidate in _HANDLERS.get((domain, op_type), ()):
        if since <= opset:
            handler = candidate
    return handler


def supported() -> list[str]:
    """Names of all node types that have a handler."""
    return sorted(f"{domain}.{op_type}" if domain else op_type for domain, op_type in _HANDLERS)
