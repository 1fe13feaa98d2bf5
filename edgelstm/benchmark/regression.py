"""A report held against an older one of the same model, machine and settings: medians only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelstm.benchmark.measure import FORMAT
from edgelstm.errors import FormatError

_SAME = {"machine": "machine", "model": "model", "settings": "settings"}
_FREE_SETTINGS = ("seconds",)
_MEDIANS = (("step", "p50_us"), ("step", "native_us"), ("sequence", "p50_us"), ("sequence", "native_us"))


def read(path: Path) -> dict[str, Any]:
    """An older report. Raises FormatError for a file that is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{path}: cannot read: {error.strerror}") from None
    except ValueError as error:
        raise FormatError(f"{path}: not JSON: {error}") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise FormatError(f"{path}: not a report of `edgelstm bench --json` of format {FORMAT}")
    return report


def compare(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """A row for every median of both: name, old and new microseconds, change in percent.

    Raises FormatError where the older report belongs to another model, machine or settings.
    """
    for key, shown in _SAME.items():
        before, now = _fixed(old, key, path), _fixed(new, key, path)
        if before != now:
            different = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
            detail = ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in different)
            raise FormatError(f"{path}: measured with another {shown} ({detail}); measure again and compare with that")
    pairs = [(f"{part} {name}", _median(old, part, name, path), _median(new, part, name, path)) for part, name in _MEDIANS]
    return [{"name": name, "old_us": before, "new_us": now, "change_percent": 100 * (now / before - 1)}
            for name, before, now in pairs if before and now is not None]


def _fixed(report: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = report.get(key)
    if not isinstance(found, dict):
        raise FormatError(f"{path}: the report has no {key!r}")
    return {name: value for name, value in found.items() if name not in _FREE_SETTINGS}


def _median(report: Mapping[str, Any], part: str, name: str, path: Path) -> float | None:
    """A median, None where the report has none (a model that cannot stream)."""
    found = report.get(part)
    value = found.get(name) if isinstance(found, dict) else None
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
        raise FormatError(f"{path}: {part} {name} is {value!r}, not a time")
    return value
