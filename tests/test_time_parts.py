"""Long sequences are worked on in parts of the time; nothing that can be seen depends on it."""

import numpy as np
import pytest

import edgelstm
from edgelstm import axes, ops, reference
from edgelstm.builder import GraphBuilder
from edgelstm.ops import time_parts
from edgelstm.precision import apply, resolve

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
STATES = {"lstm": ("h", "c"), "gru": ("h",), "simple_rnn": ("h",)}
FORMS = [("btf", 1, False, False), ("btf", 1, True, False), ("tbf", 3, False, False), ("tbf", 2, True, False),
         ("btf", 3, False, False), ("btf", 1, False, True), ("tbf", 1, True, True)]  # layout, batch, reverse, mask


@pytest.mark.parametrize("steps, batch, width", [(0, 1, 64), (1, 1, 64), (1000, 1, 512), (1000, 1, 4096), (1001, 3, 2048),
                                                 (7, 0, 64), (100_000, 1, 4096), (1000, 32, 512), (5, 1, 1 << 20)])
def test_parts_cover_the_time_and_fit_their_memory(steps, batch, width):
    parts = time_parts.time_parts(steps, batch, width)
    ends = [0, *(end for _, end in parts)]
    assert [begin for begin, _ in parts] == ends[:-1] and ends[-1] == steps and len(parts) <= time_parts.MOST_PARTS
    longest = max(end - begin for begin, end in parts)
    most = -(-max(time_parts.LEAST_ROWS, time_parts.PART // width) // max(batch, 1))
    assert longest <= most + 3 or len(parts) == time_parts.MOST_PARTS
    assert all(begin % 4 == 0 for begin, _ in parts)


def _graph(op: str, layout: str, reverse: bool, mask: bool, units: int, precision: str):
    rng = np.random.default_rng(units)
    dims = ("batch", "time", 5) if layout == "btf" else ("time", "batch", 5)
    builder = GraphBuilder()
    x = builder.input("x", "float32", dims, batch=dims.index("batch"), time=dims.index("time"))
    weights = [builder.constant((rng.standard_normal(shape) / np.sqrt(units)).astype(np.float32))
               for shape in ((5, GATES[op] * units), (units, GATES[op] * units), (GATES[op] * units,))]
    given = dict(zip(("x", "W", "R", "b"), (x, *weights), strict=True))
    given |= {f"{state}0": builder.input(f"{state}0", "float32", ("batch", units)) for state in STATES[op]}
    if mask:
        given["mask"] = builder.input("mask", "bool", ("batch", "time"))
    ordered = [given.get(name.rstrip("?")) for name in ops.get(op).inputs]
    outputs = builder.add_many(op, *ordered, used=1 + len(STATES[op]), layout=layout, reverse=reverse)
    for name, value in zip(("y", *STATES[op]), outputs, strict=True):
        builder.output(name, value)
    graph = builder.build()
    return apply(graph, resolve(graph, precision))


def _inputs(op: str, layout: str, batch: int, steps: int, mask: bool, units: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(steps)
    shape = (batch, steps, 5) if layout == "btf" else (steps, batch, 5)
    found = {"x": rng.standard_normal(shape).astype(np.float32),
             **{f"{state}0": rng.standard_normal((batch, units)).astype(np.float32) for state in STATES[op]}}
    return found | ({"mask": rng.random((batch, steps)) < 0.7} if mask else {})


def _run(graph, inputs, part, monkeypatch):
    monkeypatch.setattr(time_parts, "PART", part)
    monkeypatch.setattr(time_parts, "LEAST_ROWS", 4)
    model = edgelstm.load(graph)
    return model.run(inputs), model.footprint(inputs["x"].shape[0], inputs["x"].shape[1]).arena


@pytest.mark.parametrize("layout, batch, reverse, mask", FORMS)
@pytest.mark.parametrize("op", GATES)
def test_parts_give_what_the_equations_give(op, layout, batch, reverse, mask, monkeypatch):
    graph, inputs = _graph(op, layout, reverse, mask, 17, "float32"), _inputs(op, layout, batch, 23, mask, 17)
    outputs, _ = _run(graph, inputs, 1, monkeypatch)
    for name, expected in reference.run(graph, inputs).items():
        np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize("op", GATES)
def test_parts_give_what_the_whole_gives(op, precision, monkeypatch):
    graph, inputs = _graph(op, "btf", False, False, 33, precision), _inputs(op, "btf", 1, 24, False, 33)
    (parts, smaller), (whole, larger) = (_run(graph, inputs, part, monkeypatch) for part in (1, 1 << 20))
    assert smaller < larger / 2
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name], name)


@pytest.mark.parametrize("op", GATES)
def test_a_stream_runs_in_parts_as_it_steps(op, monkeypatch):
    monkeypatch.setattr(time_parts, "PART", 1)
    monkeypatch.setattr(time_parts, "LEAST_ROWS", 4)
    rng = np.random.default_rng(1)
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("batch", "time", 3), batch=0, time=1)
    shapes = (3, GATES[op] * 9), (9, GATES[op] * 9), (GATES[op] * 9,)
    weights = [builder.constant((rng.standard_normal(shape) / 3).astype(np.float32)) for shape in shapes]
    builder.output("y", builder.add(op, x, *weights))
    model = edgelstm.load(axes.mark(builder.build()))
    block = rng.standard_normal((1, 21, 3)).astype(np.float32)
    at_once, one_by_one = model.stream(), model.stream()
    np.testing.assert_allclose(at_once.run(block)[0], [one_by_one.step(frame) for frame in block[0]], rtol=0, atol=2e-6)
    for name, state in at_once.state.items():
        np.testing.assert_allclose(state, one_by_one.state[name], rtol=0, atol=2e-6)
