"""The kernels: plain functions over raw pointers, written in Python and compiled for one target at a time.

Every module of this package may declare kernels; the first look-up imports them all. None of them imports a compiler.
"""

import importlib
import pkgutil

from edgelstm.kernels.activations import ACTIVATIONS
from edgelstm.kernels.declare import REGISTRY, KernelDecl

__all__ = ["ACTIVATIONS", "KernelDecl", "get", "names"]


def get(name: str) -> KernelDecl:
    """The declaration of one kernel; KeyError names the known ones."""
    _import_modules()
    if name not in REGISTRY:
        raise KeyError(f"no kernel is called {name!r}; there are {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name]


def names() -> tuple[str, ...]:
    """The names of all kernels, sorted."""
    _import_modules()
    return tuple(sorted(REGISTRY))


def _import_modules() -> None:
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")
