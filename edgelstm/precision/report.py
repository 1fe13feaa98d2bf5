"""Where a model of reduced precision differs from the same model in float32, layer by layer, and how errors grow over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm.drift import STEPS, Distance, default_limit, distance
from edgelstm.errors import DependencyError, FormatError
from edgelstm.graph import Graph, Node
from edgelstm.precision import alone
from edgelstm.precision.choose import layers
from edgelstm.precision.measure import Arrays, Seen, Signal, is_stepped, observe, shown_value, with_sequences

INTEGER = "_integer"  # behind the name of an op: the same layer in integers alone
OUTPUT, STATE = "output", "state"  # in the place of the op in the rows of what the model gives


@dataclass(frozen=True)
class LayerError:
    """A layer, or what the model gives (`op` is "output", or "state" for a state that is carried).

    `whole` is how far its output is from that of the float32 model, with the errors that come in from the layers before it.
    `own` is its own part: how far it is when it reads exactly what the float32 layer reads; None for what the model gives, and
    for layers in integers alone, which cannot read floats.
    """

    name: str
    op: str
    precision: str
    whole: Distance
    own: Distance | None = None


@dataclass(frozen=True)
class PrecisionReport:
    """Rows of layers in the order in which they run, then of what the model gives.

    `limit` is the error allowed where the user sets none: a hundredth of the largest output.
    """

    rows: tuple[LayerError, ...]
    limit: float

    @property
    def max_error(self) -> float:
        """The largest absolute error at the model's outputs."""
        return max((row.whole.max_error for row in self.rows if row.op == OUTPUT), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"max_error": self.max_error, "rows": [_plain(row) for row in self.rows]}

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Heads and rows of a table for people."""
        heads = ("layer", "precision", "SNR dB", "own SNR dB", "max error", *(f"at t={t}" for t in STEPS))
        return heads, [_cells(row) for row in self.rows]


def compare(reference: Graph, reduced: Graph, data: Arrays) -> PrecisionReport:
    """Every layer that both graphs have, and every output. Raises ShapeError where the data do not fit."""
    reference, reduced = with_sequences(reference), with_sequences(reduced)
    pairs = _pairs(reference, reduced)
    read = [name for node, _ in pairs for name in _fed(node, reference)]
    expected = observe(reference, [*dict.fromkeys([*(shown_value(node) for node, _ in pairs), *read])], data)
    found = observe(reduced, [shown_value(other) for _, other in pairs], data)
    taken_out, stepped = alone.Layers(reference), is_stepped(reference, data)
    rows = []
    for node, other in pairs:
        exact = expected.values[shown_value(node)]
        own = None
        if node.op == other.op:
            again = _rerun(taken_out.alone(other, reduced.constants), other, expected, stepped)
            own = distance_of(exact, Signal(again, exact.time))
        rows.append(LayerError(node.name, node.op, _precision(other),
                               distance_of(exact, _as_floats(found.values[shown_value(other)], other)), own))
    carried = {result for _, result in reference.states}
    rows += [LayerError(name, STATE if name in carried else OUTPUT, "", distance_of(exact, found.outputs[name]))
             for name, exact in expected.outputs.items()]
    shown = [signal.array for name, signal in expected.outputs.items() if name not in carried]
    return PrecisionReport(tuple(rows), default_limit(shown))


def distance_of(expected: Signal, found: Signal) -> Distance:
    """How far a signal is from what it should be."""
    return distance(expected.array, found.array, expected.time)


def draw(report: PrecisionReport, path: Path) -> None:
    """Write a picture of noise and drift. Raises DependencyError without matplotlib, FormatError for a bad path."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("--plot needs matplotlib, which is not installed: pip install 'edgelstm[plot]'") from None
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _ratios(left, report.rows)
    _curves(right, report.rows)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot write the plot: {error}") from None


def _pairs(reference: Graph, reduced: Graph) -> list[tuple[Node, Node]]:
    """The layers with weights of one graph, each with that of the same name in the other."""
    others = {node.name: node for node in reduced.nodes}
    found = [(node, others[node.name]) for node in layers(reference) if node.name in others]
    return [(node, other) for node, other in found if other.op in (node.op, node.op + INTEGER)
            and shown_value(node) is not None and not _looks_integers_up(other, reduced)]


def _looks_integers_up(node: Node, graph: Graph) -> bool:
    """Whether a node gives rows of an int8 table as they are: it has no scale to compare them by."""
    table = graph.constants.get(node.inputs[1]) if node.op == "embedding" else None
    return table is not None and table.dtype == np.int8 and _precision(node) == "float32"


def _fed(node: Node, graph: Graph) -> list[str]:
    """The values that a node reads and that are no constants."""
    return [name for name in node.inputs if name is not None and name not in graph.constants]


def _rerun(layer: Graph, node: Node, expected: Seen, stepped: bool) -> np.ndarray:
    """What a layer gives that reads what the float32 model computes; of a model called once a step, for all its steps."""
    read = [expected.values[name].array for name in dict.fromkeys(_fed(node, layer))]
    if not stepped:
        return alone.run_alone(layer, read)
    return np.stack([alone.run_alone(layer, frames) for frames in zip(*read, strict=True)])


def _as_floats(signal: Signal, node: Node) -> Signal:
    """What a layer gives, in the unit of the float32 layer: integers times their scale."""
    if not node.op.endswith(INTEGER):
        return signal
    scale = node.attrs["y_scale"] if "y_scale" in node.attrs else node.attrs["h_scale"]
    return Signal(signal.array * scale, signal.time)


def _precision(node: Node) -> str:
    return "integer" if node.op.endswith(INTEGER) else node.attrs.get("precision", "float32")


def _plain(row: LayerError) -> dict[str, Any]:
    found = {"name": row.name, "op": row.op, "precision": row.precision or None, "snr_db": row.whole.snr_db,
             "own_snr_db": None if row.own is None else row.own.snr_db, "max_error": row.whole.max_error}
    return found | {"drift": {str(t): error for t, error in row.whole.drift.items()}}


def _cells(row: LayerError) -> tuple[str, ...]:
    drift = row.whole.drift
    own = "" if row.own is None else f"{row.own.snr_db:.1f}"
    return (row.name, row.precision or row.op, f"{row.whole.snr_db:.1f}", own, f"{row.whole.max_error:.2e}",
            *(f"{drift[t]:.2e}" if t in drift else "" for t in STEPS))


def _ratios(axes: Any, rows: Sequence[LayerError]) -> None:
    """Bars of the signal-to-noise ratio of every row; those without an error have none to show."""
    shown = [row for row in rows[::-1] if np.isfinite(row.whole.snr_db)]
    places = np.arange(len(shown))
    axes.barh(places, [row.whole.snr_db for row in shown], height=0.7, color="tab:blue", label="in the model")
    own = [(place, row.own.snr_db) for place, row in zip(places, shown, strict=True)
           if row.own is not None and np.isfinite(row.own.snr_db)]
    axes.plot([ratio for _, ratio in own], [place for place, _ in own], "o", color="tab:orange", label="of the layer alone")
    axes.set_yticks(places, [f"{row.name} ({row.precision or row.op})" for row in shown])
    axes.set(title="signal-to-noise ratio", xlabel="dB")
    if shown:
        axes.legend()


def _curves(axes: Any, rows: Sequence[LayerError]) -> None:
    """The largest error so far over the number of steps."""
    shown = [row for row in rows if row.whole.curve is not None and np.any(row.whole.curve)]
    for row in shown:
        curve = np.maximum.accumulate(row.whole.curve)
        axes.plot(np.arange(1, len(curve) + 1), curve, "-" if row.precision else "--", label=row.name)
    axes.set(title="largest error so far", xlabel="time step")
    if shown:
        axes.set(xscale="log", yscale="log")
        axes.legend()
