"""Reads numbers and names from an HDF5 file that nobody vouches for: no link out, no storage elsewhere, no bomb."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgelstm.errors import DependencyError, FormatError

MAX_RATIO = 1032  # deflate cannot shrink data further than this
MAX_ATTRIBUTE = 64 << 20  # bytes
WALK = Path(__file__).with_name("hdf5_walk.py")
WALK_SECONDS, WALK_SPEED = 10, 20 << 20  # what a walk may take, and another second for that many bytes
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError)  # what h5py raises on a damaged file
_T = TypeVar("_T")


class WeightFile:
    """One open HDF5 file. Every path is walked link by link and only links inside the file are followed."""

    def __init__(self, stream: Path | BytesIO, label: str) -> None:
        """Raises FormatError when `stream` is no HDF5 file; `label` names it in messages."""
        self.label = label
        library = _h5py()
        _walk_elsewhere(stream, label)
        with self._guarded("the file"):
            self._file = library.File(stream, "r")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def has(self, path: str) -> bool:
        """Whether a group or dataset lies at that path."""
        return self._find(path) is not None

    def children(self, path: str) -> list[str]:
        """Names below a group, in the order of the file; empty when there is no such group."""
        group = self._find(path)
        with self._guarded(path):
            return list(group.keys()) if isinstance(group, _h5py().Group) else []

    def text(self, path: str, attribute: str) -> str | None:
        """A text attribute, or None when it is absent."""
        value = self._attribute(path, attribute)
        if value is None:
            return None
        value = _decoded(value)
        if not isinstance(value, str):
            raise FormatError(f"{self.label}: the attribute {attribute!r} of {path or '/'!r} is not text")
        return value

    def strings(self, path: str, attribute: str) -> list[str] | None:
        """A list of names in an attribute, also where it was split into attribute0, attribute1 and so on."""
        whole = self._attribute(path, attribute)
        parts = [whole] if whole is not None else self._split(path, attribute)
        if not parts:
            return None
        names = [_decoded(item) for part in parts for item in np.ravel(np.asarray(part, dtype=object))]
        if not all(isinstance(name, str) for name in names):
            raise FormatError(f"{self.label}: the attribute {attribute!r} of {path or '/'!r} holds something else than names")
        return names

    def array(self, path: str) -> np.ndarray:
        """The numbers of a dataset. Raises FormatError when it is absent, elsewhere, or claims more than is stored."""
        dataset = self._find(path)
        if dataset is None or not isinstance(dataset, _h5py().Dataset):
            raise FormatError(f"{self.label}: there is no dataset {path!r}; the file is damaged or belongs to another model")
        with self._guarded(path):
            self._check_storage(dataset, path)
            array = np.asarray(dataset[()])
        if array.dtype.kind not in "fiub":
            raise FormatError(f"{self.label}: the dataset {path!r} holds {array.dtype}, not numbers")
        return array

    def _check_storage(self, dataset: Any, path: str) -> None:
        if dataset.is_virtual or dataset.external:
            raise FormatError(f"{self.label}: the numbers of {path!r} lie in another file; only data inside the file is read")
        stored = dataset.id.get_storage_size()
        if dataset.nbytes > stored * (MAX_RATIO if dataset.compression else 1):
            raise FormatError(f"{self.label}: {path!r} claims {dataset.nbytes} bytes but the file stores {stored}")

    def _find(self, path: str) -> Any:
        node = self._file
        for part in filter(None, path.split("/")):
            if not isinstance(node, _h5py().Group):
                return None
            with self._guarded(path):
                link = node.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, _h5py().HardLink):
                raise FormatError(f"{self.label}: {path!r} is a link to somewhere else, and such links are not followed")
            with self._guarded(path):
                node = node[part]
        return node

    def _attribute(self, path: str, attribute: str) -> Any:
        node = self._find(path)
        with self._guarded(f"{path}@{attribute}"):
            if node is None or attribute not in node.attrs:
                return None
            claimed = _h5py().h5a.open(node.id, attribute.encode())
            size = claimed.get_space().get_simple_extent_npoints() * claimed.get_type().get_size()
            if size > MAX_ATTRIBUTE:
                raise FormatError(f"{self.label}: the attribute {attribute!r} of {path or '/'!r} claims {size} bytes")
            return node.attrs[attribute]

    def _split(self, path: str, attribute: str) -> list[Any]:
        return list(_until_none(lambda i: self._attribute(path, f"{attribute}{i}")))

    @contextmanager
    def _guarded(self, where: str) -> Iterator[None]:
        try:
            yield
        except FormatError:
            raise
        except _DAMAGE as error:
            raise FormatError(f"{self.label}: HDF5 cannot read {where}: {error}; the file is damaged or truncated") from None


def _walk_elsewhere(stream: Path | BytesIO, label: str) -> None:
    """Read the file in another process first: there are damaged files on which the HDF5 library crashes or never ends."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return  # no interpreter to start: this one is part of an application
    content = stream.getvalue() if isinstance(stream, BytesIO) else None
    size = stream.stat().st_size if content is None else len(content)
    command = [sys.executable, "-P", str(WALK), *([str(stream)] if content is None else [])]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=WALK_SECONDS + size / WALK_SPEED)
    except subprocess.TimeoutExpired:
        raise FormatError(f"{label}: the HDF5 library does not come to an end with this file; it is damaged") from None
    if done.returncode:
        raise FormatError(f"{label}: the HDF5 library crashes on this file; it is damaged")


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise DependencyError("reading Keras weights needs h5py: pip install edgelstm[convert]") from None
    return h5py


def _decoded(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _until_none(make: Callable[[int], _T | None]) -> Iterator[_T]:
    number = 0
    while (value := make(number)) is not None:
        yield value
        number += 1
