"""Layers that combine several inputs: Add, Concatenate, Dot and the others."""

from collections.abc import Sequence

import numpy as np
from edgelstm_converters.keras.call import Call, Mask, Tensor, run_layer
from edgelstm_converters.keras.network import run_model
from edgelstm_converters.keras.registry import layer

_BINARY = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Average": "add",
    "Maximum": "maximum",
    "Minimum": "minimum",
}


@layer(*_BINARY, honours="")
def merge(call: Call) -> Tensor:
    """The inputs combined element by element; one with fewer axes is repeated along the first ones behind the batch."""
    rank = max(call.rank(tensor.value) for tensor in call.inputs)
    values = [_widened(call, tensor.value, rank, i) for i, tensor in enumerate(call.inputs)]
    if len(values) < 2 or (call.spec.kind == "Subtract" and len(values) != 2):
        raise call.bad(f"combines {len(values)} inputs")
    result = values[0]
    for i, value in enumerate(values[1:], 1):
        result = call.add(_BINARY[call.spec.kind], result, value, suffix="" if i == len(values) - 1 else f"/{i}")
    if call.spec.kind == "Average":
        result = call.add("mul", result, call.constant(np.float32(1 / len(values)), "share"), suffix="/mean")
    return Tensor(result, _merged_mask(call))


@layer("Concatenate", honours="axis")
def concatenate(call: Call) -> Tensor:
    axis = call.config.get("axis", -1)
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise call.bad(f"has axis = {axis!r}, not a whole number")
    values = [tensor.value for tensor in call.inputs]
    rank = call.rank(values[0])
    result = call.add("concat", *values, axis=axis)
    masks = [tensor.mask for tensor in call.inputs]
    if axis % rank != 1 or rank < 3 or all(mask is None for mask in masks):
        return Tensor(result, _merged_mask(call))
    present = [mask for mask in masks if mask is not None]
    if len(present) < len(masks):
        raise call.refuse("masked and unmasked sequences one after the other are not supported")
    return Tensor(result, Mask(lambda: call.add("concat", *[mask.value for mask in present], suffix="/mask", axis=1)))


@layer("Dot", honours="axes normalize")
def dot(call: Call) -> Tensor:
    """Batch by batch, the product of two tensors summed over one axis of each, which `normalize` scales to length 1."""
    if len(call.inputs) != 2:
        raise call.bad(f"combines {len(call.inputs)} inputs, not two")
    a, b = (tensor.value for tensor in call.inputs)
    axes = call.config.get("axes", -1)
    first, second = (axes if isinstance(axes, list) else [axes, axes])[:2]
    left, right = _contracted(call, a, first, last=True), _contracted(call, b, second, last=False)
    if call.flag("normalize"):
        left, right = _unit(call, left, 2, "left"), _unit(call, right, 1, "right")
    product = call.add("matmul", left, right)
    extra = [axis for axis, value in ((1, a), (2, b)) if call.rank(value) == 2]
    if len(extra) == 2:
        extra = [2]
    return Tensor(call.add("squeeze", product, suffix="/squeezed", axes=tuple(extra)) if extra else product)


@layer(
    "Merge",
    honours="layers mode mode_type concat_axis dot_axes",
    fixed={
        "mode": ("concat", "sum", "mul", "ave", "max"),
        "mode_type": ("raw",),
        "output_shape_type": ("raw",),
        "output_mask_type": ("raw",),
        "arguments": ({},),
    },
)
def merged_branches(call: Call) -> Tensor:
    """The first layer of a Keras 1 Sequential model that joins several branches, each with an input of its own."""
    results: list[Tensor] = []
    if len(call.spec.children) != len(call.inputs) or "mode" not in call.config:
        raise call.bad(f"joins {len(call.spec.children)} branches for {len(call.inputs)} inputs")
    for (key, branch), tensor in zip(call.spec.children.items(), call.inputs, strict=True):
        path = f"{call.path}/{key.removeprefix('layers/')}/"
        inner = run_model(call.context, branch, [tensor], path) if branch.model else run_layer(call.child(key, [tensor]))
        if inner is None:
            raise call.refuse("one of its branches cannot be converted")
        results += inner
    mode = call.config["mode"]
    if mode == "concat":
        return Tensor(call.add("concat", *[tensor.value for tensor in results], axis=call.config.get("concat_axis", -1)))
    result = results[0].value
    for tensor in results[1:]:
        result = call.add({"mul": "mul", "max": "maximum"}.get(mode, "add"), result, tensor.value)
    if mode == "ave":
        result = call.add("mul", result, call.constant(np.float32(1 / len(results)), "share"))
    return Tensor(result)


def _widened(call: Call, value: str, rank: int, number: int) -> str:
    missing = rank - call.rank(value)
    axes = tuple(range(1, 1 + missing))
    return call.add("unsqueeze", value, suffix=f"/widened{number}", axes=axes) if missing else value


def _contracted(call: Call, value: str, axis: int, last: bool) -> str:
    """A tensor as a matrix for each sample, with the summed axis as the last one or as the one before."""
    rank = call.rank(value)
    if rank not in (2, 3) or not isinstance(axis, int) or not -rank <= axis < rank or axis % rank == 0:
        raise call.refuse(f"axes = {call.config.get('axes')!r} of an input with {rank} axes; supported are 2 or 3 axes")
    if rank == 2:
        return call.add("unsqueeze", value, suffix="/row" if last else "/column", axes=(1 if last else 2,))
    in_place = axis % 3 == (2 if last else 1)
    return value if in_place else call.add("transpose", value, suffix="/left" if last else "/right", perm=(0, 2, 1))


def _unit(call: Call, value: str, axis: int, side: str) -> str:
    """x / sqrt(max(sum(x^2), 1e-12)) along an axis."""
    square = call.add("square", value, suffix=f"/{side}/square")
    total = call.add("reduce_sum", square, suffix=f"/{side}/sum", axes=(axis,), keepdims=True)
    bounded = call.add("maximum", total, call.constant(np.float32(1e-12), "smallest"), suffix=f"/{side}/bounded")
    return call.add("mul", value, call.add("rsqrt", bounded, suffix=f"/{side}/rsqrt"), suffix=f"/{side}/unit")


def _merged_mask(call: Call) -> Mask | None:
    """The mask of a combination: all of the masks hold (Keras 1 and 2), or any, and none if an input has none (Keras 3)."""
    masks: list[Mask | None] = []
    for tensor in call.inputs:
        if all(tensor.mask is not mask for mask in masks):
            masks.append(tensor.mask)
    if len(masks) == 1:
        return masks[0]
    newer = call.context.major >= 3
    if newer and None in masks:
        return None
    present = [mask for mask in masks if mask is not None]
    return Mask(lambda: _combined(call, list(dict.fromkeys(mask.value for mask in present)), "or" if newer else "and"))


def _combined(call: Call, masks: Sequence[str], op: str) -> str:
    result = masks[0]
    for mask in masks[1:]:
        result = call.add(op, result, mask, suffix="/mask")
    return result
