"""Loops, scans and branches: written out for concrete shapes, kept in the file, refused where they depend on data."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgelstm
from edgelstm import format as elstm
from edgelstm import reference
from edgelstm.errors import FormatError, ShapeError, UnsupportedError
from edgelstm.expand import expand
from edgelstm.graph import Graph, Node, Port
from edgelstm.ops.op import Body

from .onnx_models import imported, make, runtime_outputs

INT, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def body(nodes, inputs, outputs, constants=None):
    """A subgraph. Ports are (name, element type)."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    ports = [
        [helper.make_tensor_value_info(name, kind, None if kind == FLOAT else []) for name, kind in side]
        for side in (inputs, outputs)
    ]
    return helper.make_graph(nodes, "body", *ports, tensors)


def running_sums(trips="T", condition=""):
    """x (T, 3): total += x[i] * i, in a loop that stacks every total."""
    inner = body(
        [
            node("Gather", ["x", "i"], ["row"], axis=0),
            node("Cast", ["i"], ["number"], to=FLOAT),
            node("Mul", ["row", "number"], ["weighted"]),
            node("Add", ["total", "weighted"], ["next"]),
            node("Identity", ["next"], ["shown"]),
            node("Identity", ["goes_on"], ["still"]),
        ],
        [("i", INT), ("goes_on", BOOL), ("total", FLOAT)],
        [("still", BOOL), ("next", FLOAT), ("shown", FLOAT)],
    )
    return [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["T"], axis=0),
        node("Loop", [trips, condition, "start"], ["last", "all"], body=inner),
    ]


CONSTANTS = {"zero": np.int64(0), "start": np.zeros(3, np.float32), "three": np.int64(3)}


def check(model, feed, folder):
    """The reference, the compiled program and ONNX Runtime give the same; so does the graph read back from its file."""
    graph = imported(model, folder)
    expected = runtime_outputs(model, feed)
    again = elstm.from_bytes(elstm.to_bytes(graph))
    for got in (reference.run(graph, feed), edgelstm.load(again).run(feed)):
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array, atol=1e-5)
    return graph


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_loop_over_a_dynamic_axis(tmp_path, steps, rng):
    model = make(running_sums(), {"x": ["T", 3]}, ["last", "all"], CONSTANTS)
    graph = check(model, {"x": rng.standard_normal((steps, 3)).astype(np.float32)}, tmp_path)
    assert [n.op for n in graph.nodes].count("loop") == 1


def test_a_loop_that_never_runs(tmp_path):
    graph = imported(make(running_sums(), {"x": ["T", 3]}, ["last", "all"], CONSTANTS), tmp_path)
    got = edgelstm.load(graph).run({"x": np.zeros((0, 3), np.float32)})
    assert got["all"].shape == (0, 3)
    assert not got["last"].any()


def counted_loop(limit):
    """A loop as tf2onnx writes it: no trip count, the condition compares a carried counter with the number of steps."""
    inner = body(
        [
            node("Add", ["k", "one"], ["k_next"]),
            node("Gather", ["x", "k"], ["row"], axis=0),
            node("Add", ["total", "row"], ["next"]),
            node("Cast", ["k_next"], ["kf"], to=FLOAT),
            node("Cast", ["T"], ["Tf"], to=FLOAT),
            node("Less", ["kf", "Tf"], ["still"]),
        ],
        [("i", INT), ("goes_on", BOOL), ("k", INT), ("total", FLOAT)],
        [("still", BOOL), ("k_next", INT), ("next", FLOAT)],
        {"one": np.int64(1)},
    )
    return [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["T"], axis=0),
        node("Less", ["zero", "T"], ["any"]),
        node("Loop", [limit, "any", "zero", "start"], ["count", "last"], body=inner),
    ]


@pytest.mark.parametrize("limit", ["", "three"])
def test_a_loop_that_ends_by_its_condition(tmp_path, limit, rng):
    model = make(counted_loop(limit), {"x": ["T", 3]}, ["count", "last"], CONSTANTS)
    check(model, {"x": rng.standard_normal((5, 3)).astype(np.float32)}, tmp_path)


def test_a_condition_that_depends_on_data_is_refused(tmp_path):
    inner = body(
        [
            node("ReduceSum", ["total"], ["sum"], keepdims=0),
            node("Add", ["total", "x"], ["next"]),
            node("Less", ["sum", "ten"], ["still"]),
        ],
        [("i", INT), ("goes_on", BOOL), ("total", FLOAT)],
        [("still", BOOL), ("next", FLOAT)],
        {"ten": np.float32(10)},
    )
    loop = node("Loop", ["", "true", "start"], ["last"], body=inner)
    with pytest.raises(UnsupportedError, match=r"Loop_last.*depends on the data of x"):
        imported(make([loop], {"x": [3]}, ["last"], {**CONSTANTS, "true": np.bool_(True)}), tmp_path)


def test_a_loop_without_end_is_refused(tmp_path):
    inner = body(
        [node("Identity", ["goes_on"], ["still"]), node("Add", ["total", "x"], ["next"])],
        [("i", INT), ("goes_on", BOOL), ("total", FLOAT)],
        [("still", BOOL), ("next", FLOAT)],
    )
    loop = node("Loop", ["", "true", "start"], ["last"], body=inner)
    with pytest.raises(UnsupportedError, match="runs more than"):
        imported(make([loop], {"x": [3]}, ["last"], {**CONSTANTS, "true": np.bool_(True)}), tmp_path)


def test_too_many_iterations_are_refused_before_they_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("edgelstm.expand.MOST_NODES", 40)
    graph = imported(make(running_sums(), {"x": ["T", 3]}, ["last", "all"], CONSTANTS), tmp_path)
    with pytest.raises(UnsupportedError, match="more than 40 nodes"):
        expand(graph, {"x": (9, 3)})


@pytest.mark.parametrize(("directions", "axes"), [((0, 0), (0, 0)), ((1, 1), (0, 0)), ((1, 0), (1, 1))])
def test_scan(tmp_path, directions, axes, rng):
    inner = body(
        [node("Add", ["s", "v"], ["next"]), node("Mul", ["next", "v"], ["shown"])],
        [("s", FLOAT), ("v", FLOAT)],
        [("next", FLOAT), ("shown", FLOAT)],
    )
    scan = node(
        "Scan",
        ["start", "x"],
        ["last", "all"],
        body=inner,
        num_scan_inputs=1,
        scan_input_axes=[axes[0]],
        scan_input_directions=[directions[0]],
        scan_output_axes=[axes[1]],
        scan_output_directions=[directions[1]],
    )
    shape = ["T", 3] if axes[0] == 0 else [3, "T"]
    model = make([scan], {"x": shape}, ["last", "all"], CONSTANTS)
    check(model, {"x": rng.standard_normal([5 if n == "T" else n for n in shape]).astype(np.float32)}, tmp_path)


def branch_on_length(then, otherwise):
    branches = {
        "then_branch": body([then], [], [(then.output[0], FLOAT)]),
        "else_branch": body([otherwise], [], [(otherwise.output[0], FLOAT)]),
    }
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["n"], axis=0),
        node("Equal", ["n", "one"], ["single"]),
        node("If", ["single"], ["y"], **branches),
    ]
    return make(nodes, {"x": ["batch", "n"]}, ["y"], {"one": np.int64(1), "axis": np.array([1])})


@pytest.mark.parametrize("n", [1, 4])
def test_a_branch_chosen_by_a_length(tmp_path, n, rng):
    model = branch_on_length(node("Neg", ["x"], ["a"]), node("Abs", ["x"], ["b"]))
    graph = check(model, {"x": rng.standard_normal((2, n)).astype(np.float32)}, tmp_path)
    assert [n.op for n in graph.nodes] == ["shape", "gather", "equal", "if_else"]


def test_a_branch_for_one_length_only(tmp_path, rng):
    """As torch exports a squeeze: the axis goes away where its length is 1, and the rank is another one."""
    model = branch_on_length(node("Squeeze", ["x", "axis"], ["a"]), node("Identity", ["x"], ["b"]))
    graph = check(model, {"x": rng.standard_normal((2, 4)).astype(np.float32)}, tmp_path)
    with pytest.raises(ShapeError, match=r"If_y.*the lengths that choose the other branch"):
        edgelstm.load(graph).run({"x": np.ones((2, 1), np.float32)})


def test_a_branch_chosen_by_a_constant_leaves_no_trace(tmp_path):
    branches = {
        "then_branch": body([node("Neg", ["x"], ["a"])], [], [("a", FLOAT)]),
        "else_branch": body([node("Abs", ["x"], ["b"])], [], [("b", FLOAT)]),
    }
    model = make([node("If", ["yes"], ["y"], **branches)], {"x": [3]}, ["y"], {"yes": np.bool_(True)})
    assert [n.op for n in imported(model, tmp_path).nodes] == ["neg"]


def test_a_branch_chosen_by_data_is_refused_with_the_way_out(tmp_path):
    branches = {
        "then_branch": body([node("Neg", ["x"], ["a"])], [], [("a", FLOAT)]),
        "else_branch": body([node("Abs", ["x"], ["b"])], [], [("b", FLOAT)]),
    }
    model = make([node("If", ["flag"], ["y"], **branches)], {"x": [3], "flag": (np.bool_, [])}, ["y"])
    with pytest.raises(UnsupportedError, match=r"fix={'flag': ...}"):
        imported(model, tmp_path)
    assert [n.op for n in imported(model, tmp_path, fix={"flag": False}).nodes] == ["abs"]


def test_fix_gives_a_dynamic_axis_a_length(tmp_path):
    model = make([node("Neg", ["x"], ["y"])], {"x": ["batch", "n"]}, ["y"])
    assert imported(model, tmp_path, fix={"n": 7}).inputs[0].shape == ("batch", 7)
    for value in (0, "long", True):
        with pytest.raises(ShapeError, match="whole number from 1 on"):
            imported(model, tmp_path, fix={"n": value})
    with pytest.raises(ShapeError, match="its dynamic axes"):
        imported(model, tmp_path, fix={"m": 7})


def graph_with(loop):
    port = Port("x", "float32", (3,), "x")
    return Graph((port,), (Port("y", "float32", (3,), "y"),), (loop,), {"n": np.int64(2)})


def loop_node(nodes, inputs=("i", "go", "v"), outputs=("go", "w"), given=("n", None, "x")):
    return Node("L", "loop", given, ("y",), {"body": Body(inputs, outputs, tuple(nodes)), "carried": 1})


def test_bodies_are_validated():
    graph_with(loop_node([Node("a", "neg", ("v",), ("w",))]))
    with pytest.raises(FormatError, match="reads 'missing'"):
        graph_with(loop_node([Node("a", "neg", ("missing",), ("w",))]))
    with pytest.raises(FormatError, match="gives 'w', which nothing in it computes"):
        graph_with(loop_node([]))
    with pytest.raises(FormatError, match="has no attribute"):
        graph_with(loop_node([Node("a", "neg", ("v",), ("w",), {"surprise": 1})]))


def test_bodies_nested_too_deep_are_refused():
    inner = Node("a", "neg", ("v",), ("w",))
    for depth in range(20):
        inner = Node(
            f"L{depth}", "loop", ("i", None, "v"), ("w",), {"body": Body(("i", "go", "v"), ("go", "w"), (inner,)), "carried": 1}
        )
    with pytest.raises(FormatError, match="deep"):
        graph_with(loop_node([inner]))


def test_nested_loops(tmp_path, rng):
    inner = body(
        [node("Add", ["t", "row"], ["t2"]), node("Identity", ["c2"], ["c3"])],
        [("j", INT), ("c2", BOOL), ("t", FLOAT)],
        [("c3", BOOL), ("t2", FLOAT)],
    )
    outer = body(
        [
            node("Gather", ["x", "i"], ["row"], axis=0),
            node("Loop", ["three", "", "total"], ["next"], body=inner),
            node("Identity", ["c"], ["c1"]),
        ],
        [("i", INT), ("c", BOOL), ("total", FLOAT)],
        [("c1", BOOL), ("next", FLOAT)],
    )
    model = make(
        [
            node("Shape", ["x"], ["shape"]),
            node("Gather", ["shape", "zero"], ["T"], axis=0),
            node("Loop", ["T", "", "start"], ["last"], body=outer),
        ],
        {"x": ["T", 3]},
        ["last"],
        CONSTANTS,
    )
    check(model, {"x": rng.standard_normal((4, 3)).astype(np.float32)}, tmp_path)
