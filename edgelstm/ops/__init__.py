"""The ops that a graph may hold, a file for each kind. Adding an op touches one file here and a handler per source framework.

A module lists its ops in `OPS`. An op whose module has its name is loaded alone, so that small models start fast.
"""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from edgelstm.errors import FormatError
from edgelstm.ops.op import Attr, Body, Case, Fact, NeedsFuture, Op, StateSlot

__all__ = ["Attr", "Body", "Case", "Fact", "NeedsFuture", "Op", "StateSlot", "all_ops", "get"]


@cache
def all_ops() -> dict[str, Op]:
    """Every op by name, found in the modules of this folder."""
    found: dict[str, Op] = {}
    from pkgutil import iter_modules

    for module in iter_modules(__path__):
        for op in _ops_of(module.name):
            if op.name in found:
                raise TypeError(f"two ops are called {op.name}")
            found[op.name] = op
    return dict(sorted(found.items()))


@cache
def get(name: str) -> Op:
    """The op of that name. Raises FormatError when there is none."""
    if name.isidentifier() and find_spec(f"{__name__}.{name}") is not None:
        alone = next((op for op in _ops_of(name) if op.name == name), None)
        if alone is not None:
            return alone
    if name not in all_ops():
        raise FormatError(f"unknown op {name!r}")
    return all_ops()[name]


def _ops_of(module: str) -> Iterable[Op]:
    return vars(import_module(f"{__name__}.{module}")).get("OPS", ())
