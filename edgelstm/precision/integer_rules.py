"""Which nodes of a float32 graph have an integer-only form, and what they become."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from edgelstm import ops
from edgelstm.graph import Graph, Node
from edgelstm.ops.binary import Binary
from edgelstm.ops.logic import Logical
from edgelstm.ops.op import Fact
from edgelstm.ops.pointwise import Unary
from edgelstm.precision.integer_ranges import CELLS, MOVING, named_inputs

FUSED = ("relu", "sigmoid", "tanh")  # activations that a dense layer computes itself
_STANDARD = {"activation": "tanh", "recurrent_activation": "sigmoid", "cell_activation": "tanh", "clip": 0.0,
             "input_forget": False}


class Rules:
    """What the nodes of a graph become; `facts` is what is known of its values, `integer_ports` makes outputs integers."""

    def __init__(self, graph: Graph, facts: Mapping[str, Fact], integer_ports: bool) -> None:
        self._graph, self._facts = graph, facts
        self._readers = Counter(value for node in graph.nodes for value in node.inputs if value is not None)
        self._readers.update(port.value for port in graph.outputs)
        self._indexing = _only_used(graph, _indexes, shown=False)
        self._ending = _only_used(graph, _ends, shown=not integer_ports)

    def is_number(self, value: str | None) -> bool:
        """Whether a value is a float that depends on the data of an input and is computed with: it needs an integer form."""
        fact = self._facts.get(value)
        return fact is not None and fact.dtype == "float32" and fact.value is None and value not in self._indexing

    def is_index(self, value: str) -> bool:
        """Whether a float input holds nothing but indices."""
        return value in self._indexing

    def is_last(self, value: str) -> bool:
        """Whether a value goes nowhere but to float outputs of the model and to a softmax, so that 16 bits cost nothing."""
        return value in self._ending

    def fused(self) -> dict[str, Node]:
        """The activation that follows each dense node and is read by nobody else, by the name of the dense node."""
        writers = {node.outputs[0]: node for node in self._graph.nodes if node.op == "dense"}
        return {writers[node.inputs[0]].name: node for node in self._graph.nodes
                if node.op in FUSED and node.inputs[0] in writers and self._readers[node.inputs[0]] == 1}

    def variable(self, node: Node) -> int | None:
        """The number of the input that alone decides every element of a float node, one by one; None where there is none."""
        op = ops.get(node.op)
        if isinstance(op, Unary):
            return 0
        numbers = [i for i, name in enumerate(node.inputs) if self.is_number(name)]
        if not isinstance(op, Binary) or isinstance(op, Logical) or len(numbers) != 1:
            return None
        other = self._graph.constants.get(node.inputs[1 - numbers[0]])
        plain = other is not None and other.size == 1 and other.ndim <= self._facts[node.inputs[numbers[0]]].rank
        return numbers[0] if plain else None

    def problems(self) -> list[str]:
        """A line for every node that has no integer-only form."""
        found = ((node, self._problem(node)) for node in self._graph.nodes)
        return [f"node {node.name!r} ({node.op}): {why}" for node, why in found if why]

    def _problem(self, node: Node) -> str:
        if ops.get(node.op).controls:
            return "control flow"
        if not any(self.is_number(name) for name in node.outputs):
            reads = any(self.is_number(name) for name in node.inputs) and node.op not in ("shape", "size")
            return "it makes integers or truth values of computed floats" if reads else ""
        if node.op in MOVING:
            return self._moving_problem(node)
        if node.op in (*CELLS, "dense", "embedding"):
            return self._weights_problem(node)
        if node.op == "softmax":
            last = node.attrs["axis"] in (-1, self._facts[node.inputs[0]].rank - 1)
            return "" if last else f"axis {node.attrs['axis']}; the last axis alone is supported"
        return "" if self.variable(node) is not None else "its op has no integer form"

    def _moving_problem(self, node: Node) -> str:
        padding = self._graph.constants.get(named_inputs(node)["value"]) if node.op == "pad" else None
        return "it pads with a number other than 0" if padding is not None and np.any(padding != 0) else ""

    def _weights_problem(self, node: Node) -> str:
        named, attrs = named_inputs(node), node.attrs
        if attrs.get("precision", "float32") != "float32":
            return f"its weights are {attrs['precision']} already; give a float32 model"
        computed = [name for name in ("W", "R", "b", "rb", "table") if named.get(name) not in (None, *self._graph.constants)]
        if computed:
            return f"its {computed[0]} is computed, not a constant"
        other = [f"{name} {attrs[name]!r}" for name, usual in _STANDARD.items() if name in attrs and attrs[name] != usual]
        if node.op in CELLS and (other or named.get("peephole") is not None):
            return f"{other[0] if other else 'peepholes'}; cells with sigmoid and tanh alone have an integer form"
        return ""


def _only_used(graph: Graph, wanted: Callable[[Node, int, set[str]], bool], shown: bool) -> set[str]:
    """Values all of whose uses are `wanted(node, number of the input, values found so far)`, or, with `shown`, outputs."""
    chosen: set[str] = set()
    outputs = {port.value for port in graph.outputs}
    uses: dict[str, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        for i, name in enumerate(node.inputs):
            uses.setdefault(name, []).append((node, i))
    for value in [name for node in reversed(graph.nodes) for name in node.outputs] + [port.value for port in graph.inputs]:
        used = bool(uses.get(value)) or value in outputs
        if used and (shown or value not in outputs) and all(wanted(node, i, chosen) for node, i in uses.get(value, ())):
            chosen.add(value)
    return chosen


def _indexes(node: Node, number: int, chosen: set[str]) -> bool:
    """Whether an input of a node is an index, or moved to where it is one."""
    if node.op == "embedding":
        return number == 0
    if node.op == "cast":
        return node.attrs["to"] in ("int64", "int32") or node.outputs[0] in chosen
    return node.op in MOVING and number == 0 and node.outputs[0] in chosen


def _ends(node: Node, number: int, chosen: set[str]) -> bool:
    """Whether an input of a node is moved to an output of the model, or read by a softmax."""
    moved = node.op in MOVING and (number == 0 or node.op == "concat") and set(node.outputs) <= {*chosen, None}
    return moved or node.op == "softmax"
