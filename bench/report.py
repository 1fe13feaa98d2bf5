"""The side-by-side table: as lines for people, and as Markdown."""

from collections.abc import Sequence
from typing import Any

Cells = Sequence[dict[str, Any]]
HEADS = ("row", "size", "batch", "EdgeLSTM us", "best peer us", "best peer", "ratio", "spread", "target", "bound us", "x bound",
         "error")


def _fields(found: dict[str, Any]) -> list[str]:
    start = [found["row"], f"({found['size']})", str(found["batch"])]
    target = "" if found["target"] is None else f"{found['target']:.2f}"
    if "times_us" not in found:
        return [*start, *["-"] * 5, target, _number(found["bound_us"]), "-", "-"]
    times, own = found["times_us"], found["times_us"]["EdgeLSTM"]
    best = found.get("best_peer")
    spread = "{:.2f}-{:.2f}".format(*found["spread"]) if best else ""
    peer = [_number(times[best]), best, f"{found['ratio']:.2f}", spread] if best else ["-"] * 4
    return [*start, _number(own), *peer, target, _number(found["bound_us"]), f"{own / found['bound_us']:.2f}",
            f"{found['errors']['EdgeLSTM']:.1e}"]


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def text(cells: Cells, heads: bool = True) -> str:
    """Aligned lines; every peer's ratio is in the JSON."""
    widths = (14, 11, 6, 12, 13, 26, 6, 11, 7, 9, 8, 8)
    rows = [list(HEADS)] * heads + [_fields(found) for found in cells]
    return "\n".join(" ".join(field.ljust(width) for field, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def markdown(cells: Cells) -> str:
    """The same table in Markdown; a ratio that misses its target is marked with an asterisk."""
    lines = [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    for found in cells:
        fields = _fields(found)
        missed = found["target"] is not None and found.get("ratio", 0.0) > found["target"]
        fields[HEADS.index("ratio")] += "*" if missed else ""
        lines.append(f"| {' | '.join(fields)} |")
    return "\n".join(lines)
