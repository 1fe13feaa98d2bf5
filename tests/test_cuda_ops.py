"""Op cases on the device against the float64 references, by the simulator: the smaller cases of every op."""

from collections import defaultdict

import numpy as np
import pytest

from edgelstm import reference
from edgelstm.model import Model
from tests import cuda_simulator
from tests.test_ops import CASES, graph_of

pytestmark = cuda_simulator.on_simulator

LARGEST = 10**9 if cuda_simulator.ON_GPU else 600  # elements of a case's inputs
PER_OP = 10**9 if cuda_simulator.ON_GPU else 4
RECURRENT = ("lstm", "gru", "simple_rnn")
FORMATS = ("int8", "int4")


def chosen() -> list:
    """Of every op some of the smaller cases, of the recurrent ones more; weights of few bits are in test_cuda_reduced.py."""
    by_op = defaultdict(list)
    for op, case in CASES:
        precision = case.attrs.get("precision", "float32")
        size = sum(np.asarray(array).size for array in case.inputs if array is not None)
        if size <= LARGEST and not precision.startswith(FORMATS):
            by_op[op.name].append((size, op, case))
    found = []
    for name, cases in by_op.items():
        cases.sort(key=lambda entry: entry[0])
        found += [(op, case) for _, op, case in spread(cases, max(10, PER_OP) if name in RECURRENT else PER_OP)]
    return found


def spread(cases: list, count: int) -> list:
    """A few from the smallest to the largest."""
    return [cases[k * (len(cases) - 1) // (count - 1)] for k in range(count)] if len(cases) > count else cases


@pytest.mark.parametrize(("op", "case"), chosen(), ids=lambda value: getattr(value, "name", None))
def test_device_equals_reference(op, case):
    graph, feeds = graph_of(op, case)
    expected = reference.run(graph, feeds)
    with np.errstate(all="ignore"):
        found = Model(graph, device="cuda").run(feeds)
    for name, array in found.items():
        assert array.shape == expected[name].shape
        with np.errstate(over="ignore"):
            wanted = expected[name].astype(array.dtype)
        if "integer" in op.name:
            np.testing.assert_array_equal(array, wanted, err_msg=name)
        np.testing.assert_allclose(array, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True, err_msg=name)


def test_all_ops_are_covered():
    assert {op.name for op, _ in CASES} == {op.name for op, _ in chosen()}
