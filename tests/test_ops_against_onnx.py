"""References of ops that ONNX has too, against ONNX Runtime."""

import numpy as np
import pytest

from edgelstm import ops
from edgelstm.ops.op import Case
from tests.guarded import run_reference

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def runtime(op_type, arrays, dtype=None, **attrs):
    """The first output of one ONNX node; its dtype is that of the first input unless given."""
    names = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    feeds = {name: array for name, array in zip(names, arrays, strict=True) if name}
    node = onnx.helper.make_node(op_type, names, ["y"], **attrs)
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    inputs = [onnx.helper.make_tensor_value_info(name, kind, feeds[name].shape) for name, kind in types.items()]
    kind = types[names[0]] if dtype is None else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    output = onnx.helper.make_tensor_value_info("y", kind, None)
    graph = onnx.helper.make_graph([node], "one", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def ours(name, arrays, **attrs):
    return run_reference(ops.get(name), Case("", arrays, attrs))[0]


@pytest.fixture
def x():
    return np.random.default_rng(2).standard_normal((2, 17, 12)).astype(np.float32)


CONVOLUTIONS = [
    {"taps": 3}, {"taps": 3, "stride": 2, "pads": (2, 1)}, {"taps": 2, "dilation": 3, "pads": (3, 0)},
    {"taps": 3, "groups": 3, "dilation": 2}, {"taps": 5, "groups": 12, "pads": (1, 4)}, {"taps": 1},
]


@pytest.mark.parametrize("given", CONVOLUTIONS, ids=str)
def test_conv1d(x, given):
    taps, groups, pads = given["taps"], given.get("groups", 1), given.get("pads", (0, 0))
    rng = np.random.default_rng(3)
    W = rng.standard_normal((taps, 12 // groups, 24)).astype(np.float32) / 4
    b = rng.standard_normal(24).astype(np.float32)
    sizes = {"stride": given.get("stride", 1), "dilation": given.get("dilation", 1)}
    expected = runtime("Conv", [x.transpose(0, 2, 1), W.transpose(2, 1, 0), b], group=groups, pads=pads,
                       strides=[sizes["stride"]], dilations=[sizes["dilation"]])
    found = ours("conv1d", [x, W, b], groups=groups, padding="explicit", pads=pads, **sizes)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 1), atol=1e-5)


POOLS = [(2, 2, (0, 0), False), (3, 2, (1, 1), False), (4, 3, (0, 0), True), (4, 3, (2, 1), True),
         (2, 5, (0, 0), False)]


@pytest.mark.parametrize(("size", "stride", "pads", "ceil_mode"), POOLS)
def test_pooling(x, size, stride, pads, ceil_mode):
    theirs = {"kernel_shape": [size], "strides": [stride], "pads": pads, "ceil_mode": int(ceil_mode)}
    given = {"size": size, "stride": stride, "padding": "explicit", "pads": pads, "ceil_mode": ceil_mode}
    channels_first = x.transpose(0, 2, 1)
    expected = runtime("MaxPool", [channels_first], **theirs)
    np.testing.assert_allclose(ours("max_pool1d", [x], **given), expected.transpose(0, 2, 1), rtol=1e-6)
    for count in (0, 1):
        expected = runtime("AveragePool", [channels_first], count_include_pad=count, **theirs)
        found = ours("avg_pool1d", [x], count_include_pad=count, **given)
        np.testing.assert_allclose(found, expected.transpose(0, 2, 1), rtol=1e-5, atol=1e-6)


SLICES = [([-1], [2**31 - 1], [1], None), ([5], [-100], [2], [-2]),
          ([0, 1], [99, -1], [0, 2], [1, 3]), ([4], [2], [1], None)]


@pytest.mark.parametrize("numbers", SLICES, ids=str)
def test_slice(x, numbers):
    arrays = [x, *(None if n is None else np.array(n, np.int64) for n in numbers)]
    given = arrays if arrays[-1] is not None else arrays[:-1]
    np.testing.assert_array_equal(ours("slice", arrays), runtime("Slice", given).astype(np.float64))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_pad(x, mode):
    pads = np.array([1, 2, 0, 0, 3, -4] if mode == "constant" else [1, 2, 0, 0, 3, 4], np.int64)
    expected = runtime("Pad", [x, pads], mode=mode)
    np.testing.assert_array_equal(ours("pad", [x, pads, None], mode=mode), expected.astype(np.float64))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis):
    indices = np.array([[0, 4, -1], [2, 7, -9]], np.int64)
    values = np.array([0.25, 2.0], np.float32)
    expected = runtime("OneHot", [indices, np.array(5, np.int64), values], dtype=np.float32, axis=axis)
    np.testing.assert_array_equal(ours("one_hot", [indices], depth=5, axis=axis, on=2.0, off=0.25), expected)


RESHAPES = [((2, 6), (0, -1, 2), 0), ((0, 6), (0, 3), 1), ((2, 6), (4, 3), 0)]


@pytest.mark.parametrize(("shape", "wanted", "allowzero"), RESHAPES)
def test_reshape(shape, wanted, allowzero):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    wanted = np.array(wanted, np.int64)
    expected = runtime("Reshape", [x, wanted], allowzero=allowzero)
    np.testing.assert_array_equal(ours("reshape", [x, wanted], allowzero=bool(allowzero)), expected)
