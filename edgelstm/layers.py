"""Custom Keras layers: handlers that say what a layer computes in terms of known ops."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelstm_converters.keras.call import Call


def register_layer(name: str, handler: "Callable[[Call], str]") -> None:
    """Teach `convert` a custom Keras layer class, for this process.

    `name` is the class as the file writes it, with or without the package it was registered under. `handler(call)` emits
    ops through `call.add` and gives the value name of the output. docs/custom-layers.md shows one.
    """
    import edgelstm_converters

    edgelstm_converters.register_layer(name, handler)
