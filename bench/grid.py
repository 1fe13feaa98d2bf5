"""The grid of the side-by-side benchmark: rows of work, and the ratio to the best Python peer that EdgeLSTM aims at."""

from collections.abc import Sequence

from bench.cells import Cell
from bench.runners import Work

SIZES = ("1,8", "1,16", "1,32", "8,64", "40,128", "64,256", "128,512", "512,1024")
LARGE = SIZES[4:]
SEQUENCE_STEPS, BATCH_STEPS, BIDIRECTIONAL_STEPS = 1000, 100, 100
BATCHES = {"8,64": (8, 32, 128), "40,128": (8, 32, 128), "64,256": (8, 32, 128), "128,512": (8, 32)}
ROWS = ("step", "advance", "sequence", "threads", "batch", "gru_step", "gru_sequence", "rnn_step", "rnn_sequence",
        "bidirectional")

_STEP = (0.30, 0.30, 0.32, 0.50, 0.65, 0.80, 0.95, 1.0)
_SEQUENCE = (0.30, 0.35, 0.50, 0.78, 0.90, 0.90, 0.90, 1.0)
_TARGETS = {
    "step": dict(zip(SIZES, _STEP, strict=True)),
    "advance": dict(zip(SIZES, (0.12, 0.12, 0.15, 0.35, 0.60, 0.80, 0.93, 1.0), strict=True)),
    "sequence": dict(zip(SIZES, _SEQUENCE, strict=True)),
    "threads": dict(zip(LARGE, (0.58, 0.56, 0.68, 0.62), strict=True)),
    "bidirectional": {"40,128": 0.80},
}
_BATCH_TARGETS = {"8,64": 0.82, "40,128": 0.90, "64,256": 0.95, "128,512": 0.98}


def works(row: str, sizes: Sequence[str]) -> list[Work]:
    """The work of a row for the wanted sizes, in the grid's order."""
    if row == "bidirectional":
        return [Work(Cell("lstm", 40, 128, layers=2, directions=2), "sequence", BIDIRECTIONAL_STEPS)] * ("40,128" in sizes)
    if row == "batch":
        return [Work(_cell("lstm", size), "sequence", BATCH_STEPS, batch)
                for size, batches in BATCHES.items() if size in sizes for batch in batches]
    if row == "threads":
        return [Work(_cell("lstm", size), "sequence", SEQUENCE_STEPS, threads=2) for size in LARGE if size in sizes]
    kind, _, form = row.rpartition("_")
    op = {"": "lstm", "gru": "gru", "rnn": "simple_rnn"}[kind]
    steps = SEQUENCE_STEPS if form == "sequence" else 1
    return [Work(_cell(op, size), form, steps) for size in SIZES if size in sizes]


def target(row: str, work: Work) -> float | None:
    """The ratio to the best peer to reach, None where none is set."""
    if row == "batch":
        return _BATCH_TARGETS[work.cell.size] if work.batch <= 32 else None
    return _TARGETS.get(row, {}).get(work.cell.size)


def _cell(op: str, size: str) -> Cell:
    features, units = map(int, size.split(","))
    return Cell(op, features, units)
