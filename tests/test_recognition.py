"""Cells written out in basic ops: found in loops, scans and unrolled chains, and left alone when a step differs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgelstm
from edgelstm import axes, passes, reference
from edgelstm.passes.recognition import _agree

from .onnx_models import imported, make, runtime_outputs

INT, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
F, H, STEPS = 3, 4, 5


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def weights(rng, gates):
    return {
        "W": rng.standard_normal((F, gates * H)).astype(np.float32),
        "R": (rng.standard_normal((H, gates * H)) / 2).astype(np.float32),
        "b": rng.standard_normal(gates * H).astype(np.float32),
        "one": np.float32(1),
    }


def lstm_step(x, h, c, p, order="ifgo", W="W", one="one"):
    """Nodes of an LSTM step with prefix p; gives (h, c) as {p}h and {p}c."""
    gates = [node("Split", [f"{p}a"], [f"{p}{g}_" for g in order], axis=1)]
    return [
        node("MatMul", [x, W], [f"{p}xw"]),
        node("MatMul", [h, "R"], [f"{p}hr"]),
        node("Add", [f"{p}hr", f"{p}xw"], [f"{p}s"]),
        node("Add", ["b", f"{p}s"], [f"{p}a"]),
        *gates,
        node("Sigmoid", [f"{p}i_"], [f"{p}i"]),
        node("Sigmoid", [f"{p}f_"], [f"{p}f"]),
        node("Tanh", [f"{p}g_"], [f"{p}g"]),
        node("Sigmoid", [f"{p}o_"], [f"{p}o"]),
        node("Mul", [f"{p}i", f"{p}g"], [f"{p}ig"]),
        node("Mul", [c, f"{p}f"], [f"{p}fc"]),
        node("Add", [f"{p}ig", f"{p}fc"], [f"{p}c"]),
        node("Tanh", [f"{p}c"], [f"{p}t"]),
        node("Mul", [f"{p}t", f"{p}o"], [f"{p}h"]),
    ]


def gru_step(x, h, p, reset_after=True, difference=False):
    """Nodes of a GRU step with gates z r n; gives h as {p}h."""
    names = [f"{p}x{g}" for g in "zrn"]
    nodes = [
        node("MatMul", [x, "W"], [f"{p}xw"]),
        node("Add", [f"{p}xw", "b"], [f"{p}xb"]),
        node("Split", [f"{p}xb"], names, axis=1),
        node("Split", ["R"], [f"{p}R{g}" for g in "zrn"], axis=1),
    ]
    for g in "zr":
        nodes += [
            node("MatMul", [h, f"{p}R{g}"], [f"{p}h{g}"]),
            node("Add", [f"{p}x{g}", f"{p}h{g}"], [f"{p}a{g}"]),
            node("Sigmoid", [f"{p}a{g}"], [f"{p}{g}"]),
        ]
    if reset_after:
        nodes += [node("MatMul", [h, f"{p}Rn"], [f"{p}hn"]), node("Mul", [f"{p}r", f"{p}hn"], [f"{p}rn"])]
    else:
        nodes += [node("Mul", [f"{p}r", h], [f"{p}rh"]), node("MatMul", [f"{p}rh", f"{p}Rn"], [f"{p}rn"])]
    nodes += [node("Add", [f"{p}xn", f"{p}rn"], [f"{p}an"]), node("Tanh", [f"{p}an"], [f"{p}n"])]
    if difference:
        return nodes + [
            node("Sub", [h, f"{p}n"], [f"{p}d"]),
            node("Mul", [f"{p}d", f"{p}z"], [f"{p}dz"]),
            node("Add", [f"{p}dz", f"{p}n"], [f"{p}h"]),
        ]
    return nodes + [
        node("Sub", ["one", f"{p}z"], [f"{p}k"]),
        node("Mul", [f"{p}k", f"{p}n"], [f"{p}kn"]),
        node("Mul", [f"{p}z", h], [f"{p}zh"]),
        node("Add", [f"{p}zh", f"{p}kn"], [f"{p}h"]),
    ]


def loop(nodes, states, shown, constants, index="i", opset=17):
    """A model (T, N, F) -> stack of `shown`, with states {name: next} in a Loop."""
    inner = helper.make_graph(
        [node("Gather", ["x", index], ["v"], axis=0), *nodes, node("Identity", ["go"], ["still"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT, []),
            helper.make_tensor_value_info("go", BOOL, []),
            *(helper.make_tensor_value_info(name, FLOAT, ["N", H]) for name in states),
        ],
        [
            helper.make_tensor_value_info("still", BOOL, []),
            *(helper.make_tensor_value_info(name, FLOAT, ["N", H]) for name in (*states.values(), shown)),
        ],
    )
    starts = [f"{name}0" for name in states]
    outer = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["T"], axis=0),
        node("Loop", ["T", "", *starts], [*(f"{name}T" for name in states), "y"], body=inner),
    ]
    inputs = {"x": ["T", "N", F], **{start: ["N", H] for start in starts}}
    outputs = [*(f"{name}T" for name in states), "y"]
    return make(outer, inputs, outputs, {**constants, "zero": np.int64(0)}, opset)


def unrolled(steps, constants, initial):
    """A model (N, STEPS, F) -> (N, STEPS, H) of STEPS steps; `steps(t, x)` gives the nodes of step t, its h is named {t}h."""
    nodes = (
        [
            node("Shape", ["x"], ["shape"]),
            node("Slice", ["shape", "begin", "end"], ["N"]),
            node("Concat", ["N", "H"], ["NH"], axis=0),
            node("ConstantOfShape", ["NH"], ["zeros"], value=numpy_helper.from_array(np.zeros(1, np.float32))),
        ]
        if initial
        else []
    )
    for t in range(STEPS):
        nodes += [
            node("Gather", ["x", f"at{t}"], [f"x{t}"], axis=1),
            *steps(t, f"x{t}"),
            node("Unsqueeze", [f"{t}h", "axis"], [f"{t}u"]),
        ]
    nodes.append(node("Concat", [f"{t}u" for t in range(STEPS)], ["y"], axis=1))
    numbers = {f"at{t}": np.int64(t) for t in range(STEPS)} | {
        "axis": np.array([1]),
        "begin": np.array([0]),
        "end": np.array([1]),
        "H": np.array([H]),
    }
    return make(nodes, {"x": ["N", STEPS, F]}, ["y"], {**constants, **numbers})


def recognised(model, feed, folder):
    """The graph after the passes, checked against ONNX Runtime and against the compiled program."""
    graph = axes.mark(passes.simplify(imported(model, folder)))
    expected = runtime_outputs(model, feed)
    for got in (reference.run(graph, feed), edgelstm.load(graph).run(feed)):
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array, atol=2e-5)
    return graph


def ops(graph):
    return [n.op for n in graph.nodes]


def states(rng, *names, batch=2):
    return {name: rng.standard_normal((batch, H)).astype(np.float32) for name in names}


def random_x(rng, *shape):
    return {"x": rng.standard_normal(shape).astype(np.float32)}


@pytest.mark.parametrize("order", ["ifgo", "iofg", "gfio"])
def test_an_lstm_in_a_loop(tmp_path, order, rng):
    model = loop(lstm_step("v", "h", "c", "n", order), {"h": "nh", "c": "nc"}, "nh", weights(rng, 4))
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0", "c0"), tmp_path)
    assert ops(graph) == ["lstm"]
    assert graph.notes[0].startswith("recognised the loop 'Loop_hT' as lstm with 4 units")


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("difference", [True, False])
def test_a_gru_in_a_loop(tmp_path, reset_after, difference, rng):
    model = loop(gru_step("v", "h", "n", reset_after, difference), {"h": "nh"}, "nh", weights(rng, 3))
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0"), tmp_path)
    assert ops(graph) == ["gru"]
    assert graph.nodes[0].attrs["reset_after"] is reset_after


@pytest.mark.parametrize("activation", ["Tanh", "Relu", "Softsign", "Elu", "HardSigmoid"])
def test_a_simple_rnn_in_a_loop(tmp_path, activation, rng):
    nodes = [
        node("MatMul", ["v", "W"], ["xw"]),
        node("MatMul", ["h", "R"], ["hr"]),
        node("Sum", ["xw", "hr", "b"], ["a"]),
        node(activation, ["a"], ["n"]),
    ]
    model = loop(nodes, {"h": "n"}, "n", weights(rng, 1))
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0"), tmp_path)
    assert ops(graph) == ["simple_rnn"]


def test_a_loop_that_walks_backwards(tmp_path, rng):
    nodes = [
        node("Sub", ["T", "i"], ["left"]),
        node("Sub", ["left", "unit"], ["at"]),
        node("Gather", ["x", "at"], ["w"], axis=0),
        *lstm_step("w", "h", "c", "n"),
    ]
    model = loop(nodes, {"h": "nh", "c": "nc"}, "nh", weights(rng, 4) | {"unit": np.int64(1)})
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0", "c0"), tmp_path)
    assert ops(graph) == ["lstm", "flip"]
    assert graph.nodes[0].attrs["reverse"] is True


@pytest.mark.parametrize("form", ["where", "products"])
def test_a_masked_lstm_in_a_loop(tmp_path, form, rng):
    read = [node("Gather", ["mask", "i"], ["m"], axis=0)]
    if form == "where":
        chosen = [node("Where", ["m", "nh", "h"], ["mh"]), node("Where", ["m", "nc", "c"], ["mc"])]
    else:
        chosen = [
            node("Cast", ["m"], ["mf"], to=FLOAT),
            node("Not", ["m"], ["masked"]),
            node("Cast", ["masked"], ["nof"], to=FLOAT),
        ]
        for s in "hc":
            chosen += [
                node("Mul", ["mf", f"n{s}"], [f"new{s}"]),
                node("Mul", [s, "nof"], [f"old{s}"]),
                node("Add", [f"new{s}", f"old{s}"], [f"m{s}"]),
            ]
    model = loop([*read, *lstm_step("v", "h", "c", "n"), *chosen], {"h": "mh", "c": "mc"}, "mh", weights(rng, 4))
    model.graph.input.append(helper.make_tensor_value_info("mask", BOOL, ["T", "N", 1]))
    feed = random_x(rng, 6, 2, F) | states(rng, "h0", "c0") | {"mask": rng.random((6, 2, 1)) < 0.6}
    graph = recognised(model, feed, tmp_path)
    assert "loop" in ops(graph)  # at masked steps this model shows its initial h, a recurrent node zeros
    model = with_zero_states(model)
    graph = recognised(model, {name: feed[name] for name in ("x", "mask")}, tmp_path)
    assert ops(graph) == ["squeeze", "transpose", "lstm"]


def with_zero_states(model):
    """The model with initial states of zero, made from the shape of x, in place of its state inputs."""
    graph = model.graph
    kept = [port for port in graph.input if port.name not in ("h0", "c0")]
    del graph.input[:]
    graph.input.extend(kept)
    made = [
        node("Slice", ["shape", "from", "to"], ["N"]),
        node("Concat", ["N", "H"], ["NH"], axis=0),
        *(
            node("ConstantOfShape", ["NH"], [name], value=numpy_helper.from_array(np.zeros(1, np.float32)))
            for name in ("h0", "c0")
        ),
    ]
    graph.node.extend(made)
    graph.initializer.extend(numpy_helper.from_array(np.array([n]), name) for name, n in (("from", 1), ("to", 2), ("H", H)))
    return model


def test_stacked_cells_in_one_loop(tmp_path, rng):
    second = [n for n in gru_step("nh", "g", "m")]
    for n in second:
        for i, name in enumerate(n.input):
            n.input[i] = {"W": "W2", "R": "R2", "b": "b2"}.get(name, name)
    more = {
        "W2": rng.standard_normal((H, 3 * H)).astype(np.float32),
        "R2": rng.standard_normal((H, 3 * H)).astype(np.float32) / 2,
        "b2": rng.standard_normal(3 * H).astype(np.float32),
    }
    model = loop([*lstm_step("v", "h", "c", "n"), *second], {"h": "nh", "c": "nc", "g": "mh"}, "mh", weights(rng, 4) | more)
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0", "c0", "g0"), tmp_path)
    assert ops(graph) == ["lstm", "gru"]


def test_an_unrolled_lstm_gets_its_time_axis_back(tmp_path, rng):
    model = unrolled(
        lambda t, x: lstm_step(x, f"{t - 1}h" if t else "zeros", f"{t - 1}c" if t else "zeros", f"{t}"), weights(rng, 4), True
    )
    graph = recognised(model, random_x(rng, 2, STEPS, F), tmp_path)
    assert ops(graph) == ["lstm"]
    assert graph.inputs[0].shape == ("N", "time", F)
    loaded = edgelstm.load(graph)
    x = rng.standard_normal((1, 9, F)).astype(np.float32)
    stream = loaded.stream()
    np.testing.assert_allclose([stream.step(frame) for frame in x[0]], loaded.predict(x)[0], atol=1e-6)


def test_an_unrolled_gru_that_walks_backwards(tmp_path, rng):
    def step(t, x):
        return gru_step(f"x{STEPS - 1 - t}", f"{t - 1}h" if t else "zeros", f"{t}")

    model = unrolled(step, weights(rng, 3), True)
    ordered = sorted(model.graph.node, key=lambda n: n.op_type != "Gather" or n.input[0] != "x")
    shapes = [n for n in ordered if n.op_type == "Shape"]
    rest = [n for n in ordered if n.op_type != "Shape"]
    del model.graph.node[:]
    model.graph.node.extend(shapes + rest)
    graph = recognised(model, random_x(rng, 2, STEPS, F), tmp_path)
    assert ops(graph) == ["gru", "flip"]
    assert graph.nodes[0].attrs["reverse"] is True


def changed_lstm(change):
    """Steps of an unrolled LSTM of which `change(t)` gives other arguments."""
    return lambda t, x: lstm_step(x, f"{t - 1}h" if t else "zeros", f"{t - 1}c" if t else "zeros", f"{t}", **change(t))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {"order": "figo"} if t == 3 else {},
        lambda t: {"W": "W_other"} if t == 2 else {},
        lambda t: {"order": "gfio"} if t == 0 else {},
    ],
    ids=["swapped gates in one step", "different weights at one step", "a different first step"],
)
def test_a_chain_with_another_step_is_left_alone(tmp_path, change, rng):
    constants = weights(rng, 4)
    constants["W_other"] = constants["W"].copy()
    constants["W_other"][1, 2] += 0.01
    graph = recognised(unrolled(changed_lstm(change), constants, True), random_x(rng, 2, STEPS, F), tmp_path)
    assert "lstm" not in ops(graph)
    assert graph.inputs[0].shape == ("N", STEPS, F)


def broken(nodes, op, output, **changes):
    """The nodes with one of them changed."""
    for n in nodes:
        if n.op_type == op and n.output[0] == output:
            for i, name in enumerate(n.input):
                n.input[i] = changes.get(name, name)
            return nodes
    raise KeyError(output)


@pytest.mark.parametrize(
    "nodes",
    [
        lambda: broken(lstm_step("v", "h", "c", "n"), "Mul", "nfc", c="h"),
        lambda: broken(lstm_step("v", "h", "c", "n"), "Mul", "nig", ng="c"),
        lambda: broken(lstm_step("v", "h", "c", "n"), "Tanh", "nt", nc="nig"),
    ],
    ids=["a state read twice", "the old state in place of a gate", "the output of another value"],
)
def test_a_loop_that_is_nearly_an_lstm_is_left_alone(tmp_path, nodes, rng):
    model = loop(nodes(), {"h": "nh", "c": "nc"}, "nh", weights(rng, 4))
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0", "c0"), tmp_path)
    assert ops(graph).count("loop") == 1
    assert not graph.notes


@pytest.mark.parametrize("one", [0.999, 1.01])
def test_a_gru_with_another_constant_is_left_alone(tmp_path, one, rng):
    model = loop(gru_step("v", "h", "n"), {"h": "nh"}, "nh", weights(rng, 3) | {"one": np.float32(one)})
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0"), tmp_path)
    assert ops(graph).count("loop") == 1


def test_a_loop_that_reads_every_other_step_is_left_alone(tmp_path, rng):
    nodes = [
        node("Mul", ["i", "two"], ["at"]),
        node("Mod", ["at", "T"], ["at2"]),
        node("Gather", ["x", "at2"], ["w"], axis=0),
        *lstm_step("w", "h", "c", "n"),
    ]
    model = loop(nodes, {"h": "nh", "c": "nc"}, "nh", weights(rng, 4) | {"two": np.int64(2)})
    graph = recognised(model, random_x(rng, 5, 2, F) | states(rng, "h0", "c0"), tmp_path)
    assert ops(graph).count("loop") == 1


def test_a_loop_that_may_cut_sequences_short_is_left_alone(tmp_path, rng):
    """At most 5000 steps: all of any shorter sequence, and not all of a longer one."""
    nodes = [
        node("Add", ["i", "unit"], ["count"]),
        node("Less", ["count", "T"], ["still_"]),
        *lstm_step("v", "h", "c", "n"),
    ]
    constants = weights(rng, 4) | {"unit": np.int64(1), "most": np.int64(5000)}
    model = loop(nodes, {"h": "nh", "c": "nc"}, "nh", constants)
    (loop_node,) = (n for n in model.graph.node if n.op_type == "Loop")
    loop_node.input[0] = "most"
    inner = loop_node.attribute[0].g
    (passed_on,) = (n for n in inner.node if n.output[0] == "still")
    passed_on.input[0] = "still_"
    graph = recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0", "c0"), tmp_path)
    assert ops(graph).count("loop") == 1
    model.graph.initializer.extend([numpy_helper.from_array(np.int64(2**62), "most_of_all")])
    loop_node.input[0] = "most_of_all"
    assert ops(recognised(model, random_x(rng, 6, 2, F) | states(rng, "h0", "c0"), tmp_path)) == ["lstm"]


def test_layers_that_share_weights_are_no_recurrence(tmp_path, rng):
    """Two dense layers over one input, as in a network of several towers."""
    nodes = [
        node("MatMul", ["x", "W"], ["a"]),
        node("Tanh", ["a"], ["h1"]),
        node("MatMul", ["h1", "R"], ["c"]),
        node("Tanh", ["c"], ["h2"]),
        node("MatMul", ["h2", "R"], ["d"]),
        node("Tanh", ["d"], ["y"]),
    ]
    graph = recognised(make(nodes, {"x": ["N", F]}, ["y"], weights(rng, 1)), random_x(rng, 2, F), tmp_path)
    assert "simple_rnn" not in ops(graph)


def test_the_guard_sees_a_difference(tmp_path, rng):
    one, other = (
        loop(lstm_step("v", "h", "c", "n", order), {"h": "nh", "c": "nc"}, "nh", weights(np.random.default_rng(0), 4))
        for order in ("ifgo", "figo")
    )
    graphs = [imported(model, tmp_path) for model in (one, other)]
    assert _agree(graphs[0], graphs[0])
    assert not _agree(*graphs)


CORPUS = os.environ.get("EDGELSTM_CORPUS")


@pytest.mark.skipif(not CORPUS, reason="EDGELSTM_CORPUS names no corpus")
def test_recurrences_of_the_corpus_become_native_nodes():
    from bench.recognition import models, outcome

    kinds = {model.parent.name: outcome(model)[0] for model in models(Path(CORPUS) / "public")}
    assert len(kinds) >= 90
    assert sum(kind == "native" for kind in kinds.values()) >= 0.95 * len(kinds), json.dumps(kinds, indent=1)
