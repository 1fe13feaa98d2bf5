"""Ops that move elements, products and windows: kernels between guard bands, references against other libraries."""

import numpy as np
import pytest

from edgelstm import ops
from edgelstm.errors import ShapeError
from edgelstm.ops.op import Case, Fact, NeedsFuture, check_attrs
from tests.guarded import Guarded, GuardedLowering, facts_of, run_kernels, run_reference

T = 1013
MODULES = ("concat", "conv1d", "expand", "gather", "matmul", "pad", "pooling", "reshape", "sequence_mask", "shape",
           "slice", "transpose", "embedding", "one_hot")
OPS = [op for op in ops.all_ops().values() if type(op).__module__.rpartition(".")[2] in MODULES]
CASES = [(op, case) for op in OPS for case in op.cases() if op.name not in ("shape", "size")]


@pytest.mark.parametrize(("op", "case"), CASES, ids=[f"{op.name}-{case.name}" for op, case in CASES])
def test_kernels_stay_inside_their_buffers_and_equal_the_reference(op, case):
    found, expected = run_kernels(op, case), run_reference(op, case)
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, wanted.astype(array.dtype), rtol=case.rtol, atol=case.atol)


def check(name, arrays, expected, **attrs):
    """Reference and kernels of an op give exactly the expected array."""
    case = Case("", arrays, attrs)
    np.testing.assert_array_equal(run_reference(ops.get(name), case)[0], expected)
    np.testing.assert_array_equal(run_kernels(ops.get(name), case)[0], expected)


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((3, 17, 5)).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def test_movement_equals_numpy(x):
    check("transpose", [x], x.transpose(1, 2, 0), perm=(1, 2, 0))
    check("flip", [x], x[:, ::-1, ::-1], axes=(1, 2))
    check("slice", [x, ints(-1, 15), ints(-9, 2), ints(2, 1), ints(-2, -4)], x[:, 15:2:-4, -1:-9:-2])
    check("tile", [x, ints(2, 1, 3)], np.tile(x, (2, 1, 3)))
    check("expand", [x[:, :1], ints(4, 1, 7, 1)], np.broadcast_to(x[:, :1], (4, 3, 7, 5)))
    check("pad", [x, ints(0, 2, 1, 0, 3, 2), None], np.pad(x, ((0, 0), (2, 3), (1, 2)), "reflect"), mode="reflect")
    check("gather", [x, ints(3, -1, 0)], x[:, [3, -1, 0]], axis=1)
    check("concat", [x, x[:, :2]], np.concatenate([x, x[:, :2]], 1), axis=1)


def test_not_a_number_and_patterns_survive_copies():
    odd = np.array([0x7FA00001, 0xFF800001, 0x80000000, 1], np.uint32).view(np.int32).reshape(2, 2)
    check("transpose", [odd], odd.T, perm=(1, 0))
    check("constant_of_shape", [ints(3)], np.full(3, -(2**31), np.int32), value=-(2.0**31), dtype="int32")


def test_max_pool_keeps_not_a_number():
    x = np.array([1, np.nan, 2, 3], np.float32).reshape(1, 4, 1)
    found = run_kernels(ops.get("max_pool1d"), Case("", [x], {"size": 2, "stride": 1}))[0]
    np.testing.assert_array_equal(found.reshape(-1), [np.nan, np.nan, 3])


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_embedding_kernel_never_reads_outside(dtype):
    tokens = np.array([-7, 2**24, 1, -(2**31)], dtype)
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    op = ops.get("embedding")
    np.testing.assert_array_equal(run_on_unknown(op, tokens, table), table[[0, 2, 1, 0]])
    with pytest.raises(ShapeError, match=r"outside 0 \.\. 2"):
        run_reference(op, Case("", [tokens, table]))


def run_on_unknown(op, tokens, table):
    """The kernels' output for indices that no shape rule has seen."""
    low, out = GuardedLowering(), Guarded((*tokens.shape, table.shape[1]), "float32")
    ins = [Guarded(tokens.shape, str(tokens.dtype), tokens), Guarded(table.shape, "float32", table), None]
    op.lower(low, check_attrs(op, {}), ins, [out])
    return low.result(out)


@pytest.mark.parametrize("name", ["causal", "dilated", "depthwise", "explicit causal"])
def test_conv1d_step_by_step_equals_the_whole_sequence(name):
    op = ops.get("conv1d")
    cases = {case.name: case for case in op.cases()}
    cases["explicit causal"] = Case("", cases["causal"].inputs, {"padding": "explicit", "pads": (4, 0)})
    case = cases[name]
    x, W, b = case.inputs
    slot = op.slots(check_attrs(op, case.attrs), facts_of(op, [x[:, :1], W, b]))["past"]
    past = Guarded(slot.shape, "float32", np.zeros(slot.shape))
    found, t = [], 0
    for block in (1, 1, 3, 1, x.shape[1] - 6):
        part = Case("", [x[:, t:t + block], W, b], case.attrs)
        found.append(run_kernels(op, part, {"past": past})[0])
        t += block
    np.testing.assert_allclose(np.concatenate(found, 1), run_reference(op, case)[0], atol=1e-5)


def stream(name, facts, **attrs):
    """The states of an op for facts in which T is the number of time steps."""
    op = ops.get(name)
    attrs = check_attrs(op, attrs)
    facts = op.padded(facts)
    return op.stream(attrs, facts, op.infer(attrs, facts), T)


def fact(*shape):
    return Fact(shape, "float32", None, frozenset({"x"}))


def known(*numbers):
    return Fact((len(numbers),), "int64", ints(*numbers))


STREAMING = {
    "merge with batch": ("reshape", [fact(2, T, 5), known(2 * T, 5)], {}),
    "split from batch": ("reshape", [fact(2 * T, 5), known(2, T, 5)], {}),
    "merge, time first": ("reshape", [fact(T, 2, 5), known(-1, 5)], {}),
    "split features": ("reshape", [fact(2, T, 6), known(0, 0, 2, 3)], {}),
    "transpose": ("transpose", [fact(2, T, 5)], {"perm": (1, 0, 2)}),
    "last step": ("slice", [fact(2, T, 5), known(-1), known(2**31), known(1)], {}),
    "last step by index": ("gather", [fact(2, T, 5), known(-1)], {"axis": 1}),
    "last step by length": ("gather", [fact(2, T, 5), known(T - 1)], {"axis": 1}),
    "full slice": ("slice", [fact(2, T, 5), known(0), known(T), known(1)], {}),
    "features": ("slice", [fact(2, T, 5), known(1), known(3), known(2)], {}),
    "concat features": ("concat", [fact(2, T, 5), fact(2, T, 3)], {"axis": 2}),
    "zeros for every step": ("constant_of_shape", [known(2, T)], {}),
    "pad features": ("pad", [fact(2, T, 5), known(0, 0, 1, 0, 0, 1)], {}),
    "tokens": ("embedding", [fact(2, T), fact(10, 4)], {}),
    "pointwise conv": ("conv1d", [fact(2, T, 5), fact(1, 5, 3)], {}),
    "pool nothing": ("max_pool1d", [fact(2, T, 5)], {"size": 1, "stride": 1}),
}

REFUSED = {
    "swap by reshape": ("reshape", [fact(2, T, 5), known(2, 5, T)], {}),
    "batch by reshape": ("reshape", [fact(2, T, 5), known(T, 2, 5)], {}),
    "flatten": ("reshape", [fact(2, T, 5), known(2, -1)], {}),
    "first step": ("slice", [fact(2, T, 5), known(0), known(1), known(1)], {}),
    "step by index": ("gather", [fact(2, T, 5), known(0)], {"axis": 1}),
    "backwards": ("flip", [fact(2, T, 5)], {"axes": (1,)}),
    "concat steps": ("concat", [fact(2, T, 5), fact(2, 1, 5)], {"axis": 1}),
    "pad steps": ("pad", [fact(2, T, 5), known(0, 1, 0, 0, 0, 0)], {}),
    "repeat a result": ("expand", [fact(2, 1, 5), known(2, T, 5)], {}),
    "positions": ("range", [Fact((), "int64", np.array(n)) for n in (0, T, 1)], {}),
    "same conv": ("conv1d", [fact(2, T, 5), fact(3, 5, 3)], {"padding": "same"}),
    "valid conv": ("conv1d", [fact(2, T, 5), fact(3, 5, 3)], {}),
    "shifted conv": ("conv1d", [fact(2, T, 5), fact(1, 5, 3)], {"padding": "explicit", "pads": (1, 0)}),
    "strided conv": ("conv1d", [fact(2, T, 5), fact(3, 5, 3)], {"padding": "causal", "stride": 2}),
    "pool steps": ("max_pool1d", [fact(2, T, 5)], {"size": 2, "stride": 2}),
    "attention": ("matmul", [fact(2, T, 5), fact(2, 5, T)], {}),
    "lengths": ("sequence_mask", [fact(2), fact(2, T, 5)], {}),
}


@pytest.mark.parametrize("name", STREAMING)
def test_streams_without_state(name):
    op, facts, attrs = STREAMING[name]
    assert stream(op, facts, **attrs) == {}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_to_stream(name):
    op, facts, attrs = REFUSED[name]
    with pytest.raises(NeedsFuture):
        stream(op, facts, **attrs)


def test_causal_conv1d_carries_its_past():
    slots = stream("conv1d", [fact(2, T, 5), fact(3, 5, 7)], padding="causal", dilation=2)
    assert slots["past"].shape == (2, 4, 5)


REJECTED = {
    "unknown shape": ("reshape", [fact(2, 3), Fact((2,), "int64", None, frozenset({"n"}))], {}, "depends on the data"),
    "wrong size": ("reshape", [fact(2, 3), known(4, -1)], {}, "cannot be reshaped"),
    "long axis": ("squeeze", [fact(2, 3)], {"axes": (1,)}, "not 1"),
    "no such axis": ("flip", [fact(2, 3)], {"axes": (2,)}, "axis 2"),
    "unequal parts": ("concat", [fact(2, 3), fact(3, 3)], {"axis": 1}, "must be equal"),
    "lost rows": ("split", [fact(2, 3)], {"axis": 1, "sizes": (1, 1)}, "cannot be split"),
    "reflect too far": ("pad", [fact(2, 3), known(0, 3, 0, 0)], {"mode": "reflect"}, "cannot be padded"),
    "index outside": ("gather", [fact(2, 3), known(2)], {"axis": 0}, "outside -2 .. 1"),
    "inner axis": ("matmul", [fact(2, 3), fact(2, 3)], {}, "cannot be multiplied"),
    "groups": ("conv1d", [fact(2, 9, 4), fact(3, 4, 4)], {"groups": 2}, "do not fit"),
    "short axis": ("conv1d", [fact(2, 2, 4), fact(3, 4, 4)], {}, "shorter than a window"),
    "stray pads": ("max_pool1d", [fact(2, 9, 4)], {"size": 2, "stride": 2, "pads": (1, 0)}, "belong to 'explicit'"),
    "endless": ("range", [Fact((), "int64", np.array(n)) for n in (0, 5, 0)], {}, "range from 0"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejects_what_does_not_fit(name):
    op, facts, attrs, message = REJECTED[name]
    with pytest.raises(ShapeError, match=message):
        stream(op, facts, **attrs)
