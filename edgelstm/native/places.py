"""Where the kernel cache lives: which directories are tried, which may be trusted, and how files get there whole."""

import functools
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Place(NamedTuple):
    """A directory that may hold the cache. `refused` says why it is not trusted, or is empty."""

    path: str
    refused: str
    writable: bool


def places() -> tuple[Place, ...]:
    """All candidates, best first. The environment variable EDGELSTM_CACHE replaces the user's cache directory."""
    return tuple(_candidates())


def read(name: str) -> Iterator[bytes]:
    """The content of a file from every trusted place that has it, best first."""
    for place in _candidates():
        if not place.refused:
            try:
                with open(os.path.join(place.path, name), "rb", buffering=0) as file:
                    yield file.read()
            except OSError:
                continue


def files(place: Place) -> "list[Path]":
    """All files of a trusted place."""
    from pathlib import Path

    try:
        return [] if place.refused else list(Path(place.path).iterdir())
    except OSError:
        return []


def write(name: str, content: bytes) -> None:
    """Puts a file into the first place that takes it; warns once in a process where none does."""
    if not offer(name, content):
        _warn_once()


def offer(name: str, content: bytes) -> bool:
    """The same of a file that can do without: whether a place took it."""
    return any(write_into(place.path, name, content) for place in _candidates() if place.writable)


def write_into(directory: str, name: str, content: bytes) -> bool:
    """Writes beside and renames, so that a reader sees the whole file or none. False where that is impossible."""
    import tempfile

    beside = None
    try:
        handle, beside = tempfile.mkstemp(dir=directory, prefix=".partial-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(beside, 0o644)
        os.replace(beside, os.path.join(directory, name))
    except OSError:
        if beside is not None:
            with suppress(FileNotFoundError):
                os.unlink(beside)
        return False
    return True


def open_place(path: str, *, own: bool) -> Place:
    """The directory as a place, made if need be. `own`: it must belong to this user."""
    with suppress(OSError):
        if not os.path.isdir(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path, 0o700)
    try:
        status = os.lstat(path) if own else os.stat(path)
    except OSError as error:
        return Place(path, f"cannot be used ({error.strerror})", writable=False)
    refused = _distrust(status, own)
    return Place(path, refused, writable=not refused and os.access(path, os.W_OK | os.X_OK))


def _distrust(status: os.stat_result, own: bool) -> str:
    if not stat.S_ISDIR(status.st_mode):
        return "is not a directory"
    if os.name != "posix":
        return ""
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "other users can write to it"
    if own and status.st_uid != os.getuid():
        return "belongs to another user"
    return ""


def _candidates() -> Iterator[Place]:
    """The places, each looked at when it is wanted."""
    chosen = os.environ.get("EDGELSTM_CACHE", "")
    yield _first(chosen)
    yield _temporary()


@functools.cache
def _first(chosen: str) -> Place:
    first = open_place(os.path.abspath(chosen) if chosen else _user_cache(), own=not chosen)
    if chosen and first.refused and _temporary().writable:
        warnings.warn(f"EDGELSTM_CACHE names {first.path}, which is not used: {first.refused}", RuntimeWarning, stacklevel=2)
    return first


@functools.cache
def _temporary() -> Place:
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else "user"
    return open_place(os.path.join(tempfile.gettempdir(), f"edgelstm-{user}"), own=True)


def _user_cache() -> str:
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return os.path.join(os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local"), "edgelstm", "cache")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "edgelstm")
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "edgelstm")


@functools.cache
def _warn_once() -> None:
    tried = "; ".join(f"{place.path} {place.refused or 'is not writable'}" for place in places())
    warnings.warn(
        f"compiled kernels are not kept, so each process compiles its own: {tried}. "
        "Set EDGELSTM_CACHE to a directory that only you can write to.",
        RuntimeWarning,
        stacklevel=2,
    )
