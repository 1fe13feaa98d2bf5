"""Tiny models for tests of files, conversion and commands: built here, or written as ONNX."""

from pathlib import Path

import numpy as np

from edgelstm.axes import mark
from edgelstm.builder import GraphBuilder
from edgelstm.graph import Graph
from edgelstm.probe import with_probes

FEATURES, UNITS = 3, 4


def sequence_graph(reverse: bool = False) -> Graph:
    """x (B, T, 3) -> LSTM with 4 units -> y (B, T, 4), with probes."""
    builder, rng = GraphBuilder(), np.random.default_rng(11)
    x = builder.input("x", "float32", ("B", "T", FEATURES), batch=0, time=1)
    W, R, b = (builder.constant(rng.standard_normal(shape) * 0.5) for shape in ((3, 16), (4, 16), (16,)))
    builder.output("y", builder.add("lstm", x, W, R, b, name="cell", reverse=reverse))
    return with_probes(mark(builder.build(provenance={"source": "made here"}, notes=["made for tests"])))


def two_in_two_out_graph() -> Graph:
    """x (B, T, 3), s (B, T, 1) -> sum (B, T, 3), last (B, 4)."""
    builder, rng = GraphBuilder(), np.random.default_rng(12)
    x = builder.input("x", "float32", ("B", "T", FEATURES), batch=0, time=1)
    s = builder.input("s", "float32", ("B", "T", 1), batch=0, time=1)
    total = builder.add("add", x, s)
    W, R = builder.constant(rng.standard_normal((3, 12))), builder.constant(rng.standard_normal((4, 12)))
    _, last = builder.add_many("gru", total, W, R, used=[False, True])
    builder.output("sum", total)
    builder.output("last", last)
    return with_probes(mark(builder.build()))


def step_graph() -> Graph:
    """One step, without a time axis: x (B, 3), h (B, 4) -> hn = tanh(x W + h), carried by a stream, and y = 2 hn."""
    builder, rng = GraphBuilder(), np.random.default_rng(14)
    x = builder.input("x", "float32", ("B", FEATURES), batch=0)
    h = builder.input("h", "float32", ("B", UNITS), batch=0)
    new = builder.add("tanh", builder.add("add", builder.add("dense", x, builder.constant(rng.standard_normal((3, 4)))), h))
    builder.output("y", builder.add("add", new, new))
    builder.output("hn", new)
    return with_probes(mark(builder.build(states=[("h", "hn")])))


def write_onnx(path: Path, op: str = "LSTM", tokens: int = 0) -> None:
    """One recurrent layer, time first; with `tokens`, behind a table of that many rows. `op` may be one that nobody knows."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(13)
    weights = {"W": (1, 16, FEATURES), "R": (1, 16, UNITS)} | ({"table": (tokens, FEATURES)} if tokens else {})
    initial = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), name) for name, s in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.INT64 if tokens else TensorProto.FLOAT,
                                      ["T", "B"] if tokens else ["T", "B", FEATURES])
    look_up = [helper.make_node("Gather", ["table", "x"], ["v"])] if tokens else []
    cell = helper.make_node(op, ["v" if tokens else "x", "W", "R"], ["y"], name="cell", hidden_size=UNITS)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, "B", UNITS])
    graph = helper.make_graph([*look_up, cell], "tiny", [x], [y], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
