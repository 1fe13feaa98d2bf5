"""Operations of functional models that move numbers around: join, reshape, transpose, and read parts by slices."""

from typing import Any

import numpy as np
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.operations import KEYS, axes_of, option
from edgelstm_converters.keras.registry import layer

_LAST = np.iinfo(np.int32).max


@layer("ops.Concatenate", "tf.concat", honours=KEYS)
def concatenate(call: Call) -> Tensor:
    axis = option(call, "axis", 1)
    return Tensor(call.add("concat", *[tensor.value for tensor in call.inputs], axis=-1 if axis is None else axis))


@layer("ops.ExpandDims", "tf.expand_dims", honours=KEYS)
def expand_dims(call: Call) -> Tensor:
    return Tensor(call.add("unsqueeze", call.inputs[0].value, axes=axes_of(call)))


@layer("ops.Squeeze", "tf.squeeze", "tf.compat.v1.squeeze", honours=KEYS)
def squeeze(call: Call) -> Tensor:
    axes = axes_of(call)
    if not axes:
        raise call.refuse("a squeeze needs its axis")
    return Tensor(call.add("squeeze", call.inputs[0].value, axes=axes))


@layer("ops.Transpose", "tf.transpose", "tf.compat.v1.transpose", honours=KEYS)
def transpose(call: Call) -> Tensor:
    x = call.inputs[0].value
    axes = option(call, "axes", 1) or option(call, "perm", 1) or list(reversed(range(call.rank(x))))
    return Tensor(call.add("transpose", x, perm=tuple(axes)))


@layer("ops.Stack", "tf.stack", honours=KEYS)
def stack(call: Call) -> Tensor:
    """The inputs side by side along a new axis."""
    axis = option(call, "axis", 1) or 0
    rows = [call.add("unsqueeze", tensor.value, suffix=f"/{i}", axes=(axis,)) for i, tensor in enumerate(call.inputs)]
    return Tensor(call.add("concat", *rows, axis=axis))


@layer("ops.Flip", "tf.reverse", honours=KEYS)
def flip(call: Call) -> Tensor:
    axis = option(call, "axis", 1)
    axes = range(call.rank(call.x)) if axis is None else axis if isinstance(axis, list) else [axis]
    return Tensor(call.add("flip", call.x, axes=tuple(axes)))


@layer("ops.Swapaxes", honours="axis1 axis2")
def swap_axes(call: Call) -> Tensor:
    order = list(range(call.rank(call.x)))
    first, second = (_axis(call, call.config.get(key)) for key in ("axis1", "axis2"))
    order[first], order[second] = order[second], order[first]
    return Tensor(call.add("transpose", call.x, perm=tuple(order)))


@layer("ops.Moveaxis", honours="source destination")
def move_axis(call: Call) -> Tensor:
    source, destination = (_axis(call, call.config.get(key)) for key in ("source", "destination"))
    order = [axis for axis in range(call.rank(call.x)) if axis != source]
    order.insert(destination, source)
    return Tensor(call.add("transpose", call.x, perm=tuple(order)))


@layer("ops.Reshape", "tf.reshape", honours=KEYS)
def reshape(call: Call) -> Tensor:
    """The same numbers in another shape; one length may be -1, and the batch keeps its own where the file says null."""
    shape = next((value for name, at in (("newshape", 1), ("shape", 1)) if (value := option(call, name, at)) is not None), None)
    if not isinstance(shape, list) or not all(n is None or _is_int(n) for n in shape):
        raise call.refuse(f"the shape {shape!r} is not supported; supported are whole numbers")
    lengths = [(0 if at == 0 else -1) if n is None else n for at, n in enumerate(shape)]
    if lengths.count(-1) > 1:
        raise call.refuse(f"the shape {shape!r} leaves more than one length open")
    return Tensor(call.add("reshape", call.inputs[0].value, call.integers(*lengths)))


@layer("ops.GetItem", "tf.__operators__.getitem", honours=KEYS)
def get_item(call: Call) -> Tensor:
    """x[key] with slices, whole numbers, new axes and an ellipsis, as slice, squeeze and unsqueeze."""
    x = call.inputs[0].value
    key = call.kwargs.get("slice_spec", call.kwargs.get("key", call.args[1] if len(call.args) > 1 else None))
    items = [_index(call, item) for item in (key if isinstance(key, list) else [key])]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (call.rank(x) - len(items) + items.count(None) + 1)
    read = [item for item in items if item is not None]
    if len(read) > call.rank(x):
        raise call.bad(f"reads {len(read)} axes of a tensor with {call.rank(x)}")
    y = _sliced(call, x, read)
    dropped = tuple(axis for axis, item in enumerate(read) if not isinstance(item, slice))
    y = call.add("squeeze", y, suffix="/squeezed", axes=dropped) if dropped else y
    shown = [item for item in items if item is None or isinstance(item, slice)]
    new = tuple(axis for axis, item in enumerate(shown) if item is None)
    return Tensor(call.add("unsqueeze", y, suffix="/unsqueezed", axes=new) if new else y)


def _sliced(call: Call, x: str, items: list[Any]) -> str:
    starts, ends, axes, steps = [], [], [], []
    for axis, item in enumerate(items):
        if not isinstance(item, slice):
            item = slice(item, item + 1 if item != -1 else None)
        step = 1 if item.step is None else item.step
        if item == slice(None) or (step == 1 and item.start in (None, 0) and item.stop is None):
            continue
        backwards = step < 0
        starts.append(item.start if item.start is not None else _LAST if backwards else 0)
        ends.append(item.stop if item.stop is not None else -_LAST if backwards else _LAST)
        axes.append(axis)
        steps.append(step)
    return call.add("slice", x, *(call.integers(*numbers) for numbers in (starts, ends, axes, steps))) if axes else x


def _index(call: Call, item: Any) -> Any:
    """One entry of a slicing key: both dialects write slices as dictionaries."""
    if isinstance(item, dict) and {"start", "stop", "step"} <= set(item):
        item = slice(item["start"], item["stop"], item["step"])
    elif isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
        item = Ellipsis
    numbers = [item.start, item.stop, item.step] if isinstance(item, slice) else [] if item is Ellipsis else [item]
    if not all(n is None or _is_int(n) for n in numbers):
        raise call.refuse(f"the index {item!r} is not supported; supported are whole numbers, slices and new axes")
    return item


def _axis(call: Call, axis: Any) -> int:
    rank = call.rank(call.x)
    if not _is_int(axis) or not -rank <= axis < rank:
        raise call.refuse(f"the axis {axis!r} of an input with {rank} axes is not supported")
    return axis % rank


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
