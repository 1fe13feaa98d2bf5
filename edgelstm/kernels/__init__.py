"""The kernels: plain functions over raw pointers, written in Python and compiled for one target at a time.

Every module of this package may declare kernels. One whose module has the first words of its name (`lstm_general` in lstm.py,
`gemm4` in gemm.py) is found without importing the others. None of them imports a compiler.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator

from edgelstm.kernels.activations import ACTIVATIONS
from edgelstm.kernels.declare import REGISTRY, KernelDecl, parsed

__all__ = ["ACTIVATIONS", "KernelDecl", "described", "get", "names", "recall_with"]

_recalled: dict[str, KernelDecl] = {}
_recall: Callable[[str], str | None] = lambda name: None  # noqa: E731


def get(name: str) -> KernelDecl:
    """The declaration of one kernel; KeyError names the known ones."""
    if name not in REGISTRY and name not in _recalled:
        params = _recall(name)
        if params is None:
            _find(name)
        else:
            _recalled[name] = KernelDecl(name, parsed(name, params), lambda v: _found(name).factory(v))
    return REGISTRY.get(name) or _recalled[name]


def described(name: str) -> KernelDecl:
    """The declaration with what only its module tells: whether it has a formula."""
    get(name)
    return _found(name)


def recall_with(recall: Callable[[str], str | None]) -> None:
    """Ask `recall` for the parameters of kernels before their modules are imported, which then only compiling them needs."""
    global _recall
    _recall = recall


def names() -> tuple[str, ...]:
    """The names of all kernels, sorted."""
    import pkgutil

    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            _import(module.name)
    return tuple(sorted(REGISTRY))


def _found(name: str) -> KernelDecl:
    if name not in REGISTRY:
        _find(name)
    return REGISTRY[name]


def _find(name: str) -> None:
    """Import the modules that may declare a kernel, the likeliest first."""
    for candidate in _homes(name):
        if candidate.isidentifier() and importlib.util.find_spec(f"{__name__}.{candidate}") is not None:
            _import(candidate)
            if name in REGISTRY:
                return
    if name not in names():
        raise KeyError(f"no kernel is called {name!r}; there are {', '.join(sorted(REGISTRY))}")


def _homes(name: str) -> Iterator[str]:
    words = name.split("_")
    return ("_".join(words[:count]).rstrip("0123456789") for count in range(len(words), 0, -1))


def _import(module: str) -> None:
    importlib.import_module(f"{__name__}.{module}")
