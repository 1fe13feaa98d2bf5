"""Gives every layer its weights, as lists in the order Keras stores them, from either layout of the HDF5 file."""

from collections.abc import Callable
from typing import Any

import numpy as np
from edgelstm_converters.keras.architecture import LayerSpec
from edgelstm_converters.keras.container import Container
from edgelstm_converters.keras.hdf5 import WeightFile

from edgelstm.errors import FormatError

_CELL = ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "CuDNNLSTM", "CuDNNGRU")
_ATTENTION = ("query_dense", "key_dense", "value_dense", "output_dense")
_STATISTICS = ("moving_mean", "moving_variance", "mean", "variance", "count")


def assign_weights(model: LayerSpec, container: Container) -> None:
    """Fill `weights` of every layer. Raises FormatError naming the layer where file and architecture do not fit."""
    if container.layout == "tree":
        _assign_tree(model, container.weights, container.root)
    else:
        _assign_legacy(model, container.weights, container.root)
    for layer in model.walk():
        _check_finite(layer, container.label)


def _assign_tree(layer: LayerSpec, file: WeightFile, path: str) -> None:
    """Groups named after classes: every layer has `vars`, and wrapped layers a group each."""
    for key, child in layer.children.items():
        if key.startswith("layers/") and not file.has(f"{path}/layers"):
            key = key.replace("layers/", "_layer_checkpoint_dependencies/", 1)
        _assign_tree(child, file, f"{path}/{key}".lstrip("/"))
    parts = ("cell/",) if layer.kind in _CELL else ("",)
    if layer.kind == "MultiHeadAttention":
        parts = tuple(f"{part}/" for part in _ATTENTION)
    own = [_numbered(file, f"{path}/{part}vars") for part in parts]
    layer.weights = [array for arrays in own for array in arrays]


def _numbered(file: WeightFile, group: str) -> list[np.ndarray]:
    numbers = sorted(int(name) for name in file.children(group) if name.isdigit())
    if numbers != list(range(len(numbers))):
        raise FormatError(f"{file.label}: the group {group!r} holds the weights {numbers}, so some are missing")
    return [file.array(f"{group}/{number}") for number in numbers]


def _assign_legacy(model: LayerSpec, file: WeightFile, root: str) -> None:
    """Groups named after layers, each with the flat list of its weights in the attribute weight_names."""
    known = set(file.strings(root, "layer_names") or ())
    for layer in model.children.values():
        if layer.name not in known and layer.children:
            _assign_legacy(layer, file, root)  # Keras 1 stores the layers of inner models side by side with the others
            continue
        names = file.strings(f"{root}/{layer.name}", "weight_names") if layer.name in known else None
        arrays = [file.array(f"{root}/{layer.name}/{name}") for name in names or ()]
        _distribute(layer, arrays, file.label)


def _distribute(layer: LayerSpec, arrays: list[np.ndarray], label: str) -> None:
    """Share a flat list among a layer and all it wraps: first the trained weights of all, then frozen ones and statistics."""
    leaves = [leaf for leaf in layer.walk() if not leaf.children]
    if leaves == [layer]:
        layer.weights = arrays
        return
    declared = [(leaf, frozen) for leaf in leaves for frozen in _frozen(leaf, layer)]
    if len(declared) != len(arrays):
        raise FormatError(
            f"{label}: layer {layer.name!r} ({layer.kind}) has {len(arrays)} weights in the file; "
            f"its configuration asks for {len(declared)}"
        )
    order = [leaf for leaf, frozen in declared if not frozen] + [leaf for leaf, frozen in declared if frozen]
    for leaf in leaves:
        leaf.weights = [array for owner, array in zip(order, arrays, strict=True) if owner is leaf]


def _frozen(leaf: LayerSpec, top: LayerSpec) -> list[bool]:
    """For each weight of a layer whether Keras lists it behind the trained ones."""
    names = _VARIABLES.get(leaf.kind, lambda config: [])(leaf.config)
    frozen = leaf.config.get("trainable", True) is False or top.config.get("trainable", True) is False
    return [frozen or name in _STATISTICS for name in names]


def _recurrent(config: dict[str, Any]) -> list[str]:
    return ["kernel", "recurrent_kernel", *_bias(config)]


def _gated(gates: int) -> Callable[[dict[str, Any]], list[str]]:
    """Keras 1 stores a kernel, a recurrent kernel and a bias for each gate unless it was built for a GPU."""
    return lambda config: ["gate"] * 3 * gates if config.get("consume_less") in ("cpu", "mem") else _recurrent(config)


def _bias(config: dict[str, Any]) -> list[str]:
    return ["bias"] if config.get("use_bias", True) else []


def _scaled(config: dict[str, Any]) -> list[str]:
    return ["gamma"] * bool(config.get("scale", True)) + ["beta"] * bool(config.get("center", True))


def _kernel(config: dict[str, Any]) -> list[str]:
    return ["kernel", *_bias(config)]


_VARIABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "LSTM": _gated(4),
    "GRU": _gated(3),
    **dict.fromkeys(("SimpleRNN", "SimpleRNNCell", "CuDNNLSTM", "CuDNNGRU", "LSTMCell", "GRUCell", "ConvLSTM1D"), _recurrent),
    **dict.fromkeys(("Dense", "Conv1D"), _kernel),
    "DepthwiseConv1D": _kernel,
    "SeparableConv1D": lambda config: ["depthwise_kernel", "pointwise_kernel", *_bias(config)],
    "Embedding": lambda config: ["embeddings"],
    "BatchNormalization": lambda config: [*_scaled(config), "moving_mean", "moving_variance"],
    "LayerNormalization": _scaled,
    "GroupNormalization": _scaled,
    "Normalization": lambda config: [] if config.get("mean") is not None else ["mean", "variance", "count"],
    "PReLU": lambda config: ["alpha"],
    "Attention": lambda config: ["scale"] * bool(config.get("use_scale")) + ["weight"] * (config.get("score_mode") == "concat"),
    "AdditiveAttention": lambda config: ["scale"] * bool(config.get("use_scale", True)),
    "MultiHeadAttention": lambda config: [name for part in _ATTENTION for name in (part, *_bias(config))],
}


def _check_finite(layer: LayerSpec, label: str) -> None:
    for array in layer.weights:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FormatError(
                f"{label}: layer {layer.name!r} ({layer.kind}) holds weights that are not finite "
                f"(shape {array.shape}); the training diverged or the file is damaged"
            )
