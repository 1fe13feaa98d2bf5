"""Every node handler against ONNX Runtime on a small model of its own."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelstm import reference
from edgelstm.errors import UnsupportedError
from tests.onnx_models import assert_agrees, imported, make, runtime_outputs

A, B = "a", "b"
INDEX = np.int64


@dataclass(frozen=True)
class NodeCase:
    """One node: its type, shapes of its inputs (in order), constants that follow them, attributes and opset."""

    op: str
    shapes: tuple[Any, ...] = ((2, 3, 4),)
    constants: tuple[Any, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    positive: bool = False

    @property
    def label(self) -> str:
        return f"{self.op}-{self.opset}-{'-'.join(f'{k}={v}' for k, v in self.attrs.items() if not hasattr(v, 'dims'))}"


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, INDEX)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


UNARY = [NodeCase(op, positive=op in ("Log", "Sqrt")) for op in (
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Log", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign",
    "Sin",
    "Softplus", "Softsign", "Sqrt", "Tanh", "Identity", "Elu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Selu", "Celu",
    "Flatten", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "Size", "Shape")]
ACTIVATIONS = [
    NodeCase("Elu", attrs={"alpha": 0.7}), NodeCase("LeakyRelu", attrs={"alpha": 0.3}), NodeCase("Celu", attrs={"alpha": 1.6}),
    NodeCase("HardSigmoid", attrs={"alpha": 0.3, "beta": 0.4}), NodeCase("Selu", attrs={"alpha": 1.5, "gamma": 1.2}),
    NodeCase("Gelu", opset=20), NodeCase("Gelu", attrs={"approximate": "tanh"}, opset=20), NodeCase("Mish", opset=18),
    NodeCase("Clip", attrs={"min": -0.5, "max": 0.3}, opset=8), NodeCase("Clip", constants=(np.float32(-0.5),)),
    NodeCase("Clip", constants=(np.float32(-0.5), np.float32(0.3))),
    NodeCase("Clip", ((2, 3), ()), constants=(np.float32(0.9),)), NodeCase("PRelu", constants=(weights(4),)),
]
BINARY = [NodeCase(op, ((2, 3, 4), (3, 1)), positive=op == "Pow") for op in
          ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")]
MORE_ARITHMETIC = [
    NodeCase("Sum", ((2, 3), (3,), (2, 1))), NodeCase("Max", ((2, 3),)), NodeCase("Pow", ((2, 3),), (ints(2),)),
    NodeCase("Mod", ((2, 3), (2, 3)), attrs={"fmod": 1}), NodeCase("CumSum", constants=(np.array(1, INDEX),)),
    NodeCase("CumSum", constants=(np.array(2, INDEX),), attrs={"reverse": 1, "exclusive": 1}),
    NodeCase("Cast", attrs={"to": TensorProto.INT64}), NodeCase("Cast", attrs={"to": TensorProto.DOUBLE}),
    NodeCase("Cast", attrs={"to": TensorProto.BOOL}),
]
MOVEMENT = [
    NodeCase("Transpose"), NodeCase("Transpose", attrs={"perm": [1, 2, 0]}),
    NodeCase("Reshape", constants=(ints(0, -1),)), NodeCase("Reshape", constants=(ints(4, 6),)),
    NodeCase("Flatten", attrs={"axis": 2}), NodeCase("Flatten", attrs={"axis": 0}), NodeCase("Flatten", attrs={"axis": -1}),
    NodeCase("Squeeze", ((2, 1, 4),), attrs={"axes": [1]}, opset=11), NodeCase("Squeeze", ((2, 1, 4),), (ints(-2),)),
    NodeCase("Squeeze", ((2, 1, 4),)), NodeCase("Unsqueeze", attrs={"axes": [0, 2]}, opset=11),
    NodeCase("Unsqueeze", constants=(ints(-1),)), NodeCase("Concat", ((2, 3), (2, 5)), attrs={"axis": 1}),
    NodeCase("Concat", ((2, 3), (4, 3)), attrs={"axis": -2}), NodeCase("Concat", ((2, 3),), attrs={"axis": 0}),
    NodeCase("Split", attrs={"axis": 2, "split": [1, 3]}, opset=11, outputs=2),
    NodeCase("Split", attrs={"axis": 2}, constants=(ints(3, 1),), outputs=2), NodeCase("Split", attrs={"axis": 2}, outputs=2),
    NodeCase("Split", attrs={"axis": 2, "num_outputs": 3}, opset=18, outputs=3),
    NodeCase("Slice", attrs={"starts": [1, 0], "ends": [3, -1], "axes": [1, 2]}, opset=9),
    NodeCase("Slice", attrs={"starts": [1], "ends": [9]}, opset=9),
    NodeCase("Slice", constants=(ints(-1), ints(-9), ints(2), ints(-2))), NodeCase("Slice", constants=(ints(0, 1), ints(1, 3))),
    NodeCase("Gather", constants=(ints(2, 0, -1),), attrs={"axis": 1}), NodeCase("Gather", constants=(np.array(1, INDEX),)),
    NodeCase("Expand", ((3, 1),), (ints(2, 1, 4),)), NodeCase("Tile", constants=(ints(1, 2, 3),)),
    NodeCase("Pad", attrs={"pads": [0, 1, 0, 0, 2, 1], "value": 0.5}, opset=10),
    NodeCase("Pad", constants=(ints(0, 1, 0, 0, 2, 1),)), NodeCase("Pad", constants=(ints(0, 0, 1, 0, 0, 2), np.float32(3))),
    NodeCase("Pad", constants=(ints(0, 1, 0, 0, 2, 1),), attrs={"mode": "reflect"}),
    NodeCase("Pad", constants=(ints(0, 1, 0, 0, 2, 1),), attrs={"mode": "edge"}),
    NodeCase("Pad", constants=(ints(1, 2), np.float32(1), ints(2)), opset=18),
    NodeCase("ReverseSequence", ((5, 2, 3),), (ints(5, 5),)),
    NodeCase("ReverseSequence", ((2, 5, 3),), (ints(5, 5),), {"time_axis": 1, "batch_axis": 0}),
    NodeCase("Upsample", attrs={"scales": [1.0, 1.0, 2.0]}, opset=8),
    NodeCase("Upsample", constants=(np.float32([1, 1, 3]),), opset=9),
    NodeCase("Shape", attrs={"start": 1, "end": -1}),
]
REDUCTION = [
    *(NodeCase(op, positive=True, attrs={"axes": [1], "keepdims": keep}, opset=12) for keep in (0, 1) for op in (
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSum",
        "ReduceLogSumExp")),
    NodeCase("ReduceSum", constants=(ints(0, -1),)), NodeCase("ReduceSum"), NodeCase("ReduceMean"),
    NodeCase("ReduceSum", constants=(ints(),), attrs={"noop_with_empty_axes": 1}),
    NodeCase("ReduceMax", constants=(ints(2),), attrs={"keepdims": 0}, opset=18),
    NodeCase("Softmax", opset=11), NodeCase("Softmax", attrs={"axis": 2}, opset=11), NodeCase("LogSoftmax", opset=11),
    NodeCase("Softmax"), NodeCase("Softmax", attrs={"axis": 1}), NodeCase("LogSoftmax", attrs={"axis": 0}),
    NodeCase("ArgMax", attrs={"axis": 1}), NodeCase("ArgMax", attrs={"axis": -1, "keepdims": 0}), NodeCase("ArgMin"),
    NodeCase("LayerNormalization", constants=(weights(4), weights(4))),
    NodeCase("LayerNormalization", constants=(weights(3, 4),), attrs={"axis": 1}),
    NodeCase("InstanceNormalization", constants=(weights(3), weights(3))), NodeCase("LpNormalization"),
    NodeCase("LpNormalization", attrs={"p": 1, "axis": 1}),
    NodeCase("BatchNormalization", constants=(weights(3), weights(3), weights(3), weights(3) ** 2), attrs={"epsilon": 1e-3}),
]
MATRIX = [
    NodeCase("MatMul", constants=(weights(4, 5),)), NodeCase("MatMul", ((2, 3, 4), (2, 4, 5))),
    NodeCase("MatMul", constants=(weights(2, 4, 5),)),
    NodeCase("MatMul", constants=(weights(4),)), NodeCase("Gemm", ((3, 4),), (weights(4, 5), weights(5))),
    NodeCase("Gemm", ((3, 4),), (weights(5, 4), weights(3, 5)), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    NodeCase("Gemm", ((4, 3), (4, 5), (1, 5)), attrs={"transA": 1}), NodeCase("Gemm", ((3, 4),), (weights(4, 5),)),
    NodeCase("Gemm", ((3, 4), (5, 4)), attrs={"transB": 1, "alpha": 3.0}),
    NodeCase("Gemm", ((3, 4),), (weights(4, 5), weights(1))),
]
CONVOLUTION = [
    NodeCase("Conv", ((2, 3, 9),), (weights(4, 3, 2),)),
    NodeCase("Conv", ((2, 3, 9),), (weights(4, 3, 3), weights(4)), {"pads": [2, 0]}),
    NodeCase("Conv", ((2, 4, 9),), (weights(6, 2, 3),), {"group": 2, "strides": [2], "dilations": [2]}),
    NodeCase("Conv", ((2, 3, 9),), (weights(4, 3, 4),), {"auto_pad": "SAME_UPPER", "strides": [2]}),
    NodeCase("Conv", ((2, 3, 9),), (weights(4, 3, 4),), {"auto_pad": "SAME_LOWER"}),
    NodeCase("Conv", ((2, 3, 9),), (weights(4, 3, 4),), {"auto_pad": "VALID", "kernel_shape": [4]}),
    NodeCase("Conv", ((2, 3, 1, 9),), (weights(4, 3, 1, 3), weights(4)), {"pads": [0, 1, 0, 1]}),
    NodeCase("Conv", ((2, 3, 9, 1),), (weights(4, 3, 3, 1),), {"strides": [2, 1]}),
    NodeCase("MaxPool", ((2, 3, 9),), attrs={"kernel_shape": [3]}),
    NodeCase("MaxPool", ((2, 3, 9),), attrs={"kernel_shape": [2], "strides": [2], "ceil_mode": 1}),
    NodeCase("MaxPool", ((2, 3, 9),), attrs={"kernel_shape": [3], "pads": [1, 1], "strides": [2]}),
    NodeCase("MaxPool", ((2, 3, 1, 9),), attrs={"kernel_shape": [1, 2], "strides": [1, 2], "auto_pad": "SAME_UPPER"}),
    NodeCase("AveragePool", ((2, 3, 9),), attrs={"kernel_shape": [3], "pads": [1, 1]}),
    NodeCase("AveragePool", ((2, 3, 9),), attrs={"kernel_shape": [3], "pads": [1, 0], "count_include_pad": 1}),
]
ALL = [*UNARY, *ACTIVATIONS, *BINARY, *MORE_ARITHMETIC, *MOVEMENT, *REDUCTION, *MATRIX, *CONVOLUTION]


def one_node(case: NodeCase, rng: np.random.Generator):
    names = [f"x{i}" for i in range(len(case.shapes))]
    draw = (lambda shape: rng.uniform(0.3, 2, shape)) if case.positive else rng.standard_normal
    feed = {name: np.asarray(draw(shape), np.float32) for name, shape in zip(names, case.shapes, strict=True)}
    constants = {f"k{i}": array for i, array in enumerate(case.constants)}
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = helper.make_node(case.op, [*names, *constants], outputs, name="node", **case.attrs)
    return make([node], {name: array.shape for name, array in feed.items()}, outputs, constants, case.opset), feed


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.label)
def test_node(case, rng, tmp_path):
    model, feed = one_node(case, rng)
    assert_agrees(model, feed, tmp_path)


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Equal"])
def test_logic(op, tmp_path):
    feed = {A: np.array([[True, False], [True, True]]), B: np.array([True, False])}
    model = make([helper.make_node(op, [A, B], ["y"])], {A: (bool, (2, 2)), B: (bool, (2,))}, ["y"])
    assert_agrees(model, feed, tmp_path)


def test_where_and_not(rng, tmp_path):
    nodes = [helper.make_node("Not", ["c"], ["n"]), helper.make_node("Where", ["n", A, B], ["y"])]
    model = make(nodes, {"c": (bool, (3,)), A: (2, 3), B: (1,)}, ["y"])
    feed = {"c": np.array([True, False, True]), A: rng.standard_normal((2, 3)).astype(np.float32), B: np.ones(1, np.float32)}
    assert_agrees(model, feed, tmp_path)


@pytest.mark.parametrize(("dtype", "b"), [(np.int64, 3), (np.int32, -2)])
@pytest.mark.parametrize("op", ["Div", "Mod", "Mul"])
def test_integer_arithmetic(op, dtype, b, tmp_path):
    model = make([helper.make_node(op, [A, B], ["y"])], {A: (dtype, (4,))}, ["y"], {B: np.array(b, dtype)})
    assert_agrees(model, {A: np.array([-7, 7, 0, 5], dtype)}, tmp_path)


def test_shape_arithmetic_follows_dynamic_axes(rng, tmp_path):
    """x (B, T, F) flattened to (B, T * F) by arithmetic on its shape, as exporters write it."""
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
             helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]), helper.make_node("Concat", ["n1", "rest"], ["new"], axis=0),
             helper.make_node("Reshape", ["x", "new"], ["y"]), helper.make_node("ConstantOfShape", ["new2"], ["zeros"]),
             helper.make_node("Concat", ["n1", "three"], ["new2"], axis=0)]
    constants = {"zero": np.array(0, INDEX), "axis": ints(0), "rest": ints(-1), "three": ints(3)}
    model = make(nodes, {"x": ("B", 4, 5)}, ["y", "zeros"], constants)
    for batch in (1, 3):
        assert_agrees(model, {"x": rng.standard_normal((batch, 4, 5)).astype(np.float32)}, tmp_path)


def test_range_and_one_hot(tmp_path):
    nodes = [helper.make_node("Shape", ["x"], ["s"], start=1, end=2), helper.make_node("Squeeze", ["s"], ["n"]),
             helper.make_node("Range", ["zero", "n", "one"], ["r"]),
             helper.make_node("OneHot", ["x", "depth", "values"], ["y"])]
    constants = {"zero": np.array(0, INDEX), "one": np.array(1, INDEX), "depth": ints(5), "values": np.float32([0.5, 2])}
    model = make(nodes, {"x": (INDEX, ("B", "T"))}, ["r", "y"], constants)
    assert_agrees(model, {"x": np.array([[0, 4, -1], [2, 3, 1]])}, tmp_path)


@pytest.mark.parametrize("name", ["value_float", "value_floats", "value_int", "value_ints", "value"])
def test_constants_of_every_form(name, tmp_path):
    value = {"value_float": 2.5, "value_floats": [2.5, 3.5], "value_int": 3, "value_ints": [3, 4],
             "value": numpy_helper.from_array(np.float64([1.5, 2.5]))}[name]
    nodes = [helper.make_node("Constant", [], ["k"], **{name: value}), helper.make_node("Cast", ["k"], ["f"], to=1),
             helper.make_node("Add", ["x", "f"], ["y"])]
    assert_agrees(make(nodes, {"x": (3, 2)}, ["y"]), {"x": np.ones((3, 2), np.float32)}, tmp_path)


def test_sequence_of_known_length(rng, tmp_path):
    nodes = [helper.make_node("SplitToSequence", ["x", "one"], ["s"], axis=1),
             helper.make_node("SequenceAt", ["s", "i0"], ["a"]), helper.make_node("SequenceAt", ["s", "i2"], ["b"]),
             helper.make_node("SequenceConstruct", ["b", "a"], ["t"]),
             helper.make_node("ConcatFromSequence", ["t"], ["y"], axis=1)]
    constants = {"one": np.array(1, INDEX), "i0": np.array(0, INDEX), "i2": np.array(2, INDEX)}
    assert_agrees(make(nodes, {"x": (2, 3)}, ["y"], constants), {"x": rng.standard_normal((2, 3)).astype(np.float32)}, tmp_path)


@pytest.mark.parametrize("attrs", [{"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, {}])
def test_resize_by_whole_factors(attrs, rng, tmp_path):
    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest", **attrs)]
    model = make(nodes, {"x": (1, 2, 5)}, ["y"], {"scales": np.float32([1, 1, 3])})
    assert_agrees(model, {"x": rng.standard_normal((1, 2, 5)).astype(np.float32)}, tmp_path)


@pytest.mark.parametrize("axis", [0, 1])
def test_quantize_and_dequantize(axis, rng, tmp_path):
    scale = np.float32([0.1, 0.02, 0.05][: 3 if axis else 2])
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis)]
    model = make(nodes, {"x": (2, 3)}, ["y"], {"s": scale, "z": np.arange(len(scale)).astype(np.int8)})
    assert_agrees(model, {"x": rng.standard_normal((2, 3)).astype(np.float32)}, tmp_path)


def test_dynamically_quantized_product(rng, tmp_path):
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             helper.make_node("MatMulInteger", ["q", "W", "z", "wz"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=1),
             helper.make_node("Mul", ["f", "s"], ["y"])]
    constants = {"W": rng.integers(-127, 127, (4, 5)).astype(np.int8), "wz": np.array(3, np.int8)}
    assert_agrees(make(nodes, {"x": (2, 4)}, ["y"], constants),
                  {"x": rng.standard_normal((2, 4)).astype(np.float32)}, tmp_path, 1e-3)


def branches(condition, constants=None, **inputs):
    graphs = {name: helper.make_graph([helper.make_node(op, ["x"], [f"{op}_y"])], op, [],
                                      [helper.make_tensor_value_info(f"{op}_y", TensorProto.FLOAT, None)])
              for name, op in (("then_branch", "Neg"), ("else_branch", "Exp"))}
    nodes = [*condition, helper.make_node("If", ["c"], ["y"], name="choice", **graphs)]
    return make(nodes, {"x": (2, 3), **inputs}, ["y"], constants)


@pytest.mark.parametrize("condition", [True, False])
def test_branch_with_constant_condition(condition, rng, tmp_path):
    model = branches([], {"c": np.array(condition)})
    graph = assert_agrees(model, {"x": rng.standard_normal((2, 3)).astype(np.float32)}, tmp_path)
    assert [node.op for node in graph.nodes] == ["neg" if condition else "exp"]


def test_branch_on_an_input_needs_fix(rng, tmp_path):
    model = branches([helper.make_node("Equal", ["sr", "k"], ["c"])], {"k": np.array(16000, INDEX)}, sr=(INDEX, ()))
    with pytest.raises(UnsupportedError, match=r"fix=\{'sr': \.\.\.\}"):
        imported(model, tmp_path)
    x = rng.standard_normal((2, 3)).astype(np.float32)
    for rate in (16000, 8000):
        graph = imported(model, tmp_path, fix={"sr": rate})
        assert [port.name for port in graph.inputs] == ["x"]
        expected = runtime_outputs(model, {"x": x, "sr": np.array(rate)})["y"]
        np.testing.assert_allclose(reference.run(graph, {"x": x})["y"], expected, rtol=1e-5)


def test_all_unsupported_nodes_are_listed_with_what_is_wrong(tmp_path):
    nodes = [helper.make_node("Frobnicate", ["x"], ["a"], name="first"),
             helper.make_node("Gelu", ["a"], ["b"], name="second", approximate="cubic"),
             helper.make_node("ReverseSequence", ["x", "lengths"], ["y"], name="third"),
             helper.make_node("Softmax", ["x"], ["z"], name="fourth", temperature=2.0)]
    model = make(nodes, {"x": (3, 2, 4), "lengths": (INDEX, (2,))}, ["y", "b", "z"], opset=20)
    with pytest.raises(UnsupportedError) as refusal:
        imported(model, tmp_path)
    first, second, third, fourth = refusal.value.problems
    assert "'first'" in first and "Frobnicate" in first
    assert "'second'" in second and "cubic" in second
    assert "'third'" in third and "sequence_lens" in third
    assert "'fourth'" in fourth and "temperature" in fourth
