"""One recurrent layer with seeded weights, for every runtime from the same numbers.

Weights are normal with standard deviation 1 / sqrt(units), drawn in the order W, R, b, rb; gates lie along the first axis in
the order i f g o (LSTM) and z r n (GRU), so that a layer of the same op and size is the same in every file and process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgelstm import axes, reference
from edgelstm.builder import GraphBuilder
from edgelstm.graph import Graph

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
ONNX_OPS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "RNN"}
ONNX_GATES = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2), "simple_rnn": (0,)}  # i o f c, z r h
TORCH_GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "simple_rnn": (0,)}  # i f g o, r z n


@dataclass(frozen=True)
class Cell:
    """A layer: `op` is lstm, gru (reset_after) or simple_rnn. It may be stacked and run in both directions."""

    op: str
    features: int
    units: int
    layers: int = 1
    directions: int = 1

    @property
    def size(self) -> str:
        return f"{self.features},{self.units}"

    @cached_property
    def weights(self) -> list[list[tuple[np.ndarray, ...]]]:
        """W (G H, F), R (G H, H), b (G H,) of every direction of every layer; a GRU has rb (G H,) too."""
        rng = np.random.default_rng(1000 * self.features + self.units)
        rows = GATES[self.op] * self.units
        drawn = []
        for layer in range(self.layers):
            width = self.features if layer == 0 else self.directions * self.units
            shapes = [(rows, width), (rows, self.units), (rows,), (rows,)][: 4 if self.op == "gru" else 3]
            drawn.append([tuple((rng.standard_normal(shape) / np.sqrt(self.units)).astype(np.float32) for shape in shapes)
                          for _ in range(self.directions)])
        return drawn

    @cached_property
    def graph(self) -> Graph:
        """x (batch, time, F) -> y (batch, time, directions H)."""
        builder = GraphBuilder()
        value = builder.input("x", "float32", ("batch", "time", self.features))
        for layer in self.weights:
            ways = [builder.add(self.op, value, *(builder.constant(array.T) for array in weights), reverse=bool(way))
                    for way, weights in enumerate(layer)]
            value = ways[0] if len(ways) == 1 else builder.add("concat", *ways, axis=2)
        builder.output("y", value)
        return axes.mark(builder.build())

    def expected(self, x: np.ndarray) -> np.ndarray:
        """The float64 reference: x (batch, time, F) -> (batch, time, directions H)."""
        return reference.run(self.graph, {"x": x})["y"]

    @property
    def weight_bytes(self) -> tuple[int, int]:
        """float32 bytes of the input weights W, and of the recurrent weights R, of all layers and directions."""
        flat = [weights for layer in self.weights for weights in layer]
        return sum(w[0].nbytes for w in flat), sum(w[1].nbytes for w in flat)


def reordered(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Gate blocks along the first axis in another order."""
    return np.concatenate([np.split(array, len(order))[gate] for gate in order])


def onnx_bytes(cell: Cell, states: bool) -> bytes:
    """An ONNX file: x (T, B, F) -> y; with `states` also h0, c0 -> hn, cn (1, B, H), for one layer in one direction."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, initial, value = [], [], "x"
    for number, layer in enumerate(cell.weights):
        names = [f"{kind}{number}" for kind in "WRB"]
        initial += [numpy_helper.from_array(array, name)
                    for array, name in zip(_onnx_weights(cell.op, layer), names, strict=True)]
        carried = ["h", "c"][: 2 if cell.op == "lstm" else 1] if states else []
        attrs = {"linear_before_reset": 1} if cell.op == "gru" else {}
        way = "bidirectional" if cell.directions == 2 else "forward"
        nodes.append(helper.make_node(
            ONNX_OPS[cell.op], [value, *names, "", *(f"{s}0" for s in carried)], [f"Y{number}", *(f"{s}n" for s in carried)],
            hidden_size=cell.units, direction=way, **attrs))
        nodes.append(helper.make_node("Transpose", [f"Y{number}"], [f"t{number}"], perm=[0, 2, 1, 3]))
        last = number == cell.layers - 1
        nodes.append(helper.make_node("Reshape", [f"t{number}", "joined"], [value := "y" if last else f"y{number}"]))
    initial.append(numpy_helper.from_array(np.array([0, 0, cell.directions * cell.units], np.int64), "joined"))

    def info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    state = [1, "B", cell.units]
    graph = helper.make_graph(
        nodes, "cell", [info("x", ["T", "B", cell.features]), *(info(f"{s}0", state) for s in carried)],
        [info("y", ["T", "B", cell.directions * cell.units]), *(info(f"{s}n", state) for s in carried)], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _onnx_weights(op: str, layer: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """W, R and B (both biases side by side) with a first axis of directions."""
    order, stacked = ONNX_GATES[op], []
    for weights in layer:
        W, R, b, *rest = (reordered(array, order) for array in weights)
        stacked.append((W, R, np.concatenate([b, rest[0] if rest else np.zeros_like(b)])))
    return [np.stack(arrays) for arrays in zip(*stacked, strict=True)]
