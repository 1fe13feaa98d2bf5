"""How commands show things: tables, byte counts, JSON, and what they say to people on standard error."""

import json
import math
import sys
from collections.abc import Sequence
from typing import Any


def say(message: str) -> None:
    """A line for people, on standard error."""
    print(message, file=sys.stderr)


def print_json(value: Any) -> None:
    """A result for programs; numbers that JSON lacks become the strings "nan", "inf" and "-inf"."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns with a line of heads."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def count_bytes(number: int | None) -> str:
    """Exact bytes, with a rounded unit behind large ones: `12,345 bytes (12.1 KiB)`."""
    if number is None:
        return "unknown"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number:,} bytes ({number / size:.1f} {unit})"
    return f"{number:,} bytes"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
