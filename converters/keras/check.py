"""Looks over every layer before anything is built, so that one conversion reports all that is not supported."""

from typing import Any

from edgelstm_converters.keras.activations import known, supported
from edgelstm_converters.keras.architecture import LayerSpec
from edgelstm_converters.keras.registry import Entry, find

POLICIES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "mixed_float16",
    "mixed_bfloat16",
    "int32",
    "int64",
    "uint8",
    "bool",
)
CELLS = ("LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTM1D")
_INERT_KEYS = """
    name trainable dtype batch_shape batch_input_shape input_dtype input_shape input_length input_dim input_spec
    implementation unroll seed consume_less dropout recurrent_dropout unit_forget_bias activity_regularizer sparse_grad
    build_input_shape autocast shared_object_id jit_compile
"""
_LAYER_ARGUMENTS = "training mask name inputs sequences query"
_OPERAND_NAMES = "x y x1 x2 a b key slice_spec values indices"
_INERT = frozenset(_INERT_KEYS.split())
_ARGUMENTS = frozenset(_LAYER_ARGUMENTS.split())
_OPERANDS = frozenset(_OPERAND_NAMES.split())
_INERT_ENDINGS = ("_initializer", "_regularizer", "_constraint")


def problems_of(model: LayerSpec) -> list[str]:
    """One line for each thing in a model that is not supported."""
    found: list[str] = []
    for layer in model.walk():
        entry = find(layer.kind)
        where = f"layer {layer.name!r} ({layer.kind})"
        if layer.model is not None:
            found += [f"{where}: {text}" for text in _calls(layer)]
        elif entry is None:
            found.append(f"{where}: this class is not supported; write it with known ops through edgelstm.register_layer")
        elif not entry.custom:
            found += [f"{where}: {text}" for text in (*_options(layer, entry), *_calls(layer))]
    return found


def _options(layer: LayerSpec, entry: Entry) -> list[str]:
    found = [text for key, value in layer.config.items() if (text := _option(layer, entry, key, value))]
    policy = _policy(layer.config.get("dtype"))
    if policy not in POLICIES:
        found.append(f"dtype = {policy!r}; supported are {', '.join(POLICIES)}")
    return found


def _option(layer: LayerSpec, entry: Entry, key: str, value: Any) -> str:
    """What is wrong with one configuration key, "" when it is honoured or makes no difference at inference."""
    if key in entry.fixed:
        allowed = entry.fixed[key]
        return "" if value in allowed else f"{key} = {value!r}; supported: {', '.join(map(repr, allowed))}"
    if key.endswith("activation"):
        in_cell = layer.kind in CELLS
        return "" if known(value, in_cell) else f"{key} = {_short(value)}; supported are {supported(in_cell)}"
    if key.endswith(_INERT_ENDINGS):
        return _reference(key, value)
    inert = key in _INERT or value is None or value is False
    return "" if inert or key in entry.honours else f"{key} = {_short(value)} is not supported"


def _reference(key: str, value: Any) -> str:
    """What is wrong with a serialized initializer, regularizer or constraint: it is never called, but it must be one.

    Keras 3 names the module; a class or function of the user's own has a registered name, or "builtins" as its module.
    """
    module = value.get("module") if isinstance(value, dict) else None
    if module in (None, "builtins"):
        return ""
    family = key.rpartition("_")[2]
    parts = str(module).split(".")
    own = value.get("registered_name") is not None and value.get("class_name") != "function" and "keras" not in parts
    return "" if own or f"{family}s" in parts else f"{key} refers to {_short(value)}, which is no {family} of Keras"


def _calls(layer: LayerSpec) -> list[str]:
    """What is wrong with the arguments that a layer or operation is called with."""
    entry = find(layer.kind)
    operation = layer.kind.startswith(("ops.", "tf."))
    arguments = entry.arguments if entry is not None else ("training", "mask")
    known_names = _ARGUMENTS | {*arguments} | (_OPERANDS | entry.honours if operation and entry is not None else frozenset())
    found = []
    for call in layer.calls:
        given = call.kwargs if operation else dict(zip(arguments, call.args[1:], strict=False)) | call.kwargs
        given = {key: value for key, value in given.items() if value is not None and value is not False}
        if given.get("training") is True:
            found.append("called with training = true; only inference is supported")
        found += [f"called with {key} = {_short(given[key])}, which is not supported" for key in sorted({*given} - known_names)]
        if not operation and len(call.args) > 1 + len(arguments):
            found.append(f"called with {len(call.args)} arguments; supported are {', '.join(arguments)} behind the first")
    return found


def _policy(dtype: Any) -> Any:
    if isinstance(dtype, dict):
        inner = dtype.get("config")
        return inner.get("name") if isinstance(inner, dict) else dtype.get("class_name")
    return "float32" if dtype is None else dtype


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
