"""A whole graph in float64 NumPy, op by op from the equations: the oracle, and a backend for devices without a compiler."""

from collections.abc import Mapping

import numpy as np

from edgelstm import ops
from edgelstm.expand import expand
from edgelstm.facts import Compute, evaluate, infer
from edgelstm.graph import Graph
from edgelstm.ops.op import Noise


def run(graph: Graph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every output by name; float outputs are float64. `inputs` holds every input by name, in the port's dtype."""
    return _run(graph, inputs, None)


def run_rounded(graph: Graph, inputs: Mapping[str, np.ndarray], noise: Noise | None = None) -> dict[str, np.ndarray]:
    """The same with activations rounded where kernels of reduced precision round them, `noise` added to them before."""
    return _run(graph, inputs, lambda op, attrs, ins: op.rounded(attrs, ins, noise))


def _run(graph: Graph, inputs: Mapping[str, np.ndarray], compute: Compute | None) -> dict[str, np.ndarray]:
    shapes = {name: np.shape(array) for name, array in inputs.items()}
    graph = expand(graph, shapes)
    facts = infer(graph, shapes)
    values: dict[str, np.ndarray] = dict(graph.constants)
    for port in graph.inputs:
        array = np.asarray(inputs[port.name], port.dtype)
        values[port.value] = array.astype(np.float64) if port.dtype == "float32" else array
    for node in graph.nodes:
        ins = [None if name is None else values[name] for name in node.inputs]
        outs = _known(node, facts) or evaluate(ops.get(node.op), node, ins, compute)
        values.update((name, out) for name, out in zip(node.outputs, outs, strict=False) if name is not None)
    return {port.name: values[port.value] for port in graph.outputs}


def _known(node, facts) -> list[np.ndarray]:
    """The outputs of a node that follow from shapes alone, else an empty list."""
    found = [None if name is None else facts[name].value for name in node.outputs]
    is_shape_arithmetic = all(value is not None and value.dtype != np.float32 for value in found)
    return found if is_shape_arithmetic else []
