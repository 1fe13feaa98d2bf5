"""Writes the trained forecaster as ONNX: standard LSTM nodes whose states are inputs and outputs of the model.

Keras exports a stateful model with its state baked in, so the graph is built here, node by node.
"""

from collections.abc import Mapping

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
KERAS_GATES = "ifco"
ONNX_GATES = "iofc"


def reorder_gates(array: np.ndarray) -> np.ndarray:
    """Brings the four gates, side by side on the last axis, from the order of Keras into the order of ONNX."""
    gates = dict(zip(KERAS_GATES, np.split(array, 4, axis=-1), strict=True))
    return np.concatenate([gates[name] for name in ONNX_GATES], axis=-1)


def lstm_initializers(layer: keras.layers.LSTM) -> dict[str, np.ndarray]:
    """The W, R and B tensors of an ONNX LSTM node, each with its leading axis of one direction."""
    kernel, recurrent, bias = (reorder_gates(weight) for weight in layer.get_weights())
    return {
        f"{layer.name}_W": kernel.T[None],
        f"{layer.name}_R": recurrent.T[None],
        f"{layer.name}_B": np.concatenate([bias, np.zeros_like(bias)])[None],
    }


def lstm_nodes(layer: keras.layers.LSTM, source: str, target: str) -> list[onnx.NodeProto]:
    """One LSTM over (time, batch, features) and the removal of its directions axis."""
    name = layer.name
    inputs = [source, f"{name}_W", f"{name}_R", f"{name}_B", "", f"{name}_h0", f"{name}_c0"]
    outputs = [f"{name}_Y", f"{name}_hn", f"{name}_cn"]
    return [
        helper.make_node("LSTM", inputs, outputs, name=name, hidden_size=layer.units),
        helper.make_node("Squeeze", [f"{name}_Y", "directions_axis"], [target], name=f"{name}_squeeze"),
    ]


def state_values(layers: list[keras.layers.LSTM], suffixes: tuple[str, str]) -> list[onnx.ValueInfoProto]:
    """Declares one pair of states a layer, shape (1, batch, units)."""
    return [
        helper.make_tensor_value_info(f"{layer.name}_{suffix}", TensorProto.FLOAT, [1, "batch", layer.units])
        for layer in layers
        for suffix in suffixes
    ]


def make_model(nodes, initializers: Mapping[str, np.ndarray], inputs, outputs) -> onnx.ModelProto:
    """Assembles and checks the model."""
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in initializers.items()]
    graph = helper.make_graph(nodes, "co2_forecast", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def onnx_forecaster(model: keras.Model) -> onnx.ModelProto:
    """The ONNX form of a stack of LSTM layers and one Dense layer, with dynamic batch and time."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    dense = model.layers[-1]
    source, target = model.inputs[0].name, dense.name
    kernel, bias = dense.get_weights()

    initializers = {"directions_axis": np.array([1]), "dense_kernel": kernel, "dense_bias": bias}
    nodes = [helper.make_node("Transpose", [source], ["sequence_0"], perm=[1, 0, 2])]
    for index, layer in enumerate(layers):
        initializers |= lstm_initializers(layer)
        nodes += lstm_nodes(layer, f"sequence_{index}", f"sequence_{index + 1}")
    nodes += [
        helper.make_node("Transpose", [f"sequence_{len(layers)}"], ["features"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["features", "dense_kernel"], ["product"]),
        helper.make_node("Add", ["product", "dense_bias"], [target]),
    ]
    frame = helper.make_tensor_value_info(source, TensorProto.FLOAT, ["batch", "time", model.input_shape[-1]])
    forecast = helper.make_tensor_value_info(target, TensorProto.FLOAT, ["batch", "time", dense.units])
    return make_model(
        nodes,
        initializers,
        [frame, *state_values(layers, ("h0", "c0"))],
        [forecast, *state_values(layers, ("hn", "cn"))],
    )
