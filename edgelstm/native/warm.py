"""Filling the kernel cache ahead of time, so that later processes on machines of this kind need no compiler."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgelstm import kernels
from edgelstm.errors import DeviceError
from edgelstm.native import cache, places
from edgelstm.native.compiler import compile_kernel, executor_object, keep_image
from edgelstm.native.executor import EXECUTE, executor_ir
from edgelstm.native.machine import host, keep_host
from edgelstm.native.optimise import PASSES
from edgelstm.native.target import Target

_VARIABLE = "EDGELSTM_CACHE"


@dataclass(frozen=True)
class Warmed:
    """What was done: the directory filled, the kernels in it, and the name of the target they are for."""

    directory: Path
    kernels: tuple[str, ...]
    target: str


def warm(directory: Path | None = None, names: Iterable[str] | None = None,
         progress: Callable[[int, int, str], None] = lambda done, total, name: None) -> Warmed:
    """Compile kernels (all of them, or the named ones) for this machine into a directory, or into the cache in use.

    `progress(done, total, name)` is called before every kernel. Raises DeviceError where the directory cannot be used and
    DependencyError without numba.
    """
    wanted, target = tuple(kernels.names() if names is None else names), host()
    with _cache_at(directory):
        place = _first_writable(directory)
        for done, name in enumerate(wanted):
            progress(done, len(wanted), name)
            keep_image(name, target, compile_kernel(name, target))
        _keep_executor(target)
        keep_host()
    return Warmed(place.path, wanted, target.name)


def _first_writable(directory: Path | None) -> places.Place:
    tried = places.places() if directory is None else places.places()[:1]
    for place in tried:
        if place.writable:
            return place
    raise DeviceError("no directory for the kernel cache: "
                      + "; ".join(f"{place.path} {place.refused or 'is not writable'}" for place in tried))


def _keep_executor(target: Target) -> None:
    """What runs tables of kernels, stored even where another directory has it."""
    content = executor_object(target)
    cache.keep_object(cache.object_name(executor_ir(target), PASSES, target), content)
    keep_image(EXECUTE, target, content)


@contextmanager
def _cache_at(directory: Path | None) -> Iterator[None]:
    """The cache moved to a directory for a while."""
    before = os.environ.get(_VARIABLE)
    if directory is not None:
        os.environ[_VARIABLE] = str(directory)
    try:
        yield
    finally:
        if directory is not None:
            os.environ.pop(_VARIABLE)
            if before is not None:
                os.environ[_VARIABLE] = before
