"""The ops that a graph may hold, a file for each kind. Adding an op touches one file here and a handler per source framework."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from edgelstm.errors import FormatError
from edgelstm.ops.op import Attr, Case, Fact, NeedsFuture, Op, StateSlot

__all__ = ["Attr", "Case", "Fact", "NeedsFuture", "Op", "StateSlot", "all_ops", "get"]


@cache
def all_ops() -> dict[str, Op]:
    """Every op by name, found in the modules of this folder."""
    found: dict[str, Op] = {}
    for info in iter_modules(__path__):
        for item in vars(import_module(f"{__name__}.{info.name}")).get("OPS", ()):
            if item.name in found:
                raise TypeError(f"two ops are called {item.name}")
            found[item.name] = item
    return dict(sorted(found.items()))


def get(name: str) -> Op:
    """The op of that name. Raises FormatError when there is none."""
    try:
        return all_ops()[name]
    except KeyError:
        raise FormatError(f"unknown op {name!r}") from None
