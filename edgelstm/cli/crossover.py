"""The time of a model on the CPU and on the GPU at several batches, as `edgelstm doctor` shows it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelstm.cli.text import table

if TYPE_CHECKING:
    from edgelstm.graph import Graph

UNITS = 128  # of the layer that is measured where no model is given


def crossover(path: Path | None) -> dict[str, Any]:
    """What was measured and a row for every batch, or `missing`: why there is none. Raises FormatError for a bad file."""
    from edgelstm import devices
    from edgelstm.cli.open_model import open_model
    from edgelstm.model import Model

    graph = standard_layer() if path is None else open_model(path).graph
    cpu = Model(graph)
    try:
        rows = devices.crossover({"cpu": cpu, "cuda": Model(graph, "cuda")})
    except devices.MISSING as error:
        return {"missing": " ".join(str(error).split())}
    what = f"{devices.measured(cpu)} of {f'an LSTM layer of {UNITS} units' if path is None else path.name}"
    return {"what": what, "rows": [{"batch": row.batch, "faster": row.faster, **{f"{name}_us": 1e6 * seconds
            for name, seconds in row.seconds.items()}} for row in rows]}


def text(found: dict[str, Any]) -> str:
    """The table, with a line of heads."""
    if "missing" in found:
        return f"no crossover: {found['missing']}"
    rows = [(str(row["batch"]), f"{row['cpu_us']:.1f}", f"{row['cuda_us']:.1f}", row["faster"]) for row in found["rows"]]
    return f"{found['what']}, microseconds\n{table(('batch', 'cpu', 'cuda', 'faster'), rows)}"


def standard_layer() -> "Graph":
    """x (B, T, UNITS) -> an LSTM layer -> y (B, T, UNITS)."""
    import numpy as np

    from edgelstm.axes import mark
    from edgelstm.builder import GraphBuilder

    builder, rng = GraphBuilder(), np.random.default_rng(0)
    x = builder.input("x", "float32", ("B", "T", UNITS), batch=0, time=1)
    weights = [builder.constant((rng.standard_normal((UNITS, 4 * UNITS)) / UNITS**0.5).astype(np.float32)) for _ in range(2)]
    builder.output("y", builder.add("lstm", x, *weights, name="lstm"))
    return mark(builder.build())
