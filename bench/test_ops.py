"""pytest-benchmark suite over every op, driven by the largest of its cases."""

import pytest

import edgelstm
from edgelstm import ops
from tests.test_ops import graph_of

LARGEST = {name: max(op.cases(), key=lambda case: sum(a.size for a in case.inputs if a is not None))
           for name, op in ops.all_ops().items() if list(op.cases())}


@pytest.mark.parametrize("name", LARGEST)
def test_op(benchmark, name):
    graph, feeds = graph_of(ops.get(name), LARGEST[name])
    model = edgelstm.load(graph)
    outputs = benchmark.pedantic(model.run, (feeds,), rounds=20, warmup_rounds=2)
    assert outputs
