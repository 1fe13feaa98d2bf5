"""Every case of every op: the compiled program against the op's float64 reference."""

import numpy as np
import pytest

from edgelstm import ops, reference
from edgelstm.builder import GraphBuilder
from edgelstm.model import Model
from edgelstm.ops.op import check_attrs

CASES = [(op, case) for op in ops.all_ops().values() for case in op.cases()]


def input_names(op, case) -> list[str]:
    """The declared name of every given input; a variadic one is numbered."""
    names = [name.rstrip("?") for name in op.inputs if not name.endswith("*")][: len(case.inputs)]
    return names + [f"{op.inputs[-1][:-1]}{i}" for i in range(len(case.inputs) - len(names))]


def graph_of(op, case):
    """A graph of one node: parameters are constants, all other inputs are inputs."""
    builder, feeds, values = GraphBuilder(), {}, []
    for name, array in zip(input_names(op, case), case.inputs, strict=True):
        if array is None:
            values.append(None)
        elif name in op.parameters:
            values.append(builder.stored(array, name))
        else:
            values.append(builder.input(name, str(array.dtype), array.shape, exact=True))
            feeds[name] = array
    sizes = check_attrs(op, case.attrs).get("sizes", ())
    count = len(sizes) if op.outputs[-1].endswith("*") else len(op.outputs)
    outputs = builder.add_many(op.name, *values, used=count, **case.attrs)
    for i, value in enumerate(outputs):
        builder.output(f"y{i}", value)
    return builder.build(), feeds


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op.name}-{case.name}" for op, case in CASES])
def test_program_equals_reference(op, case):
    graph, feeds = graph_of(op, case)
    expected = reference.run(graph, feeds)
    found = Model(graph).run(feeds)
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.shape == expected[name].shape
        with np.errstate(over="ignore"):
            wanted = expected[name].astype(array.dtype)
        np.testing.assert_allclose(array, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True, err_msg=name)


def test_every_op_has_cases():
    """But control flow, which is expanded before anything runs (tests/test_control_flow.py)."""
    assert [name for name, op in ops.all_ops().items() if not list(op.cases()) and not op.controls] == []
