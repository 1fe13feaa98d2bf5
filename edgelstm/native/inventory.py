"""What the kernel cache holds, for `edgelstm doctor`."""

from dataclasses import dataclass
from pathlib import Path

from edgelstm.native import cache, places


@dataclass(frozen=True)
class Description:
    """One cache directory: `kernels` and `size` (bytes) of what it holds."""

    path: Path
    refused: str
    writable: bool
    kernels: int
    size: int


def describe() -> tuple[Description, ...]:
    """Every directory that is tried, best first."""
    found = []
    for place in places.places():
        files = [file for file in places.files(place) if file.suffix in cache.SUFFIXES]
        kernels = sum(file.suffix == cache.LINK for file in files)
        size = sum(file.stat().st_size for file in files)
        found.append(Description(Path(place.path), place.refused, place.writable, kernels, size))
    return tuple(found)
