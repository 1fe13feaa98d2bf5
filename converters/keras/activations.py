"""Keras activations by name or serialized object, as attributes of recurrent ops and as ops of their own."""

from typing import Any

from edgelstm_converters.keras.call import Call

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
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "exp": "exponential"}
_ONLY_ALONE = ("softmax", "log_softmax", "hard_tanh", "tanh_shrink")
_OBJECTS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax"}


def name_of(value: Any) -> str | None:
    """The name of an activation as the configuration holds it; None for something that is no activation of Keras."""
    if value is None:
        return "linear"
    if isinstance(value, dict):
        value = _serialized(value)
    if not isinstance(value, str):
        return None
    name = _ALIASES.get(value, value)
    return name if name in (*_SAME, *_ONLY_ALONE, "hard_sigmoid", "leaky_relu") else None


def known(value: Any, in_cell: bool) -> bool:
    """Whether an activation is supported: inside a recurrent cell, or behind a layer."""
    name = name_of(value)
    return name is not None and not (in_cell and name in _ONLY_ALONE)


def supported(in_cell: bool) -> str:
    """The names for messages."""
    return ", ".join(sorted({*_SAME, "hard_sigmoid", "leaky_relu", *(() if in_cell else _ONLY_ALONE)}))


def cell_activation(call: Call, key: str, default: str) -> Attribute:
    """An activation of a recurrent cell, as the attribute of the op."""
    name = name_of(call.config.get(key, default))
    if name == "hard_sigmoid":
        return (name, 1 / 6, 0.5) if call.context.major >= 3 else (name, 0.2, 0.5)
    if name == "leaky_relu":
        return name, 0.2, 0.0
    if name is None or name in _ONLY_ALONE:
        raise call.refuse(f"{key} = {call.config.get(key)!r}; supported in a cell are {supported(True)}")
    return name


def activate(call: Call, value: str, key: str = "activation") -> str:
    """The activation of a layer applied to a value; linear adds nothing."""
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


def _serialized(value: dict[str, Any]) -> Any:
    """The name inside a serialized activation whose options are those of the plain function."""
    config = value.get("config")
    if isinstance(config, str) and (value.get("module") in (None, "builtins") or "keras" in str(value.get("module"))):
        return config if value.get("registered_name") in (None, config, "function") else None
    if str(value.get("class_name")) not in _OBJECTS or not isinstance(config, dict):
        return None
    defaults = {
        "max_value": (None,),
        "negative_slope": (0.0, 0.0, 0),
        "threshold": (0.0, 0),
        "alpha": (1.0, 1),
        "axis": (-1,),
    }
    if value["class_name"] == "LeakyReLU":
        defaults |= {"negative_slope": (0.2,), "alpha": (0.2,)}
    plain = all(config[key] in allowed for key, allowed in defaults.items() if key in config)
    return _OBJECTS[value["class_name"]] if plain else None
