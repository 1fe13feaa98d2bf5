"""Signed files of reduced precision whose content does not fit together: one clear error, and no read beyond an array."""

import json

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import EdgeLSTMError, PrecisionError, ShapeError
from edgelstm.format import to_bytes
from edgelstm.format.container import decode, encode
from edgelstm.ops import integer_formulas as formulas
from edgelstm.ops.conv1d import Conv1d
from edgelstm.ops.dense import Dense
from edgelstm.ops.op import Fact, check_attrs
from edgelstm.ops.stored import MOST_INPUTS
from tests.conftest import Layers
from tests.test_precision_streams import GATES, REDUCED, graph_of

INTS = ("uint8", "bool", "int8", "int16", "int32", "int64")
NOT_SCALES = (np.nan, np.inf, -np.inf)


def altered(graph, change):
    """The model of the graph's file after `change(graph JSON, tensors)`, with a right checksum."""
    text, tensors = decode(to_bytes(graph))
    described, tensors = json.loads(text), {name: np.array(array) for name, array in tensors.items()}
    change(described, tensors)
    return edgelstm.load(encode(json.dumps(described), tensors))


def refused(graph, change, match, shape=(1, 2, 5)):
    """The model says what is wrong at the latest when it first runs."""
    with pytest.raises(EdgeLSTMError, match=match):
        model = altered(graph, change)
        model.predict(np.zeros(shape, model.inputs[0].dtype))


def scales_of(tensors):
    return [name for name in tensors if name.endswith("/scale")]


@pytest.mark.parametrize("dtype", INTS)
@pytest.mark.parametrize("precision", ["float32", "int8", "int4", "bfloat16"])
@pytest.mark.parametrize("cell", sorted(GATES))
def test_an_input_of_another_width_is_never_read_as_floats(cell, precision, dtype):
    refused(graph_of(cell, 17, 5, precision), lambda described, _: described["inputs"][0].update(dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int64"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_so_are_inputs_and_biases_of_a_dense_layer(precision, dtype):
    net = Layers()
    graph = net.graph(y=net.dense(net.builder.input("x", "float32", ("batch", "time", 5)), 3))
    graph = edgelstm.precision.apply(graph, {"dense": precision})
    refused(graph, lambda described, _: described["inputs"][0].update(dtype=dtype), dtype)

    def bias(_, tensors):
        tensors["constant/w.1"] = tensors["constant/w.1"].astype(dtype)

    refused(graph, bias, f"the bias is {dtype}")


@pytest.mark.parametrize("value", NOT_SCALES)
@pytest.mark.parametrize("precision", ["int8", "int8-static", "int4", "integer", "integer-ports"])
@pytest.mark.parametrize("cell", sorted(GATES))
def test_scales_are_finite(cell, precision, value):
    graph = graph_of(cell, 5, 5, precision)
    bits = np.float32(value).view(np.uint32) >> 16

    def spoil(name):
        def change(_, tensors):
            tensors[name].flat[-1] = bits if tensors[name].dtype == np.uint16 else value
        return change

    for name in scales_of(decode(to_bytes(graph))[1]):
        refused(graph, spoil(name), "NaN")


@pytest.mark.parametrize("value", [-1.0, *NOT_SCALES])
def test_integer_factors_are_positive(value):
    with pytest.raises(EdgeLSTMError, match="negative, infinite or NaN"):
        formulas.rescale_words(np.array([0.5, value]), 128)


@pytest.mark.parametrize("grouped", [-5, -1, 0, 3, 6, 33, 2**40, 1e30])
def test_grouped_is_what_the_matrix_has(grouped):
    def change(described, _):
        described["nodes"][0]["attrs"]["grouped"] = grouped

    refused(graph_of("lstm", 5, 5, "int4"), change, "grouped|shape")
    net = Layers()
    table = net.builder.constant(net.rng.standard_normal((7, 5)).astype(np.float32), "table")
    y = net.builder.add("embedding", net.builder.input("tokens", "int64", ("batch", "time")), table, name="table")
    graph = edgelstm.precision.apply(net.graph(y=y), {"table": "int4"})
    if grouped not in (3, 6):  # other widths that one group can have
        refused(graph, change, "grouped|shape", (1, 2))


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("cell", sorted(GATES))
def test_weights_that_are_no_matrices_are_counted_and_refused(cell, precision):
    graph = graph_of(cell, 5, 5, precision)
    for name in [name for name, array in graph.constants.items() if array.ndim == 2]:
        def flatten(_, tensors, name=f"constant/{name}"):
            tensors[name] = tensors[name].ravel()

        def computed(described, tensors, name=name):
            array = tensors.pop(f"constant/{name}")
            port = {"name": "w", "dtype": str(array.dtype).replace("uint16", "int16"), "shape": list(array.shape)}
            described["inputs"].append({**port, "value": name, "batch": None, "time": None})

        refused(graph, flatten, "axes|weights|shape")
        for change in (flatten, computed):
            assert altered(graph, change).graph.parameters >= 0


@pytest.mark.parametrize("new", [{"stride": 2**62}, {"dilation": 2**62}, {"padding": "explicit", "pads": (2**40, 0)},
                                 {"stride": 1e300}])
def test_windows_of_a_convolution_fit_64_bits(new):
    facts = [Fact((1, 9, 2), "float32"), Fact((3, 2, 4), "float32"), None, None, None]
    with pytest.raises(EdgeLSTMError, match="window"):
        Conv1d().infer(check_attrs(Conv1d(), {"padding": "causal", **new}), facts)


def test_sums_of_int8_stay_within_32_bits():
    """Conversion says so too, and names the layer."""
    n_in = MOST_INPUTS + 1
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", n_in))
    graph = net.graph(y=net.builder.add("dense", x, net.builder.constant(np.ones((n_in, 1), np.float32), "w"), name="dense"))
    with pytest.raises(PrecisionError, match=f"'dense'.*sums {n_in} products"):
        edgelstm.precision.apply(graph, {"dense": "int8"})
    facts = [Fact((1, n_in), "float32"), Fact((n_in, 1), "int8"), None, Fact((1,), "float32"), None]
    with pytest.raises(ShapeError, match=f"sums {n_in} products"):
        Dense().infer(check_attrs(Dense(), {"precision": "int8"}), facts)
