"""The picture of `edgelstm bench --plot`: how latencies are distributed, and which kernels take the time."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm.benchmark.measure import Measured
from edgelstm.errors import DependencyError, FormatError

_SHOWN_PERCENTILE = 99.5  # later calls are told in the table, and would squeeze the rest
_BINS = 80


def draw(measured: Measured, path: Path) -> None:
    """Write a picture; its ending says the format. Raises DependencyError without matplotlib, FormatError for a bad path."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("--plot needs matplotlib, which is not installed: pip install 'edgelstm[plot]'") from None
    named = (("step", measured.step), ("sequence", measured.sequence))
    parts = [(name, samples, measured.report[name]) for name, samples in named if samples is not None]
    figure = Figure(figsize=(11, 3.6 * len(parts)), layout="constrained")
    for row, (name, samples, report) in zip(np.atleast_2d(figure.subplots(len(parts), 2)), parts, strict=True):
        _distribution(row[0], name, samples, report)
        _shares(row[1], name, report)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot write the plot: {error}") from None


def _distribution(axes: Any, name: str, samples: np.ndarray, report: dict[str, Any]) -> None:
    shown = samples[samples <= np.percentile(samples, _SHOWN_PERCENTILE)] / 1e3
    axes.hist(shown, bins=_BINS, color="tab:blue")
    for key, style in (("p50_us", "-"), ("p90_us", "--"), ("p99_us", ":")):
        axes.axvline(report[key], color="black", linestyle=style, linewidth=1, label=f"{key[:3]} {report[key]:.3g} us")
    axes.set(title=f"{name}: {report['calls']} calls, max {report['max_us']:.3g} us", xlabel="microseconds", ylabel="calls")
    axes.legend()


def _shares(axes: Any, name: str, report: dict[str, Any]) -> None:
    shares: Counter[str] = Counter()
    for call in report.get("kernels", ()):
        shares[call["kernel"]] += call["share_percent"]
    ordered = shares.most_common()[::-1]
    axes.barh([kernel for kernel, _ in ordered], [share for _, share in ordered], color="tab:orange")
    axes.set(title=f"{name}: native time by kernel", xlabel="percent")
