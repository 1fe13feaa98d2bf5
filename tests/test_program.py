"""Plans: the arena shares memory only between lives that do not meet, and outputs are written where they are shown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm import reference
from edgelstm.builder import GraphBuilder
from edgelstm.model import Model
from edgelstm.program import arena
from edgelstm.program.operands import Buffer, Space

LIVES = st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 20), st.integers(0, 20)), max_size=30)


@settings(deadline=None)
@given(LIVES)
def test_buffers_that_live_at_once_never_overlap(lives):
    buffers = [Buffer(nbytes, first=min(a, b), last=max(a, b)) for nbytes, a, b in lives]
    size = arena.place(buffers)
    for i, one in enumerate(buffers):
        assert one.space == Space.ARENA
        assert one.offset % 64 == 0
        assert one.offset + one.nbytes <= size
        for other in buffers[:i]:
            at_once = one.first <= other.last and other.first <= one.last
            apart = one.offset + one.nbytes <= other.offset or other.offset + other.nbytes <= one.offset
            assert apart or not at_once or 0 in (one.nbytes, other.nbytes)


def test_placed_buffers_stay_where_they_are():
    fixed = Buffer(64, space=Space.STATE, offset=128)
    assert arena.place([fixed]) == 0
    assert (fixed.space, fixed.offset) == (Space.STATE, 128)


def chain(b: GraphBuilder, x: str) -> dict[str, str]:
    """Outputs of every awkward kind: an input, a constant, an alias, a value shown twice, an alias of a shown value."""
    y = b.add("tanh", x)
    flat = b.add("reshape", y, b.constant([-1]))
    return {"x": x, "constant": b.constant(np.arange(3, dtype=np.float32)), "y": y, "again": y, "flat": flat,
            "back": b.add("reshape", flat, b.constant([2, 3])), "after": b.add("exp", y),
            "shape": b.add("shape", x)}


@pytest.mark.parametrize("order", [1, -1])
def test_outputs_of_every_kind(order, rng):
    b = GraphBuilder()
    outputs = chain(b, b.input("x", "float32", (2, 3)))
    for name in list(outputs)[::order]:
        b.output(name, outputs[name])
    graph = b.build()
    x = rng.standard_normal((2, 3)).astype(np.float32)
    found, expected = Model(graph).run({"x": x}), reference.run(graph, {"x": x})
    assert list(found) == list(outputs)[::order]
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6)
        assert array.flags.writeable
    found["y"][:] = 7
    assert not np.any(found["again"] == 7)


def test_wide_plans():
    b = GraphBuilder()
    x = b.input("x", "float32", ("batch", 4))
    parts = [b.add("tanh", b.add("mul", x, b.constant(np.float32(i)))) for i in range(500)]
    b.output("y", b.add("concat", *parts, axis=1))
    graph = b.build()
    assert Model(graph).run({"x": np.ones((1, 4), np.float32)})["y"].shape == (1, 2000)
