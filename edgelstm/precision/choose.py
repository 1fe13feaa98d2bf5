"""Which layers get which precision: names of layers and precisions, as users write them, made into nodes."""

import re
from collections.abc import Mapping

from edgelstm import ops
from edgelstm.errors import PrecisionError
from edgelstm.graph import Graph, Node
from edgelstm.ops.stored import PRECISIONS

OTHERS = "*"


def weights_of(node: Node) -> dict[str, str]:
    """The values that hold a node's weights, by role; none for ops whose weights have no precision."""
    op = ops.get(node.op)
    if "precision" not in op.attrs:
        return {}
    named = dict(zip(op.roles(len(node.inputs)), node.inputs, strict=True))
    roles = [name.removesuffix("_scale?") for name in op.inputs if name.endswith("_scale?")]
    return {role: named[role] for role in roles}


def layers(graph: Graph) -> list[Node]:
    """The nodes whose weights can have a precision: constants, still in float32."""
    found = []
    for node in graph.nodes:
        arrays = [graph.constants.get(value) for value in weights_of(node).values()]
        if arrays and all(array is not None and str(array.dtype) == "float32" for array in arrays):
            found.append(node)
    return found


def resolve(graph: Graph, precision: str | Mapping[str, str]) -> dict[str, str]:
    """{node name: precision} for one precision of all layers, or for one of each named layer; other layers stay float32.

    A layer is named as its node, or by what stands before a slash in the names of its nodes (`lstm_1` of `lstm_1/forward`), or
    by the name it has inside another (`dense_3` of `time_distributed/dense_3`). The longest name that fits a node decides; `*`
    is all that no other name fits.
    Raises PrecisionError.
    """
    known = [node.name for node in layers(graph)]
    if isinstance(precision, str):
        return dict.fromkeys(known, _checked(precision, "all layers"))
    if not isinstance(precision, Mapping):
        raise PrecisionError(f"precision is {precision!r}; give one of {list(PRECISIONS)}, or {{layer name: precision}}")
    chosen: dict[str, str] = {}
    for layer, name in sorted(precision.items(), key=lambda item: (item[0] != OTHERS, len(str(item[0])))):
        checked = _checked(name, f"layer {layer!r}")
        chosen |= dict.fromkeys(known if layer == OTHERS else _named(str(layer), known, graph), checked)
    return {node: chosen[node] for node in known if node in chosen}


def _checked(precision: str, where: str) -> str:
    if precision not in PRECISIONS:
        raise PrecisionError(f"precision {precision!r} of {where} is not known; supported are {list(PRECISIONS)}")
    return precision


def _named(layer: str, known: list[str], graph: Graph) -> list[str]:
    """The nodes that a layer's name means. Raises PrecisionError."""
    again = r"(\.\d+)?"  # behind the name of a node whose name was taken, such as that of a layer called a second time
    name = re.escape(layer)
    for pattern in (rf"{name}{again}", rf"{name}{again}(/.*)?", rf"(.*/)?{name}{again}(/.*)?"):
        found = [node for node in known if re.fullmatch(pattern, node)]
        if found:
            return found
    others = [node.name for node in graph.nodes if re.fullmatch(rf"(.*/)?{name}{again}(/.*)?", node.name)]
    why = f"{others[0]!r} has no weights whose precision could be chosen" if others else f"the model has no layer {layer!r}"
    raise PrecisionError(f"{why}; its layers with weights are {known}")
