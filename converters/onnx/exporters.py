"""Files that an exporter is known to write wrongly: they are valid ONNX, but not the model that was trained."""

from typing import Any

from edgelstm_converters.onnx.model import Model, all_nodes


def exporter_notes(model: Model) -> list[str]:
    """A warning for every node that its exporter is known to have written wrongly, with the reason."""
    proto = model.proto
    exporter = f"{proto.producer_name} {proto.producer_version.partition(' ')[0]}".strip()
    suspect = next((check for name, check in _CHECKS.items() if proto.producer_name.startswith(name)), None)
    if suspect is None:
        return []
    reasons = ((node, suspect(node)) for node in all_nodes(proto.graph, *proto.functions))
    return [
        f"node {node.name or node.op_type!r} ({node.op_type}): {reason} (written by {exporter}); compare with the source model"
        for node, reason in reasons
        if reason
    ]


def _torch(node: Any) -> str | None:
    """torch.nn.GRU computes n = tanh(W x + r * (R h + b)), which is linear_before_reset=1 and nothing else."""
    if node.op_type == "GRU" and not _attribute(node, "linear_before_reset"):
        return (
            "linear_before_reset is 0, but PyTorch's GRU always applies its reset gate after the recurrent product, so "
            "the file computes something else than the trained model"
        )
    return None


def _tf2onnx(node: Any) -> str | None:
    """tf2onnx names the activations of every LSTM that it writes, but lost them where it merged two directions."""
    if node.op_type == "LSTM" and _attribute(node, "direction") == b"bidirectional" and not _attribute(node, "activations"):
        return (
            "it names no activations; tf2onnx drops them when it merges two directions, so the file is wrong for a layer "
            "with activations other than sigmoid and tanh"
        )
    return None


_CHECKS = {"pytorch": _torch, "tf2onnx": _tf2onnx}


def _attribute(node: Any, name: str) -> Any:
    """The value of an attribute of kind int, string or strings, None where it is missing."""
    for attribute in node.attribute:
        if attribute.name == name:
            return attribute.i or attribute.s or list(attribute.strings)
    return None
