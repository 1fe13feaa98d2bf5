"""Hostile ONNX files: nothing outside the model's folder is read, memory and time stay bounded, the error is one of ours."""

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgelstm
from edgelstm.errors import EdgeLSTMError, FormatError
from tests.onnx_models import make

FUZZ_EXAMPLES = int(os.environ.get("EDGELSTM_EXAMPLES", "150"))
MEBI = 1 << 20


def convert(model: onnx.ModelProto | bytes, folder: Path) -> edgelstm.Graph:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return edgelstm.convert(path, probe=False)


def bounded(model: onnx.ModelProto | bytes, folder: Path, seconds: float = 5.0, mebibytes: int = 300) -> None:
    """Convert; an error must be one of ours, and time and memory small."""
    tracemalloc.start()
    start = time.process_time()
    try:
        convert(model, folder)
    except EdgeLSTMError as error:
        assert "model.onnx" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.process_time() - start < seconds
    assert peak < mebibytes * MEBI


def lstm_model(rng: np.random.Generator, units: int = 5) -> onnx.ModelProto:
    """LSTM, Squeeze through a computed shape, and a dense layer."""
    constants = {
        "W": rng.standard_normal((1, 4 * units, 3)).astype(np.float32),
        "R": rng.standard_normal((1, 4 * units, units)).astype(np.float32),
        "B": rng.standard_normal((1, 8 * units)).astype(np.float32),
        "axes": np.array([1]),
        "V": rng.standard_normal((units, 2)).astype(np.float32),
        "start": np.array([0]),
        "end": np.array([2]),
    }
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["Y", "h"], name="cell", hidden_size=units),
        helper.make_node("Squeeze", ["Y", "axes"], ["seq"], name="squeeze"),
        helper.make_node("MatMul", ["seq", "V"], ["p"], name="dense"),
        helper.make_node("Shape", ["seq"], ["shape"], name="shape"),
        helper.make_node("Slice", ["shape", "start", "end"], ["lead"], name="slice"),
        helper.make_node("Expand", ["one", "lead"], ["mask"], name="expand"),
        helper.make_node("Unsqueeze", ["mask", "two"], ["wide"], name="unsqueeze"),
        helper.make_node("Mul", ["p", "wide"], ["y"], name="mul"),
    ]
    constants |= {"one": np.ones((1, 1), np.float32), "two": np.array([2])}
    return make(nodes, {"x": ("T", "B", 3)}, ["y", "h"], constants)


def with_tensor(**fields) -> onnx.ModelProto:
    """A matrix product whose weights are described by `fields`."""
    model = make([helper.make_node("MatMul", ["x", "W"], ["y"])], {"x": ("B", 4)}, ["y"])
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type = "W", TensorProto.FLOAT
    for name, value in fields.items():
        if isinstance(value, (list, tuple)):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return model


@pytest.mark.parametrize(
    "dims",
    [[1 << 40, 1 << 40], [1 << 62, 4], [(1 << 63) - 1] * 3, [-4, 4], [4, -1], [4, 0, 1 << 60], [1 << 20] * 20],
)
@pytest.mark.parametrize("content", [{}, {"raw_data": b"\0" * 64}, {"float_data": [1.0] * 16}])
def test_tensors_that_claim_impossible_sizes(dims, content, tmp_path):
    bounded(with_tensor(dims=dims, **content), tmp_path)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../secret.bin"},
        {"location": "folder/../../secret.bin"},
        {"location": "/dev/zero"},
        {"location": "/proc/self/environ"},
        {"location": "."},
        {"location": "model.onnx\0"},
        {"location": "..\\secret.bin"},
        {"location": "fifo"},
        {"location": "weights.bin", "length": "9" * 30},
        {"location": "weights.bin", "offset": "9" * 30},
        {"location": "weights.bin", "length": "9" * 5000},
        {"location": "weights.bin", "offset": str(-(1 << 63))},
        {"location": "loop"},
        {"location": "outside/secret.bin"},
        {"location": "x" * 5000},
    ],
)
def test_external_data_that_leads_astray(entries, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"\1" * 64)
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"\0" * 64)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "outside").symlink_to(tmp_path)
    os.mkfifo(folder / "fifo")
    model = with_tensor(dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    with pytest.raises(FormatError, match="'W'"):
        convert(model, folder)


def test_external_data_of_a_tensor_inside_a_node(tmp_path):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret.bin")
    (tmp_path / "secret.bin").write_bytes(b"\1" * 16)
    folder = tmp_path / "model"
    folder.mkdir()
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Add", ["x", "c"], ["y"])]
    with pytest.raises(FormatError, match="only files in the model's own folder"):
        convert(make(nodes, {"x": ("B", 4)}, ["y"]), folder)


HUGE = np.array([1 << 20, 1 << 12])
BOMBS = {
    "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["s"], ["big"])], {"s": HUGE}),
    "ConstantOfShape below the limit of one value": (
        [helper.make_node("ConstantOfShape", ["s"], ["big"])],
        {"s": np.array([1 << 10, 1 << 19])},
    ),
    "Expand": ([helper.make_node("Expand", ["c", "s"], ["big"])], {"c": np.float32(1), "s": HUGE}),
    "Tile": ([helper.make_node("Tile", ["c", "s"], ["big"])], {"c": np.ones((2, 2), np.float32), "s": HUGE}),
    "Pad": ([helper.make_node("Pad", ["c", "s"], ["big"])], {"c": np.ones(2, np.float32), "s": np.array([0, 1 << 32])}),
    "Range": (
        [helper.make_node("Range", ["a", "b", "c"], ["big"])],
        {"a": np.int64(0), "b": np.int64(1 << 40), "c": np.int64(1)},
    ),
    "Range of floats": (
        [helper.make_node("Range", ["a", "b", "c"], ["big"])],
        {"a": np.float32(0), "b": np.float32(1e30), "c": np.float32(1e-30)},
    ),
    "OneHot": (
        [helper.make_node("OneHot", ["i", "d", "v"], ["big"])],
        {"i": np.arange(9), "d": np.int64(1 << 33), "v": np.float32([0, 1])},
    ),
    "outer product": (
        [helper.make_node("Mul", ["c", "r"], ["big"])],
        {"c": np.ones((1 << 17, 1), np.float32), "r": np.ones((1, 1 << 17), np.float32)},
    ),
    "doubling": (
        [
            helper.make_node("Concat", [name] * 2, [after], axis=0)
            for name, after in zip(["c", *(f"d{i}" for i in range(40))], [*(f"d{i}" for i in range(40)), "big"], strict=True)
        ],
        {"c": np.ones(1 << 10, np.float32)},
    ),
    "squaring": (
        [
            helper.make_node("MatMul", [name, name], [after])
            for name, after in zip(["c", *(f"d{i}" for i in range(40))], [*(f"d{i}" for i in range(40)), "big"], strict=True)
        ],
        {"c": np.ones((2, 2), np.float32)},
    ),
    "Resize": (
        [helper.make_node("Resize", ["c", "", "f"], ["big"], mode="nearest")],
        {"c": np.ones((1, 1, 2), np.float32), "f": np.float32([1, 1, 1 << 30])},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_that_explode(name, tmp_path):
    nodes, constants = BOMBS[name]
    last = [
        helper.make_node("ReduceSum", ["big"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["sum"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    bounded(make([*nodes, *last], {"x": (3,)}, ["y"], constants), tmp_path)


def nested_ifs(depth: int) -> bytes:
    """A serialized model with `depth` If nodes inside each other; protobuf itself refuses to build the deepest."""
    shown = helper.make_value_info("v", onnx.TypeProto())
    leaf = helper.make_graph([helper.make_node("Neg", ["x"], ["v"])], "leaf", [], [shown])
    shell = helper.make_graph([], "shell", [], [shown]).SerializeToString()
    node = onnx.NodeProto(op_type="If", input=["c"], output=["v"])
    node.attribute.append(helper.make_attribute("else_branch", leaf))
    then = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH).SerializeToString()
    graph = leaf.SerializeToString()
    for _ in range(depth):
        graph = shell + field(1, node.SerializeToString() + field(5, then + field(6, graph)))
    outer = make([], {"x": (3,)}, [], {"c": np.array(True)})
    return outer.SerializeToString() + field(7, graph)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, digits = len(content), []
    while length >= 128:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes([8 * number + 2, *digits, length]) + content


@pytest.mark.parametrize("depth", [5, 20, 45, 400, 5000])
def test_deep_nesting(depth, tmp_path):
    bounded(nested_ifs(depth), tmp_path)


def functions(count: int, calls: int) -> onnx.ModelProto:
    """Functions f0, f1, ... of which each calls the next `calls` times in a row."""
    made = []
    for i in range(count):
        inner = [("Neg", "")] * calls if i == count - 1 else [(f"f{i + 1}", "own")] * calls
        names = ["a", *(f"t{k}" for k in range(calls - 1)), "b"]
        body = [helper.make_node(op, [names[k]], [names[k + 1]], domain=domain) for k, (op, domain) in enumerate(inner)]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        made.append(helper.make_function("own", f"f{i}", ["a"], ["b"], body, imports))
    call = helper.make_node("f0", ["x"], ["y"], domain="own")
    return make([call], {"x": (3,)}, ["y"], functions=made, imports=[helper.make_opsetid("own", 1)])


@pytest.mark.parametrize(("count", "calls"), [(30, 2), (9, 10), (500, 1), (3, 3000)])
def test_functions_that_multiply(count, calls, tmp_path):
    bounded(functions(count, calls), tmp_path, seconds=15)


def test_functions_that_call_each_other(tmp_path):
    model = functions(3, 1)
    model.functions[2].node[0].op_type, model.functions[2].node[0].domain = "f0", "own"
    with pytest.raises(FormatError, match="calls itself"):
        convert(model, tmp_path)


def test_a_long_chain_of_nodes(tmp_path):
    count = 20_000
    nodes = [helper.make_node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    start = time.process_time()
    graph = convert(make(nodes, {"v0": (3,)}, [f"v{count}"]), tmp_path)
    assert len(graph.nodes) == count
    assert time.process_time() - start < 20


@pytest.mark.parametrize("kind", ["input", "initializer", "node", "output"])
def test_duplicate_names(kind, rng, tmp_path):
    model = lstm_model(rng)
    entries = getattr(model.graph, kind)
    entries.append(entries[0])
    bounded(model, tmp_path)


def test_truncated_files(rng, tmp_path):
    content = lstm_model(rng).SerializeToString()
    for length in range(0, len(content), max(1, len(content) // FUZZ_EXAMPLES)):
        bounded(content[:length], tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(seed, tmp_path):
    rng = np.random.default_rng(seed)
    content = np.frombuffer(lstm_model(rng, units=2).SerializeToString(), np.uint8)
    for _ in range(FUZZ_EXAMPLES):
        damaged = content.copy()
        places = rng.integers(0, content.size, rng.integers(1, 4))
        damaged[places] ^= (1 << rng.integers(0, 8, places.size)).astype(np.uint8)
        bounded(damaged.tobytes(), tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_structure(seed, tmp_path):
    """Well-formed protobufs with wrong contents: names, dimensions and numbers put where they don't belong."""
    rng = np.random.default_rng(seed)
    for _ in range(FUZZ_EXAMPLES):
        model = lstm_model(rng, units=2)
        for _ in range(rng.integers(1, 4)):
            damage(model, rng)
        bounded(model, tmp_path)


def damage(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change one thing of a model."""
    graph = model.graph
    node, other = (graph.node[i] for i in rng.integers(0, len(graph.node), 2))
    tensor, second = (graph.initializer[i] for i in rng.integers(0, len(graph.initializer), 2))
    number = int(rng.choice([-(1 << 62), -3, -1, 0, 1, 2, 7, 1 << 31, 1 << 62]))
    match rng.integers(0, 9):
        case 0 if node.input:
            node.input[rng.integers(len(node.input))] = str(
                rng.choice([tensor.name, *other.output, *other.input, "x", "", "lost"])
            )
        case 1:
            node.op_type = str(
                rng.choice([other.op_type, "Reshape", "Gather", "Concat", "Gemm", "GRU", "If", "Loop", "Conv", "Nope"])
            )
        case 2:
            tensor.CopyFrom(numpy_helper.from_array(np.full(2, number), tensor.name))
        case 3:
            tensor.dims[:] = [*tensor.dims, number]
        case 4:
            tensor.data_type = int(rng.integers(0, 30))
        case 5:
            node.attribute.append(
                helper.make_attribute(str(rng.choice(["axis", "hidden_size", "perm", "clip", "direction"])), number)
            )
        case 6:
            name = tensor.name
            tensor.CopyFrom(second)
            tensor.name = name
        case 7:
            graph.input[0].type.tensor_type.shape.dim[rng.integers(3)].dim_value = number
        case 8:
            node.ClearField(str(rng.choice(["input", "output", "attribute"])))
