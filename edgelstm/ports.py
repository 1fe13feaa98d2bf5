"""What a model takes and gives: its inputs and outputs, and the shapes that they have in a stream."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgelstm.record import record

if TYPE_CHECKING:
    from edgelstm.graph import Graph


@record()
class TensorSpec:
    """Name, dtype and shape of an input or output, as users see it; None marks a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@record()
class Port:
    """An input or output of a graph.

    `shape` holds an int for a fixed axis and a symbol for a dynamic one (axes with the same symbol have the same length);
    `batch` and `time` say which axis is which, None where there is no such axis. `value` is the graph value an output shows.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    value: str
    batch: int | None = None
    time: int | None = None

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.dtype, tuple(d if isinstance(d, int) else None for d in self.shape))


def step_shapes(graph: "Graph", batch: int, steps: int, lengths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """The shape of every input for a batch and a number of time steps; other dynamic axes as in `lengths`, else 1."""
    found = dict(lengths or {})
    for port in graph.inputs:
        for axis, symbol in enumerate(port.shape):
            if isinstance(symbol, str):
                found[symbol] = batch if axis == port.batch else steps if axis == port.time else found.get(symbol, 1)
    return {port.name: tuple(found.get(d, d) for d in port.shape) for port in graph.inputs}
