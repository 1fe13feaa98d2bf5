"""Where the object cache lives: which directories are tried, which may be trusted, and how files get there whole."""

import functools
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A directory that may hold the cache. `refused` says why it is not trusted, or is empty."""

    path: Path
    refused: str
    writable: bool


def places() -> tuple[Place, ...]:
    """All candidates, best first. The environment variable EDGELSTM_CACHE replaces the user's cache directory."""
    return _places(os.environ.get("EDGELSTM_CACHE", ""))


def read(name: str) -> Iterator[bytes]:
    """The content of a file from every trusted place that has it, best first."""
    for place in places():
        if not place.refused:
            try:
                yield (place.path / name).read_bytes()
            except OSError:
                continue


def files(place: Place) -> list[Path]:
    """All files of a trusted place."""
    try:
        return [] if place.refused else list(place.path.iterdir())
    except OSError:
        return []


def write(name: str, content: bytes) -> None:
    """Puts a file into the first place that takes it; warns once in a process where none does."""
    if not any(write_into(place.path, name, content) for place in places() if place.writable):
        _warn_once()


def write_into(directory: Path, name: str, content: bytes) -> bool:
    """Writes beside and renames, so that a reader sees the whole file or none. False where that is impossible."""
    beside = None
    try:
        handle, beside = tempfile.mkstemp(dir=directory, prefix=".partial-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(beside, 0o644)
        os.replace(beside, directory / name)
    except OSError:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)
        return False
    return True


def open_place(path: Path, *, own: bool) -> Place:
    """The directory as a place, made if need be. `own`: it must belong to this user."""
    with suppress(OSError):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        status = path.lstat() if own else path.stat()
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


@functools.cache
def _places(chosen: str) -> tuple[Place, ...]:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    first = open_place(Path(chosen).absolute() if chosen else _user_cache(), own=not chosen)
    second = open_place(Path(tempfile.gettempdir()) / f"edgelstm-{user}", own=True)
    if chosen and first.refused and second.writable:
        warnings.warn(f"EDGELSTM_CACHE names {first.path}, which is not used: {first.refused}", RuntimeWarning, stacklevel=2)
    return first, second


def _user_cache() -> Path:
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "edgelstm" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "edgelstm"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "edgelstm"


@functools.cache
def _warn_once() -> None:
    tried = "; ".join(f"{place.path} {place.refused or 'is not writable'}" for place in places())
    warnings.warn(
        f"compiled kernels are not kept, so each process compiles its own: {tried}. "
        "Set EDGELSTM_CACHE to a directory that only you can write to.",
        RuntimeWarning,
        stacklevel=2,
    )
