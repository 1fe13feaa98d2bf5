"""Writes control flow out: for concrete shapes, branches and iterations take the place of if_else and loop nodes."""

from collections.abc import Mapping, Sequence

import numpy as np

from edgelstm import control_flow, ops
from edgelstm.errors import UnsupportedError
from edgelstm.facts import infer_node
from edgelstm.graph import Graph, Node
from edgelstm.ops.op import Body, Fact
from edgelstm.record import changed

MOST_NODES = 200_000


def expand(graph: Graph, shapes: Mapping[str, Sequence[int]], *, loops: bool = True) -> Graph:
    """The graph without control flow, for inputs of these shapes; the graph itself when it has none.

    `loops=False` leaves loops as they are and only chooses branches. Raises UnsupportedError where control flow depends on the
    data, or where more than MOST_NODES nodes would come of it.
    """
    if not any(ops.get(node.op).controls for node in graph.nodes):
        return graph
    writer = Writer({name: Fact(array.shape, str(array.dtype), array) for name, array in graph.constants.items()}, loops)
    for port in graph.inputs:
        writer.facts[port.value] = Fact(tuple(shapes[port.name]), port.dtype, None, frozenset({port.name}))
    for node in graph.nodes:
        writer.write(node)
    outputs = [changed(port, value=writer.meaning.get(port.value, port.value)) for port in graph.outputs]
    return changed(graph, nodes=tuple(writer.nodes), constants={**graph.constants, **writer.constants}, outputs=tuple(outputs))


class Writer:
    """Collects straight-line nodes. `meaning` maps the outputs of control flow to the values that they turned out to be."""

    def __init__(self, facts: dict[str, Fact], loops: bool = True) -> None:
        self.facts = facts
        self._loops = loops
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.meaning: dict[str, str] = {}

    def write(self, node: Node) -> None:
        """Append a node, or what stands for it."""
        inputs = tuple(None if name is None else self.meaning.get(name, name) for name in node.inputs)
        node = changed(node, inputs=inputs)
        if not ops.get(node.op).controls or (node.op == "loop" and not self._loops):
            self._append(node)
            return
        outs = self._branch(node) if node.op == "if_else" else self.iterations(node)
        self.meaning.update((name, out) for name, out in zip(node.outputs, outs, strict=False) if name is not None)

    def iterations(self, node: Node, trips: int | None = None) -> list[str]:
        """Append the iterations of a loop, as many as it runs or `trips`. Gives the values of its outputs."""
        trips = control_flow.trip_count(node, self.facts, infer_node) if trips is None else trips
        body, n_carried = node.attrs["body"], node.attrs["carried"]
        carried, captured = list(node.inputs[2 : 2 + n_carried]), node.inputs[2 + n_carried :]
        if not trips:
            return carried + self._empty(node)
        stacked: list[list[str]] = [[] for _ in body.outputs[1 + n_carried :]]
        condition = self._constant(f"{node.name}/condition", np.asarray(True))
        for trip in range(trips):
            number = self._constant(f"{node.name}/{trip}/iteration", np.asarray(trip, np.int64))
            outs = self._inline(f"{node.name}/{trip}", body, [number, condition, *carried, *captured])
            carried = outs[1 : 1 + n_carried]
            for parts, out in zip(stacked, outs[1 + n_carried :], strict=True):
                parts.append(out)
        return carried + [self._stack(f"{node.name}/stack{k}", parts) for k, parts in enumerate(stacked)]

    def _branch(self, node: Node) -> list[str]:
        body = control_flow.taken(node, self.facts)
        return self._inline(node.name, body, node.inputs[1:])

    def _inline(self, prefix: str, body: Body, values: Sequence[str]) -> list[str]:
        names = dict(zip(body.inputs, values, strict=True))
        names.update((out, f"{prefix}/{out}") for inner in body.nodes for out in inner.outputs if out is not None)
        for inner in body.nodes:
            inputs = tuple(None if name is None else names[name] for name in inner.inputs)
            outputs = tuple(None if name is None else names[name] for name in inner.outputs)
            self.write(Node(f"{prefix}/{inner.name}", inner.op, inputs, outputs, inner.attrs))
        return [self.meaning.get(names[name], names[name]) for name in body.outputs]

    def _stack(self, name: str, parts: Sequence[str]) -> str:
        """The parts one after the other along a new first axis."""
        rows = [f"{name}/{i}" for i in range(len(parts))]
        for row, part in zip(rows, parts, strict=True):
            self._append(Node(row, "unsqueeze", (part,), (row,), {"axes": (0,)}))
        self._append(Node(name, "concat", tuple(rows), (name,), {"axis": 0}))
        return name

    def _empty(self, node: Node) -> list[str]:
        """What a loop stacks when it does not run once."""
        body, first = node.attrs["body"], control_flow.first_step(node, self.facts, infer_node)
        shown = [first[name] for name in body.outputs[1 + node.attrs["carried"] :]]
        return [self._constant(f"{node.name}/stack{k}", np.zeros((0, *fact.shape), fact.dtype)) for k, fact in enumerate(shown)]

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.constants[name] = array
        self.facts[name] = Fact(array.shape, str(array.dtype), array)
        return name

    def _append(self, node: Node) -> None:
        if len(self.nodes) >= MOST_NODES:
            raise UnsupportedError(
                f"node {node.name!r}: written out, the loops of this model come to more than {MOST_NODES} "
                "nodes; use shorter sequences, or export the model with LSTM, GRU or RNN nodes"
            )
        self.facts.update(infer_node(node, self.facts))
        self.nodes.append(node)
