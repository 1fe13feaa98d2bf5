"""The architecture of a Keras model in one neutral form, read from the JSON dialects of Keras 1, 2 and 3."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from edgelstm_converters.keras.keras1 import modern

from edgelstm.errors import FormatError

MODELS = ("Sequential", "Functional", "Model")
MAX_DEPTH = 32
_PARTS = {"Bidirectional": ("layer", "backward_layer"), "TimeDistributed": ("layer",), "RNN": ("cell",)}
_TREE_NAMES = {("Bidirectional", "layer"): "forward_layer"}


@dataclass(frozen=True)
class Ref:
    """One tensor of a functional model: output `index` of the call number `node` of a layer."""

    layer: str
    node: int
    index: int


@dataclass
class Inbound:
    """One call of a layer. Arguments are nested lists and dicts of constants and Refs."""

    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class LayerSpec:
    """One layer. `kind` is its class, with "ops." before a Keras 3 operation and "tf." before a TensorFlow function.

    `children` are the layers it wraps, keyed by the group that holds their weights in a tree layout.
    """

    name: str
    kind: str
    config: dict[str, Any]
    calls: list[Inbound] = field(default_factory=list)
    children: dict[str, "LayerSpec"] = field(default_factory=dict)
    model: "ModelSpec | None" = None
    weights: list[np.ndarray] = field(default_factory=list)

    def walk(self) -> Iterator["LayerSpec"]:
        """This layer and everything below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()


@dataclass
class ModelSpec:
    """Layers in the order of the file. `inputs` and `outputs` are (name, Ref), both empty for a Sequential model."""

    layers: list[LayerSpec]
    inputs: list[tuple[str, Ref]] = field(default_factory=list)
    outputs: list[tuple[str, Ref]] = field(default_factory=list)
    sequential: bool = False


def parse_model(architecture: dict[str, Any], major: int) -> LayerSpec:
    """The whole model as one LayerSpec. Raises FormatError where the JSON is no description of a model."""
    if architecture.get("class_name") not in MODELS:
        raise FormatError(
            f"the architecture describes {architecture.get('class_name')!r}, which is not a model; "
            f"supported are {', '.join(MODELS)} (a subclassed model has no readable architecture)"
        )
    return _parse_layer(architecture, major, 0)


def model_name(spec: LayerSpec) -> str:
    """The group of a model or layer in a tree layout: its class in snake case."""
    plain = re.sub(r"\W+", "", spec.kind)
    split = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", plain)
    return re.sub("([a-z])([A-Z])", r"\1_\2", split).lower()


def _parse_layer(entry: Any, major: int, depth: int) -> LayerSpec:
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise FormatError(f"the architecture has {_short(entry)} where a layer with a class_name belongs")
    if depth > MAX_DEPTH:
        raise FormatError(f"the architecture nests layers deeper than {MAX_DEPTH}")
    if major == 1:
        entry = modern(entry)
    config = entry.get("config", {})
    if isinstance(config, list):
        config = {"layers": config}
    if not isinstance(config, dict):
        raise FormatError(f"the config of a {entry['class_name']} layer is {_short(config)}, not a dictionary")
    name = config.get("name") or entry.get("name") or entry["class_name"].lower()
    spec = LayerSpec(str(name), _kind(entry, config), config, _calls(entry.get("inbound_nodes"), str(name)))
    if spec.kind in MODELS:
        spec.model = _model_spec(spec, major, depth)
        spec.children = _tree_children(spec.model.layers, "layers/")
        spec.config = {"trainable": config.get("trainable", True)}
    else:
        spec.children = _wrapped(spec, major, depth)
    return spec


def _kind(entry: dict[str, Any], config: dict[str, Any]) -> str:
    name = entry["class_name"]
    if str(entry.get("module") or "").startswith("keras.src.ops") or _is_bare_operation(entry, config):
        return f"ops.{name}"
    if name in ("TFOpLambda", "SlicingOpLambda"):
        return f"tf.{config.get('function')}"
    return name


def _is_bare_operation(entry: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether an entry is an operation of Keras 3 in an HDF5 file, which names no modules: only layers can be trained."""
    nodes = entry.get("inbound_nodes")
    called = isinstance(nodes, list) and any(isinstance(node, dict) for node in nodes)
    return called and "module" not in entry and "trainable" not in config and entry["class_name"] not in MODELS


def _wrapped(spec: LayerSpec, major: int, depth: int) -> dict[str, LayerSpec]:
    """The layers that a wrapper or a cell container holds."""
    keys = [key for key in _PARTS.get(spec.kind, ()) if spec.config.get(key) is not None]
    children = {_TREE_NAMES.get((spec.kind, key), key): _parse_layer(spec.config[key], major, depth + 1) for key in keys}
    if spec.kind == "Bidirectional" and "forward_layer" in children and "backward_layer" not in children:
        children["backward_layer"] = _reversed(spec.config["layer"], major, depth)
    if spec.kind in ("StackedRNNCells", "RNN") and isinstance(cells := spec.config.get("cells"), list):
        children |= _tree_children([_parse_layer(cell, major, depth + 1) for cell in cells], "cells/")
    if spec.kind == "Merge" and isinstance(branches := spec.config.get("layers"), list):
        children |= {f"layers/{i}": _parse_layer(branch, major, depth + 1) for i, branch in enumerate(branches)}
    return children


def _reversed(entry: dict[str, Any], major: int, depth: int) -> LayerSpec:
    """The backward layer that a file leaves out: the forward one with its direction turned round."""
    backward = _parse_layer(entry, major, depth + 1)
    backward.config = backward.config | {"go_backwards": not backward.config.get("go_backwards", False)}
    return backward


def _tree_children(layers: list[LayerSpec], prefix: str) -> dict[str, LayerSpec]:
    """Layers keyed by class in snake case and a counter, as Keras 3 names their groups."""
    seen: Counter[str] = Counter()
    children: dict[str, LayerSpec] = {}
    for number, layer in enumerate(layers):
        name = f"operation:{number}" if layer.kind.startswith("ops.") else model_name(_as_stored(layer))
        children[f"{prefix}{name}_{seen[name]}" if seen[name] else f"{prefix}{name}"] = layer
        seen[name] += 1
    return children


def _as_stored(layer: LayerSpec) -> LayerSpec:
    if not layer.kind.startswith("tf."):
        return layer
    return LayerSpec(layer.name, "SlicingOpLambda" if layer.kind.endswith("getitem") else "TFOpLambda", {})


def _model_spec(spec: LayerSpec, major: int, depth: int) -> ModelSpec:
    entries = spec.config.get("layers")
    if not isinstance(entries, list) or not entries:
        raise FormatError(f"the model {spec.name!r} has no layers")
    layers = [_parse_layer(entry, major, depth + 1) for entry in entries]
    name, uses = Counter(layer.name for layer in layers).most_common(1)[0]
    if uses > 1:
        raise FormatError(f"{uses} layers of the model {spec.name!r} are called {name!r}; names are unique in a Keras model")
    if spec.kind == "Sequential":
        first = next((layer for layer in layers if "batch_shape" in layer.config or "batch_input_shape" in layer.config), None)
        if first is None and (shape := spec.config.get("build_input_shape")):
            layers[0].config = {"batch_shape": shape} | layers[0].config
        return ModelSpec(layers, sequential=True)
    return ModelSpec(layers, _ports(spec, "input_layers"), _outputs(spec, major))


def _outputs(spec: LayerSpec, major: int) -> list[tuple[str, Ref]]:
    """output_layers; Keras 3 puts the outputs of a dictionary in the order of their names."""
    ports = _ports(spec, "output_layers")
    return sorted(ports, key=lambda port: port[0]) if major >= 3 and isinstance(spec.config["output_layers"], dict) else ports


def _ports(spec: LayerSpec, key: str) -> list[tuple[str, Ref]]:
    """input_layers or output_layers, which is one reference, a list of them, or a dictionary by name."""
    listed = spec.config.get(key)
    if isinstance(listed, dict):
        found = [(str(name), _as_ref(entry)) for name, entry in listed.items()]
    else:
        entries = [listed] if _as_ref(listed) else listed if isinstance(listed, list) else []
        found = [(ref.layer if ref else "", ref) for ref in map(_as_ref, entries)]
    if not found or any(ref is None for _, ref in found):
        raise FormatError(f"{key} of the model {spec.name!r} is {_short(listed)}, not a list of layers")
    return [(name, ref) for name, ref in found if ref is not None]


def _calls(nodes: Any, name: str) -> list[Inbound]:
    if nodes is None:
        return []
    if not isinstance(nodes, list):
        raise FormatError(f"inbound_nodes of the layer {name!r} is {_short(nodes)}, not a list")
    return [_keras3_call(node) if isinstance(node, dict) else _keras2_call(node, name) for node in nodes]


def _keras3_call(node: dict[str, Any]) -> Inbound:
    args, kwargs = node.get("args") or [], node.get("kwargs") or {}
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise FormatError(f"an inbound node has the arguments {_short(args)} and {_short(kwargs)}, not a list and a dictionary")
    return Inbound([_linked(value) for value in args], {key: _linked(value) for key, value in kwargs.items()})


def _keras2_call(node: Any, name: str) -> Inbound:
    """One Keras 2 node: a list of [layer, node, index, kwargs]; functions of TensorFlow leave the outer list out."""
    entries = [node] if _as_ref(node) else node
    refs = [_as_ref(entry) for entry in entries] if isinstance(entries, list) else []
    if not refs or None in refs:
        raise FormatError(f"an inbound node of the layer {name!r} is {_short(node)}, not a list of tensors")
    kwargs = entries[0][3] if len(entries[0]) > 3 and isinstance(entries[0][3], dict) else {}
    return Inbound([refs if len(refs) > 1 else refs[0]], {key: _linked(value) for key, value in kwargs.items()})


def _linked(value: Any) -> Any:
    """Nested call arguments with every reference to a tensor replaced by a Ref."""
    if isinstance(value, dict):
        inner = value["config"] if isinstance(value.get("config"), dict) else {}
        if value.get("class_name") == "__keras_tensor__":
            return _as_ref(inner.get("keras_history"))
        if value.get("class_name") == "__slice__":
            return slice(inner.get("start"), inner.get("stop"), inner.get("step"))
        return {key: _linked(item) for key, item in value.items()}
    if isinstance(value, list):
        return _as_ref(value) or [_linked(item) for item in value]
    return value


def _as_ref(entry: Any) -> Ref | None:
    if not isinstance(entry, list) or not 3 <= len(entry) <= 4 or not isinstance(entry[0], str):
        return None
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in entry[1:3]):
        return None
    return Ref(entry[0], entry[1], entry[2])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
