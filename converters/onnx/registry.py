"""Which function reads which ONNX node: handlers register themselves with `@node(...)`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Entry:
    """A handler, the opset from which on it reads a node type, and in words what it refuses of it."""

    since: int
    handler: Handler
    limits: str = ""


_ENTRIES: dict[tuple[str, str], list[Entry]] = {}


def node(*op_types: str, since: int = 1, domain: str = "", limits: str = "") -> Callable[[Handler], Handler]:
    """Make a function the handler of these node types from opset `since` on, until a later one takes over.

    A handler gets a Call, emits ops through it, and gives the value of the node's output, or a list of values.
    `limits` tells users what of these nodes is refused.
    """

    def register(handler: Handler) -> Handler:
        for op_type in op_types:
            versions = _ENTRIES.setdefault((domain, op_type), [])
            versions.append(Entry(since, handler, limits))
            versions.sort(key=lambda entry: entry.since)
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
    for entry in _ENTRIES.get((domain, op_type), ()):
        if entry.since <= opset:
            handler = entry.handler
    return handler


def supported() -> list[str]:
    """Names of all node types that have a handler."""
    return sorted(f"{domain}.{op_type}" if domain else op_type for domain, op_type in _ENTRIES)


def entries() -> Mapping[tuple[str, str], Sequence[Entry]]:
    """The entries of each (domain, node type), oldest opset first."""
    return dict(sorted(_ENTRIES.items()))
