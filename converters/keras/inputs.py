"""The inputs of a model: names, dtypes, and which axes are dynamic.

The batch is always dynamic. A number of time steps that the file fixes is tried as dynamic first: most fixed lengths
are leftovers of training, and a model that truly needs its length says so by shapes that do not fit together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from edgelstm_converters.keras.architecture import LayerSpec, ModelSpec, Ref

from edgelstm.errors import FormatError

DTYPES = ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "bool")
Shape = tuple[int | str, ...]
_MOST_LAYOUTS = 16  # of the inputs together


@dataclass(frozen=True)
class InputSpec:
    """One input as the file declares it; None marks an axis of any length. With `sequence` axis 1 counts time steps."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    sequence: bool


def input_specs(model: LayerSpec) -> list[InputSpec]:
    """The inputs of a whole model, in its own order. Raises FormatError where the file declares no shape."""
    spec = model.model
    if spec is None:
        return [_declared(model, f"{model.name}_input", model.kind == "Embedding", None)]
    if spec.sequential:
        return _sequential_inputs(spec)
    by_name = {layer.name: layer for layer in spec.layers}
    found = []
    for name, ref in spec.inputs:
        if ref.layer not in by_name:
            raise FormatError(f"input_layers names {ref.layer!r}, which is not a layer of the model")
        found.append(_declared(by_name[ref.layer], name, _feeds_embedding(spec, ref.layer), _feature_size(spec)))
    return found


def candidates(specs: Sequence[InputSpec], time_major: bool = False) -> list[list[Shape]]:
    """Shapes to try for all inputs, most dynamic first: lengths of their own, one in common, then those of the file.

    With `time_major` also those where a sequence has its time steps first and the batch second.
    """
    tried: list[list[Shape]] = []
    layouts = product(*[(False, True) if time_major and spec.sequence else (False,) for spec in specs])
    turns = list(islice(layouts, _MOST_LAYOUTS))
    for loosened, common, turned in product((True, False), (False, True), turns):
        shapes, symbols = [], 0
        for spec, turn in zip(specs, turned, strict=True):
            symbol = "time" if common or not symbols else f"time_{symbols + 1}"
            shapes.append(_with_symbols(spec, symbol, loosened, turn))
            symbols += symbol in shapes[-1]
        if shapes not in tried:
            tried.append(shapes)
    return tried


def _with_symbols(spec: InputSpec, time: str, loosened: bool, turned: bool) -> Shape:
    batch, steps = (1, 0) if turned else (0, 1)
    shape: list[int | str] = []
    for axis, length in enumerate(spec.shape):
        dynamic = length is None or axis == batch or (loosened and axis == steps and spec.sequence)
        shape.append(length if not dynamic else {batch: "batch", steps: time}.get(axis, f"{spec.name}.{axis}"))
    return tuple(shape)


def _sequential_inputs(spec: ModelSpec) -> list[InputSpec]:
    first = spec.layers[0]
    if first.model is not None and not _shape_of(first):
        return input_specs(first)
    if first.kind == "Merge":
        return [found for branch in first.children.values() for found in input_specs(branch)]
    behind = first if first.kind != "InputLayer" or len(spec.layers) == 1 else spec.layers[1]
    name = first.name if first.kind == "InputLayer" else f"{first.name}_input"
    return [_declared(first, name, behind.kind == "Embedding", _feature_size(spec))]


def _declared(layer: LayerSpec, name: str, embedded: bool, features: int | None) -> InputSpec:
    shape = _shape_of(layer)
    if not isinstance(shape, list) or not shape or not all(_is_length(n) for n in shape):
        raise FormatError(
            f"layer {layer.name!r} ({layer.kind}) declares no input shape (found {shape!r}); build the model before saving it"
        )
    lengths = list(shape)
    if len(lengths) >= 3 and lengths[-1] is None:
        lengths[-1] = features
    dtype = layer.config.get("input_dtype") or layer.config.get("dtype")
    dtype = dtype if isinstance(dtype, str) and dtype in DTYPES else "float32"
    return InputSpec(name, tuple(lengths), dtype, len(lengths) >= 3 or embedded or (len(lengths) == 2 and lengths[1] is None))


def _shape_of(layer: LayerSpec) -> Any:
    return layer.config.get("batch_shape") or layer.config.get("batch_input_shape")


def _is_length(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31)


def _feeds_embedding(spec: ModelSpec, name: str) -> bool:
    return any(
        isinstance(arg, Ref) and arg.layer == name
        for layer in spec.layers
        if layer.kind == "Embedding"
        for call in layer.calls
        for arg in call.args
    )


def _feature_size(spec: ModelSpec) -> int | None:
    """The number of features that the first weights of a model were made for."""
    for layer in (leaf for top in spec.layers for leaf in top.walk()):
        if layer.weights and layer.weights[0].ndim:
            shape = layer.weights[0].shape
            return shape[-1] if "Normalization" in layer.kind else shape[-2] if len(shape) > 1 else shape[0]
    return None
