"""Translates the layer configurations of Keras 1 into those of Keras 2, so that the handlers know one dialect."""

from typing import Any

_RENAMED = {
    "inner_activation": "recurrent_activation",
    "bias": "use_bias",
    "nb_filter": "filters",
    "filter_length": "kernel_size",
    "border_mode": "padding",
    "subsample_length": "strides",
    "atrous_rate": "dilation_rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "p": "rate",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "init": "kernel_initializer",
    "inner_init": "recurrent_initializer",
    "forget_bias_init": "bias_initializer",
}
_CLASSES = {"Convolution1D": "Conv1D", "AtrousConvolution1D": "Conv1D"}
_MERGES = {"concat": "Concatenate", "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "dot": "Dot"}


def modern(entry: dict[str, Any]) -> dict[str, Any]:
    """A Keras 1 layer in the words of Keras 2. `consume_less` stays: it decides how recurrent weights are stored."""
    config = entry.get("config")
    if not isinstance(config, dict):
        return entry
    kind = _CLASSES.get(entry["class_name"], entry["class_name"])
    if kind in ("Sequential", "Model"):
        return entry | {"class_name": kind}
    renamed = {_RENAMED.get(key, key): value for key, value in config.items()}
    if kind != "Embedding" and "output_dim" in renamed:
        renamed["units"] = renamed.pop("output_dim")
    if kind in ("LSTM", "GRU", "SimpleRNN", "Dense", "Conv1D", "TimeDistributedDense"):
        renamed.pop("input_dim", None)
    if kind in ("LSTM", "GRU", "SimpleRNN"):
        renamed.setdefault("reset_after", False)
        renamed.setdefault("recurrent_activation", "hard_sigmoid")
    if kind == "Merge" and "layers" not in renamed:
        kind, renamed = _merge(renamed)
    return entry | {"class_name": kind, "config": renamed}


def _merge(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A functional Merge layer as the layer class that Keras 2 has for its mode."""
    mode = config.get("mode")
    kind = _MERGES.get(mode, "Merge") if isinstance(mode, str) else "Merge"
    if kind == "Merge":
        return kind, config
    kept = {"name": config.get("name")}
    if kind == "Concatenate":
        kept["axis"] = config.get("concat_axis", -1)
    if kind == "Dot":
        kept["axes"] = config.get("dot_axes", -1)
    return kind, kept
