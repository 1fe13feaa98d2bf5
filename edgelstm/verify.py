"""Verification: the probes of a file run on this machine and compared with the outputs stored beside them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgelstm.drift import absolute_errors, distance

if TYPE_CHECKING:
    from edgelstm.graph import Port, Probe
    from edgelstm.model import Model


@dataclass(frozen=True)
class Row:
    """One output of one probe. `tolerance` is the bound at the largest expected value; `ok` holds every element to its own.

    `drift` has the largest error at time steps 1, 10, 100 and 1000, as far as the probe goes. `source` is what gave the
    expected values.
    """

    probe: int
    name: str
    max_error: float
    tolerance: float
    ok: bool
    snr_db: float = np.inf
    drift: dict[int, float] = field(default_factory=dict)
    source: str = ""


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
        rows += [_row(number, model.graph.output(name), outputs[name], expected, probe)
                 for name, expected in probe.outputs.items()]
    return Report(tuple(rows))


def _row(number: int, port: "Port", found: np.ndarray, expected: np.ndarray, probe: "Probe") -> Row:
    size = np.abs(expected, dtype=np.float64)
    tolerance = float(probe.atol + probe.rtol * np.max(size, initial=0.0, where=np.isfinite(size)))
    apart = distance(expected, found, port.time if expected.ndim == len(port.shape) else None)
    if found.shape != expected.shape:
        return Row(number, port.name, np.inf, tolerance, ok=False, snr_db=apart.snr_db, source=probe.source)
    errors = absolute_errors(expected, found)
    with np.errstate(invalid="ignore"):
        within = (errors == 0) | (np.isfinite(size) & (errors <= probe.atol + probe.rtol * size))
    return Row(number, port.name, apart.max_error, tolerance, bool(np.all(within)), apart.snr_db, apart.drift, probe.source)
