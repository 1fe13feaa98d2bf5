"""The folder of a build: written whole or not at all, and files that no build has written are left alone.

BUILD.sha256 lists what builds have written there, so that a later one knows which files it may replace; `sha256sum -c` checks
them by it, too.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgelstm.errors import BuildError

SUMS = "BUILD.sha256"


def write_folder(folder: Path, files: Mapping[str, bytes], replaces: Sequence[str]) -> None:
    """Write the files and their sums; `replaces` are patterns of files of earlier builds that are deleted.

    Raises BuildError where a file would be lost or cannot be written.
    """
    try:
        listed = _listed(folder)
        _check_foreign(folder, files, listed)
        gone = {name for pattern in replaces for name in _matching(folder, pattern) if name in listed and name not in files}
        kept = {name: known for name, known in listed.items() if name not in gone and (folder / name).is_file()}
        ours = {name: _digest(content) for name, content in files.items() if not _is_cache(name)}
        _write(folder, {**files, SUMS: _sums(kept | ours)})
        for name in gone:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(f"{error.filename or folder}: cannot write: {error.strerror}") from None


def _check_foreign(folder: Path, files: Mapping[str, bytes], listed: Mapping[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        if _is_cache(name) or not os.path.lexists(path):
            continue
        if not path.is_file() or _digest(path.read_bytes()) not in (listed.get(name), _digest(content)):
            raise BuildError(f"{path}: was not written by a build, or was changed since, and would be lost; move it away or "
                             "build into another folder", exit_code=2)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All files under other names first, then each in its place at once."""
    fresh = not folder.exists()
    place = folder.with_name(f".{folder.name}.{os.urandom(6).hex()}.part") if fresh else folder
    place.mkdir(parents=True, exist_ok=True)
    with _removed_on_failure(place if fresh else None), _staged(place, files) as staged:
        for part, path in staged:
            os.replace(part, path)
        if fresh:
            os.rename(place, folder)


@contextmanager
def _removed_on_failure(place: Path | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
        raise


@contextmanager
def _staged(place: Path, files: Mapping[str, bytes]) -> Iterator[list[tuple[Path, Path]]]:
    """Contents on the disk, each beside its place: (where it lies, where it goes). What is not moved is deleted."""
    suffix, found = f".{os.urandom(6).hex()}.part", []
    try:
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            found.append((path.with_name(f".{path.name}{suffix}"), path))
            found[-1][0].write_bytes(content)
        yield found
    finally:
        for part, _ in found:
            part.unlink(missing_ok=True)


def _listed(folder: Path) -> dict[str, str]:
    """Digests by name of what earlier builds wrote; names outside of the folder are no names of theirs."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: known for known, separator, name in (line.partition("  ") for line in lines) if separator}


def _is_cache(name: str) -> bool:
    """Whether Python itself may write this file again."""
    return "__pycache__" in Path(name).parts


def _matching(folder: Path, pattern: str) -> Iterator[str]:
    return (path.name for path in folder.glob(pattern))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sums(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{known}  {name}\n" for name, known in sorted(digests.items())).encode()
