"""Verification: the probes of a file run on this machine and compared with the outputs stored beside them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgelstm.graph import Probe

if TYPE_CHECKING:
    from edgelstm.model import Model


@dataclass(frozen=True)
class Row:
    """One output of one probe. `tolerance` is the bound at the largest expected value; `ok` holds every element to its own."""

    probe: int
    name: str
    max_error: float
    tolerance: float
    ok: bool


@dataclass(frozen=True)
class Report:
    """What verification found: a row per probe and output. Without a probe nothing is proved and `ok` is False."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def max_error(self) -> float:
        """The largest absolute error of all rows, 0 without rows."""
        return max((row.max_error for row in self.rows), default=0.0)

    def __str__(self) -> str:
        if not self.rows:
            return "the file has no probe, so nothing can be verified; convert it again without --no-probe"
        return "\n".join(f"{'ok  ' if row.ok else 'MISS'}  probe {row.probe}  {row.name}  max error {row.max_error:.3g}  "
                         f"tolerance {row.tolerance:.3g}" for row in self.rows)


def verify(model: "Model") -> Report:
    """Run every probe of the model's file. A miss is a row that is not ok, never an exception."""
    rows = []
    for number, probe in enumerate(model.graph.probes):
        outputs = model.run(probe.inputs)
        rows += [_row(number, name, outputs[name], expected, probe) for name, expected in probe.outputs.items()]
    return Report(tuple(rows))


def _row(number: int, name: str, found: np.ndarray, expected: np.ndarray, probe: Probe) -> Row:
    size = np.abs(expected, dtype=np.float64)
    tolerance = float(probe.atol + probe.rtol * np.max(size, initial=0.0, where=np.isfinite(size)))
    if found.shape != expected.shape:
        return Row(number, name, np.inf, tolerance, ok=False)
    with np.errstate(invalid="ignore"):
        error = np.abs(found.astype(np.float64) - expected)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        within = np.isfinite(size) & (error <= probe.atol + probe.rtol * size)
    error = np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))
    ok = bool(np.all(same | within))
    return Row(number, name, float(np.max(error, initial=0.0)), tolerance, ok)
