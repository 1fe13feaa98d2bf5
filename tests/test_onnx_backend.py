"""The official ONNX backend node tests, run natively for every node type that has a handler.

A case counts when the importer knows all of its node types. It must then pass, or be listed in `REFUSED` with the reason, in
which case it has to end in one of our errors: a case that starts to pass must leave the list.
"""

import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgelstm_converters.onnx import registry
from onnx import helper, numpy_helper

import edgelstm
from edgelstm.errors import EdgeLSTMError
from tests.onnx_models import make

# Node type -> inputs that a trained model stores: the case's arrays for them become initializers.
STORED = {
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2),
    "DequantizeLinear": (1, 2),
    "GRU": (1, 2, 3),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "OneHot": (1, 2),
    "Pad": (2,),
    "QuantizeLinear": (1, 2),
    "RNN": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}

# Node type -> inputs that decide shapes or the path through the model: inputs of the case that lead to them are given with
# `fix`, as a user would; shapes that depend on data are not supported otherwise.
STEERING = {
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "If": (0,),
    "Loop": (0, 1),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "ReverseSequence": (1,),
    "SequenceAt": (1,),
    "SequenceInsert": (2,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
    **{f"Reduce{kind}": (1,) for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")},
}

# Pattern of the case's name -> why it is refused.
REFUSED = {
    r".*(FLOAT8|FLOAT4|INT4|INT2|E8M0).*": "types of 2 and 4 bits, or floats of 8 bits",
    r"(de)?quantizelinear_(e4m3fn|e5m2|float4e2m1|u?int[24]).*": "quantized types of 2 and 4 bits, or floats of 8 bits",
    r"(de)?quantizelinear_blocked.*": "block quantization",
    r"equal_string.*": "strings",
    r"not_[234]d": "opset 1; the oldest supported is 7",
    r"(averagepool|maxpool)_[23]d_.*|basic_conv_.*|conv_with_.*": "windows over more than one axis, or with dilated pooling",
    r"maxpool_with_argmax_.*": "the positions of the maxima, and windows over more than one axis",
    r"batchnorm_.*_training_mode|training_dropout.*": "training",
    r"dropout_default_mask.*": "the mask of a dropout, which only training reads",
    r"identity_(sequence|opt)|loop13_seq|loop16_seq_none|sequence_insert_.*|sequence_map_.*": "sequence or optional inputs",
    r"split_to_sequence_.*|if_seq|if_opt": "outputs that are sequences or optional",
    r"wrap_pad": "padding with the other end of the axis",
    r"pow_types_int(64|32)_float32": "an integer result of a power with a float exponent",
    r"reduce_(log_sum_exp|max|min)_empty_set(_bool)?|split_zero_size_splits_.*|reshape_allowzero_reordered": "axes of length 0",
    r"resize_.*_(linear|cubic|crop_and_resize).*|resize_tf_.*": "interpolation other than by the nearest neighbour",
    r"resize_((down|up)sample_sizes|downsample_scales)_nearest.*": "sizes that are no whole multiple",
    r"reversesequence_.*": "sequences turned around within their own lengths",
}

# Names of cases in formats of reduced precision: EdgeLSTM computes them in float32, so they agree to one unit of that format.
ROUNDED = {"bf16|bfloat16|BFLOAT16": 1 / 128, "fp16|float16|FLOAT16": 1 / 1024}


@cache
def backend_cases() -> dict[str, Any]:
    """The official cases of which the importer knows every node type, by name."""
    from onnx.backend.test.loader import load_model_tests

    registry.load_handlers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cases = load_model_tests(kind="node")
    return {case.name: case for case in cases if _known(case.model)}


def _known(model: onnx.ModelProto) -> bool:
    opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [*_nodes(model.graph), *(node for function in model.functions for node in _nodes(function))]
    wanted = {(_domain(node.domain), node.op_type) for node in nodes if (node.domain, node.op_type) not in own}
    return all(registry.find(domain, op_type, opsets.get(domain, 1)) for domain, op_type in wanted)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _nodes(graph: Any) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph or function, and of the subgraphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def reason(name: str) -> str | None:
    """Why a case is refused, None when it must pass."""
    return next((why for pattern, why in REFUSED.items() if re.fullmatch(f"test_(?:{pattern})", name)), None)


def as_array(given: Any) -> Any:
    """A case's tensor as an array that NumPy itself knows."""
    array = numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else given
    return array.astype(np.float32) if getattr(getattr(array, "dtype", None), "name", "") == "bfloat16" else array


def steering_inputs(model: onnx.ModelProto) -> set[str]:
    """Inputs that reach a steering input of a node, other than by their shape."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    wanted = [node.input[i] for node in model.graph.node for i in STEERING.get(node.op_type, ()) if i < len(node.input)]
    reached: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in reached:
            reached.add(name)
            maker = made_by.get(name)
            wanted += maker.input if maker is not None and maker.op_type not in ("Shape", "Size") else ()
    return reached & {port.name for port in model.graph.input}


def stored_inputs(model: onnx.ModelProto) -> set[str]:
    """Inputs that stand for what a trained model stores."""
    return {node.input[i] for node in model.graph.node for i in STORED.get(node.op_type, ()) if i < len(node.input)}


def run_case(case: Any, arrays: list[Any], folder: Path) -> list[np.ndarray]:
    """The outputs that the native program gives for a case's inputs."""
    names = [port.name for port in case.model.graph.input]
    feed = dict(zip(names, arrays, strict=False))
    stored = stored_inputs(case.model) & set(feed)
    fix = {name: feed[name] for name in steering_inputs(case.model) & set(feed) - stored}
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.graph.initializer.extend(numpy_helper.from_array(feed[name], name) for name in sorted(stored))
    onnx.save(model, folder / "model.onnx")
    graph = edgelstm.convert(folder / "model.onnx", probe=False, fix=fix)
    found = edgelstm.load(graph).run({name: array for name, array in feed.items() if name not in stored | set(fix)})
    return [found[port.name] for port in model.graph.output]


def tolerance(name: str, given: float) -> float:
    return max([given, *(unit for pattern, unit in ROUNDED.items() if re.search(pattern, name))])


@pytest.mark.parametrize("name", [name for name in backend_cases() if not reason(name)])
def test_case(name, tmp_path):
    case = backend_cases()[name]
    for arrays, expected in case.data_sets:
        outputs = run_case(case, [as_array(array) for array in arrays], tmp_path)
        for found, wanted in zip(outputs, map(as_array, expected), strict=True):
            assert found.shape == np.shape(wanted)
            rtol, atol = tolerance(name, case.rtol), max(case.atol, tolerance(name, 0.0))
            np.testing.assert_allclose(found.astype(np.float64), np.asarray(wanted, np.float64), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", [name for name in backend_cases() if reason(name)])
def test_refused_case(name, tmp_path):
    case = backend_cases()[name]
    with pytest.raises(EdgeLSTMError):
        run_case(case, [as_array(array) for array in case.data_sets[0][0]], tmp_path)


# Node types without an official case that could pass, and why.
ELSEWHERE = {
    "ConcatFromSequence": "no official case; tests/test_onnx_nodes.py",
    "ReverseSequence": "the official cases turn sequences around within their lengths; tests/test_onnx_nodes.py",
    "SequenceAt": "no official case; tests/test_onnx_nodes.py",
    "SequenceConstruct": "no official case; tests/test_onnx_nodes.py",
    "SequenceEmpty": "the official cases take sequences as inputs; test_sequences_are_lists",
    "SequenceInsert": "the official cases take sequences as inputs; test_sequences_are_lists",
    "SequenceLength": "the official cases take sequences as inputs; test_sequences_are_lists",
    "SplitToSequence": "the official cases give sequences as outputs; tests/test_onnx_nodes.py",
    "com.microsoft.DynamicQuantizeLSTM": "not in the specification; tests/test_onnx_recurrent.py",
}


def test_every_node_type_is_covered():
    passing = [case.model for name, case in backend_cases().items() if not reason(name)]
    covered = {node.op_type for model in passing for graph in (model.graph, *model.functions) for node in _nodes(graph)}
    missing = {name for name in registry.supported() if name not in covered}
    assert missing == set(ELSEWHERE)


def test_no_recurrent_case_is_left_out():
    named = [name for name in backend_cases() if re.match("test_(lstm|gru|simple_rnn|rnn)_", name)]
    assert len(named) >= 18
    assert not [name for name in named if reason(name)]


def test_every_reason_has_a_case():
    assert not [
        pattern for pattern in REFUSED if not any(re.fullmatch(f"test_(?:{pattern})", name) for name in backend_cases())
    ]


def test_sequences_are_lists(rng, tmp_path):
    nodes = [
        helper.make_node("SequenceEmpty", [], ["none"]),
        helper.make_node("SequenceInsert", ["none", "x"], ["one"]),
        helper.make_node("SequenceInsert", ["one", "z", "first"], ["two"]),
        helper.make_node("SequenceLength", ["two"], ["n"]),
        helper.make_node("ConcatFromSequence", ["two"], ["y"], axis=0),
    ]
    model = make(nodes, {"x": (2, 3), "z": (1, 3)}, ["y", "n"], {"first": np.array(0)})
    onnx.save(model, tmp_path / "model.onnx")
    x, z = (rng.standard_normal((rows, 3)).astype(np.float32) for rows in (2, 1))
    found = edgelstm.load(edgelstm.convert(tmp_path / "model.onnx", probe=False)).run({"x": x, "z": z})
    np.testing.assert_array_equal(found["y"], np.concatenate([z, x]))
    assert found["n"] == 2
