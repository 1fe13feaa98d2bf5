"""What a layer handler works with: one call of one layer, its inputs, configuration, weights, and ways to emit ops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from edgelstm_converters.keras.architecture import LayerSpec
from edgelstm_converters.keras.registry import find

from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError, ShapeError, UnsupportedError


class Mask:
    """The mask of a sequence, (batch, time) bool, computed only when a layer asks for it."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        self._value: str | None = None

    @property
    def value(self) -> str:
        """The graph value of the mask."""
        if self._value is None:
            self._value = self._make()
        return self._value


@dataclass(frozen=True)
class Tensor:
    """A graph value and the mask that goes with it."""

    value: str
    mask: Mask | None = None


@dataclass
class Context:
    """One conversion: where ops go, which Keras wrote the file, and what was refused so far."""

    builder: GraphBuilder
    label: str
    major: int
    minor: int = 0
    theano: bool = False
    problems: list[str] = field(default_factory=list)
    constants: dict[tuple[int, str], str] = field(default_factory=dict)


class Call:
    """One call of one layer.

    `inputs` are the tensors of the first argument, `args` what follows it, `kwargs` the named arguments.
    """

    def __init__(
        self,
        context: Context,
        spec: LayerSpec,
        inputs: Sequence[Tensor],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        path: str = "",
    ) -> None:
        self.context, self.builder, self.spec = context, context.builder, spec
        self.inputs, self.args, self.kwargs = list(inputs), list(args), dict(kwargs or {})
        self.path = path or spec.name
        self.config = spec.config
        self._taken = 0

    @property
    def x(self) -> str:
        """Graph value of the only input."""
        if len(self.inputs) != 1:
            raise self.bad(f"is called with {len(self.inputs)} inputs, not one")
        return self.inputs[0].value

    @property
    def mask(self) -> Mask | None:
        """The mask given in the call, else the one that came with the first input."""
        given = self.kwargs.get("mask")
        if isinstance(given, list):
            given = given[0] if given else None
        if isinstance(given, Tensor):
            return Mask(lambda: given.value)
        return self.inputs[0].mask if self.inputs else None

    def add(self, op: str, *inputs: str | None, suffix: str = "", **attrs: Any) -> str:
        """Append a node named after the layer. Gives the value name of its first output."""
        return self.builder.add(op, *inputs, name=self.path + suffix, **attrs)

    def constant(self, array: Any, tag: str) -> str:
        """A constant of this layer; a layer called twice shares it."""
        key = (id(self.spec), f"{self.path}/{tag}")
        if key not in self.context.constants:
            self.context.constants[key] = self.builder.constant(array, f"{self.path}/{tag}")
        return self.context.constants[key]

    def integers(self, *numbers: int) -> str:
        """A 1-D int64 constant, for ops that take shapes or axes."""
        return self.builder.constant(np.array(numbers, np.int64), f"{self.path}/integers")

    def rank(self, value: str) -> int:
        """Number of axes of a value."""
        return self.builder.rank(value)

    def dim(self, value: str, axis: int) -> int | None:
        """Length of an axis, None when it is dynamic."""
        return self.builder.dim(value, axis)

    def features(self, value: str) -> int:
        """Length of the last axis. Raises ShapeError when it is dynamic."""
        size = self.dim(value, -1) if self.rank(value) else None
        if size is None:
            raise ShapeError(f"layer {self.path!r} ({self.spec.kind}) needs an input whose last axis has a known length")
        return size

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """The next weight of the layer, in the order Keras stores them. None in `shape` fits any length."""
        if self._taken >= len(self.spec.weights):
            raise self.bad(f"lacks its weight {name!r}; the file holds only {len(self.spec.weights)}")
        array = self.spec.weights[self._taken]
        self._taken += 1
        fits = array.ndim == len(shape) and all(d in (None, n) for d, n in zip(shape, array.shape, strict=True))
        if not fits:
            raise self.bad(f"has the weight {name!r} with the shape {array.shape}; its configuration asks for {shape}")
        if array.dtype.kind != "f" and name != "count":
            raise self.bad(f"has the weight {name!r} as {array.dtype}; supported are floating-point weights")
        with np.errstate(over="ignore"):
            return array.astype(np.float32, copy=False)

    def left(self) -> int:
        """Number of weights not taken yet."""
        return len(self.spec.weights) - self._taken

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean of the configuration."""
        value = self.config.get(key, default)
        if value not in (True, False, None):
            raise self.bad(f"has {key} = {value!r}, not true or false")
        return bool(value)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of the configuration, at least 0; lists of one number count as that number."""
        value = self.config.get(key)
        value = default if value is None else value
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.bad(f"has {key} = {value!r}, not a whole number")
        return value

    def number(self, key: str, default: float) -> float:
        """A number of the configuration; also where Keras 1 and 2 wrapped it as a serialized array."""
        value = self.config.get(key, default)
        value = default if value is None else value
        if isinstance(value, dict):
            value = value.get("value", value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.bad(f"has {key} = {value!r}, not a number")
        return float(value)

    def bad(self, text: str) -> FormatError:
        """The error for a layer that does not fit its file."""
        return FormatError(f"{self.context.label}: layer {self.path!r} ({self.spec.kind}) {text}")

    def refuse(self, text: str) -> UnsupportedError:
        """The error for a layer that is fine but not supported in this form."""
        problem = f"layer {self.path!r} ({self.spec.kind}): {text}"
        return UnsupportedError(f"{self.context.label} cannot be converted", [problem])

    def child(self, key: str, inputs: Sequence[Tensor], **kwargs: Any) -> "Call":
        """A call of a layer that this one wraps."""
        spec = self.spec.children[key]
        return Call(self.context, spec, inputs, (), kwargs, f"{self.path}/{spec.name}")


def run_layer(call: Call) -> list[Tensor]:
    """The outputs of one call of a layer. Raises FormatError when weights are left over."""
    entry = find(call.spec.kind)
    if entry is None:
        raise call.refuse("this class is not supported")
    if not call.inputs:
        raise call.bad("is called without any tensor")
    if not entry.custom and not call.spec.kind.startswith(("ops.", "tf.")):
        call.kwargs = dict(zip(entry.arguments, call.args, strict=False)) | call.kwargs
    results = entry.handler(call)
    if call.left() and not entry.custom:
        raise call.bad(f"has {len(call.spec.weights)} weights in the file, {call.left()} more than its configuration asks for")
    mask = call.inputs[0].mask if entry.keeps_mask and call.inputs else None
    if entry.custom and (not isinstance(results, str) or call.rank(results) != call.rank(call.inputs[0].value)):
        mask = None
    listed = results if isinstance(results, (list, tuple)) else [results]
    return [result if isinstance(result, Tensor) else Tensor(result, mask) for result in listed]
