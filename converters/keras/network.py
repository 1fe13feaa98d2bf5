"""Runs the layers of a model through their handlers: Sequential, functional, nested, and layers called twice."""

from collections.abc import Iterator, Sequence
from typing import Any

from edgelstm_converters.keras.architecture import Inbound, LayerSpec, ModelSpec, Ref
from edgelstm_converters.keras.call import Call, Context, Mask, Tensor, run_layer

from edgelstm.errors import FormatError, UnsupportedError

_FIRST_ARGUMENTS = ("inputs", "sequences", "x", "x1", "query")
Outputs = list[Tensor] | None  # None: the layer was refused, or something before it


class _NotReady(Exception):
    pass


def run_model(context: Context, layer: LayerSpec, inputs: Sequence[Tensor], prefix: str = "") -> Outputs:
    """The outputs of a model for its inputs. Refusals are collected in the context, and give None."""
    model = layer.model
    assert model is not None
    if model.sequential:
        return _run_sequential(context, model, inputs, prefix)
    return _Functional(context, layer, prefix).run(inputs)


def _run_sequential(context: Context, model: ModelSpec, inputs: Sequence[Tensor], prefix: str) -> Outputs:
    tensors: Outputs = list(inputs)
    for layer in model.layers:
        if layer.kind != "InputLayer" and tensors is not None:
            tensors = _run(context, layer, Inbound(list(tensors)), prefix)
    return tensors


def _run(context: Context, layer: LayerSpec, call: Inbound, prefix: str) -> Outputs:
    """One call, whose arguments are Tensors by now."""
    args, kwargs = list(call.args), dict(call.kwargs)
    if layer.kind.startswith(("ops.", "tf.")):
        inputs = list(_tensors([args, kwargs]))
    else:
        sequential = bool(args) and all(isinstance(arg, Tensor) for arg in args) and not layer.calls
        first = args if sequential else args[:1] or [kwargs.pop(key) for key in _FIRST_ARGUMENTS if key in kwargs][:1]
        inputs, args = list(_tensors(first)), [] if sequential else args[1:]
    if layer.model is not None:
        mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
        if isinstance(mask, Tensor) and len(inputs) == 1:
            inputs = [Tensor(inputs[0].value, Mask(lambda: mask.value))]
        return run_model(context, layer, inputs, f"{prefix}{layer.name}/")
    try:
        return run_layer(Call(context, layer, inputs, args, kwargs, prefix + layer.name))
    except UnsupportedError as error:
        context.problems += error.problems or (str(error),)
        return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


class _Functional:
    """A functional model while it is run: calls wait until what they read is known."""

    def __init__(self, context: Context, layer: LayerSpec, prefix: str) -> None:
        self.context, self.prefix, self.name = context, prefix, layer.name
        self.model = layer.model
        self.layers = {member.name: member for member in self.model.layers}
        self.results: dict[tuple[str, int], Outputs] = {}
        self.offsets = self._offsets()

    def run(self, inputs: Sequence[Tensor]) -> Outputs:
        """Every output of the model in its order."""
        if len(inputs) != len(self.model.inputs):
            raise FormatError(
                f"{self.context.label}: the model {self.name!r} has {len(self.model.inputs)} inputs "
                f"and is called with {len(inputs)}"
            )
        for (_, ref), tensor in zip(self.model.inputs, inputs, strict=True):
            self.results[ref.layer, ref.node] = [tensor]
        waiting = [
            (layer, n) for layer in self.model.layers for n in range(len(layer.calls)) if (layer.name, n) not in self.results
        ]
        while waiting:
            left = [item for item in waiting if not self._advance(*item)]
            if len(left) == len(waiting):
                names = ", ".join(sorted({layer.name for layer, _ in left})[:5])
                raise FormatError(
                    f"{self.context.label}: the layers {names} wait for each other or for a layer that is not in the model"
                )
            waiting = left
        return self._outputs()

    def _advance(self, layer: LayerSpec, number: int) -> bool:
        """Run one call if all it reads is there."""
        call = layer.calls[number]
        try:
            args, kwargs = self._resolved(call.args), self._resolved(call.kwargs)
        except _NotReady:
            return False
        refused = any(item is None for item in self._read(call))
        self.results[layer.name, number] = None if refused else _run(self.context, layer, Inbound(args, kwargs), self.prefix)
        return True

    def _read(self, call: Inbound) -> list[Any]:
        return [self._tensor(ref) for ref in _refs([call.args, call.kwargs])]

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self._tensor(value)
        if isinstance(value, dict):
            return {key: self._resolved(item) for key, item in value.items()}
        return [self._resolved(item) for item in value] if isinstance(value, list) else value

    def _tensor(self, ref: Ref) -> Tensor | None:
        if ref.layer not in self.layers:
            raise FormatError(
                f"{self.context.label}: the model {self.name!r} reads the output of {ref.layer!r}, "
                "which is not one of its layers"
            )
        key = (ref.layer, ref.node - self.offsets.get(ref.layer, 0))
        if key not in self.results:
            raise _NotReady
        outputs = self.results[key]
        if outputs is not None and not 0 <= ref.index < len(outputs):
            raise FormatError(
                f"{self.context.label}: the layer {ref.layer!r} has {len(outputs)} outputs; number {ref.index} is read"
            )
        return None if outputs is None else outputs[ref.index]

    def _outputs(self) -> Outputs:
        try:
            tensors = [self._tensor(ref) for _, ref in self.model.outputs]
        except _NotReady:
            raise FormatError(
                f"{self.context.label}: an output of the model {self.name!r} is a call that is not in the file"
            ) from None
        return None if None in tensors else tensors

    def _offsets(self) -> dict[str, int]:
        """Keras 2 counts the calls of a nested model from 1: its own construction was call 0."""
        refs = [ref for layer in self.model.layers for call in layer.calls for ref in _refs([call.args, call.kwargs])]
        refs += [ref for _, ref in self.model.outputs]
        nested = {layer.name for layer in self.model.layers if layer.model is not None}
        lowest: dict[str, int] = {}
        for ref in refs:
            if ref.layer in nested:
                lowest[ref.layer] = min(ref.node, lowest.get(ref.layer, ref.node))
        return {name: int(node > 0) for name, node in lowest.items()}


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _refs(item)
