"""Keras activations by name or serialized object, as attributes of recurrent ops and as ops of their own."""

from typing import Any

from edgelstm_converters.keras.architecture import LayerSpec
from edgelstm_converters.keras.call import Call, Tensor, run_layer

Attribute = str | tuple[str, float, float]

_SAME = (
    "linear",
    "relu",
    "tanh",
    "sigmoid",
    "softsign",
    "softplus",
    "elu",
    "selu",
    "gelu",
    "silu",
    "exponential",
    "relu6",
    "mish",
    "hard_silu",
    "log_sigmoid",
)
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "exp": "exponential", "celu": "elu"}
_ONLY_ALONE = ("softmax", "log_softmax", "hard_tanh", "tanh_shrink")
_LAYERS = ("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU", "Softmax", "Identity", "Activation")


def name_of(value: Any) -> str | None:
    """The name of an activation as the configuration holds it; None for something that is no activation of Keras."""
    if value is None:
        return "linear"
    if isinstance(value, dict):
        value = _function(value)
    if not isinstance(value, str):
        return None
    name = _ALIASES.get(value, value)
    return name if name in (*_SAME, *_ONLY_ALONE, "hard_sigmoid", "sparse_sigmoid", "leaky_relu") else None


def known(value: Any, in_cell: bool) -> bool:
    """Whether an activation is supported: inside a recurrent cell, or behind a layer."""
    if is_layer(value) and value["class_name"] != "Activation":
        return not in_cell or _of_layer(value["class_name"], value["config"]) is not None
    name = name_of(value["config"].get("activation") if is_layer(value) else value)
    return name is not None and not (in_cell and name in _ONLY_ALONE)


def is_layer(value: Any) -> bool:
    """Whether an activation is an activation layer of Keras, with options of its own."""
    if not isinstance(value, dict) or value.get("class_name") not in _LAYERS or not isinstance(value.get("config"), dict):
        return False
    of_keras = value.get("module") is None or str(value["module"]).partition(".")[0] in ("keras", "tf_keras")
    return of_keras and value.get("registered_name") in (None, value["class_name"])


def supported(in_cell: bool) -> str:
    """The names for messages."""
    return ", ".join(sorted({*_SAME, "hard_sigmoid", "leaky_relu", *(() if in_cell else _ONLY_ALONE)})) + (
        " and the activation layers" if not in_cell else " and activation layers that are one of them"
    )


def cell_activation(call: Call, key: str, default: str) -> Attribute:
    """An activation of a recurrent cell, as the attribute of the op."""
    found = _attribute(call.config.get(key, default), call.context.major)
    if found is None:
        raise call.refuse(f"{key} = {call.config.get(key)!r}; supported in a cell are {supported(True)}")
    return found


def _attribute(value: Any, major: int) -> Attribute | None:
    if is_layer(value) and value["class_name"] != "Activation":
        return _of_layer(value["class_name"], value["config"])
    name = name_of(value["config"].get("activation") if is_layer(value) else value)
    if name == "hard_sigmoid":
        return (name, 1 / 6, 0.5) if major >= 3 else (name, 0.2, 0.5)
    if name == "sparse_sigmoid":
        return "hard_sigmoid", 0.5, 0.5
    if name == "leaky_relu":
        return name, 0.2, 0.0
    return None if name in _ONLY_ALONE else name


def _of_layer(kind: str, config: dict[str, Any]) -> Attribute | None:
    """An activation layer as an attribute; None where its options have none."""
    if kind == "Identity":
        return "linear"
    if kind == "ThresholdedReLU":
        return _with_option("thresholded_relu", config.get("theta", 1.0))
    if kind == "ELU":
        return _with_option("elu", config.get("alpha", 1.0))
    if kind == "LeakyReLU":
        return _with_option("leaky_relu", config.get("negative_slope", config.get("alpha", 0.3)))
    if kind != "ReLU":
        return None
    limit, slope, threshold = config.get("max_value"), config.get("negative_slope") or 0, config.get("threshold") or 0
    if threshold or limit is not None:
        plain = not slope and (not threshold or limit is None)
        if plain and threshold:
            return _with_option("thresholded_relu", threshold)
        return "relu6" if plain and limit == 6 else None
    return _with_option("leaky_relu", slope) if slope else "relu"


def _with_option(name: str, number: Any) -> Attribute | None:
    plain = isinstance(number, (int, float)) and not isinstance(number, bool)
    return (name, float(number), 0.0) if plain else None


def activate(call: Call, value: str, key: str = "activation") -> str:
    """The activation of a layer applied to a value; linear adds nothing."""
    given = call.config.get(key)
    if is_layer(given):
        spec = LayerSpec(given["class_name"], given["class_name"], given["config"])
        return run_layer(Call(call.context, spec, [Tensor(value)], path=f"{call.path}/{given['class_name']}"))[0].value
    name = name_of(call.config.get(key))
    if name == "linear":
        return value
    if name in ("softmax", "log_softmax"):
        return call.add(name, value, suffix=f"/{name}", axis=-1)
    if name == "hard_tanh":
        return call.add("clip", value, suffix="/hard_tanh", min=-1.0, max=1.0)
    if name == "tanh_shrink":
        return call.add("sub", value, call.add("tanh", value, suffix="/tanh"), suffix="/tanh_shrink")
    attribute = cell_activation(call, key, "linear")
    if isinstance(attribute, str):
        return call.add({"exponential": "exp"}.get(attribute, attribute), value, suffix=f"/{attribute}")
    if attribute[0] == "hard_sigmoid":
        return call.add("hard_sigmoid", value, suffix="/hard_sigmoid", alpha=attribute[1], beta=attribute[2])
    return call.add(attribute[0], value, suffix=f"/{attribute[0]}", alpha=attribute[1])


def _function(value: dict[str, Any]) -> Any:
    """The name of a serialized activation function of Keras."""
    config = value.get("config")
    if isinstance(config, str) and (value.get("module") in (None, "builtins") or "keras" in str(value.get("module"))):
        return config if value.get("registered_name") in (None, config, "function") else None
    return None
