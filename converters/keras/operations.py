"""Plain tensor operations in functional models: Keras 3 `keras.ops` classes and the TensorFlow functions of Keras 2."""

from typing import Any

import numpy as np
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.registry import layer

_LAST = np.iinfo(np.int32).max
_BINARY = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "TrueDivide": "div",
    "Power": "pow",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Equal": "equal",
    "NotEqual": "not_equal",
    "Less": "less",
    "LessEqual": "less_equal",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
    "LogicalAnd": "and",
    "LogicalOr": "or",
}
_TF_BINARY = {
    "__operators__.add": "add",
    "math.add": "add",
    "math.subtract": "sub",
    "math.multiply": "mul",
    "math.divide": "div",
    "math.truediv": "div",
    "math.pow": "pow",
    "math.maximum": "maximum",
    "math.minimum": "minimum",
    "math.equal": "equal",
    "math.not_equal": "not_equal",
    "math.less": "less",
    "math.greater": "greater",
    "math.less_equal": "less_equal",
    "math.greater_equal": "greater_equal",
    "math.logical_and": "and",
    "math.logical_or": "or",
}
_UNARY = {
    "Absolute": "abs",
    "Abs": "abs",
    "Negative": "neg",
    "Sqrt": "sqrt",
    "Square": "square",
    "Exp": "exp",
    "Log": "log",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Silu": "silu",
    "Sin": "sin",
    "Cos": "cos",
    "Floor": "floor",
    "Ceil": "ceil",
    "Sign": "sign",
    "LogicalNot": "not",
    "Reciprocal": "reciprocal",
}
_TF_UNARY = {
    "math.abs": "abs",
    "math.negative": "neg",
    "math.sqrt": "sqrt",
    "math.square": "square",
    "math.exp": "exp",
    "math.log": "log",
    "math.tanh": "tanh",
    "math.sigmoid": "sigmoid",
    "nn.relu": "relu",
    "math.softplus": "softplus",
    "nn.silu": "silu",
    "math.sin": "sin",
    "math.cos": "cos",
    "math.floor": "floor",
    "math.sign": "sign",
    "math.logical_not": "not",
    "math.reciprocal": "reciprocal",
}
_REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod"}
_KEYS = "axis keepdims axes newshape shape perm function rate"


def _names(table: dict[str, str], prefix: str) -> list[str]:
    return [f"{prefix}{name}" for name in table]


@layer(*_names(_BINARY, "ops."), *_names(_TF_BINARY, "tf."), honours=_KEYS)
def binary(call: Call) -> Tensor:
    operands = [_operand(call, value) for value in _arguments(call)[:2]]
    if len(operands) != 2:
        raise call.bad(f"has {len(operands)} operands, not two")
    kind = call.spec.kind
    op = _BINARY[kind[4:]] if kind.startswith("ops.") else _TF_BINARY[kind[3:]]
    return Tensor(call.add(op, *operands))


@layer(*_names(_UNARY, "ops."), *_names(_TF_UNARY, "tf."), honours=_KEYS)
def unary(call: Call) -> Tensor:
    kind = call.spec.kind
    return Tensor(call.add(_UNARY[kind[4:]] if kind.startswith("ops.") else _TF_UNARY[kind[3:]], call.x))


@layer(*_names(_REDUCTIONS, "ops."), *[f"tf.math.reduce_{name}" for name in _REDUCTIONS.values()], honours=_KEYS)
def reduction(call: Call) -> Tensor:
    kind = call.spec.kind
    op = f"reduce_{_REDUCTIONS[kind[4:]]}" if kind.startswith("ops.") else kind.rpartition(".")[2]
    axis = _option(call, "axis", 1)
    axes = [] if axis is None else axis if isinstance(axis, list) else [axis]
    return Tensor(call.add(op, call.inputs[0].value, axes=tuple(axes), keepdims=bool(_option(call, "keepdims", 2))))


@layer("ops.Softmax", "tf.nn.softmax", honours=_KEYS)
def softmax(call: Call) -> Tensor:
    axis = _option(call, "axis", 1)
    return Tensor(call.add("softmax", call.inputs[0].value, axis=-1 if axis is None else axis))


@layer("ops.Concatenate", "tf.concat", honours=_KEYS)
def concatenate(call: Call) -> Tensor:
    axis = _option(call, "axis", 1)
    return Tensor(call.add("concat", *[tensor.value for tensor in call.inputs], axis=-1 if axis is None else axis))


@layer("ops.ExpandDims", "tf.expand_dims", honours=_KEYS)
def expand_dims(call: Call) -> Tensor:
    axis = _option(call, "axis", 1)
    return Tensor(call.add("unsqueeze", call.inputs[0].value, axes=(axis,)))


@layer("ops.Squeeze", "tf.squeeze", honours=_KEYS)
def squeeze(call: Call) -> Tensor:
    axis = _option(call, "axis", 1)
    if axis is None:
        raise call.refuse("a squeeze needs its axis")
    return Tensor(call.add("squeeze", call.inputs[0].value, axes=tuple(axis if isinstance(axis, list) else [axis])))


@layer("ops.Transpose", "tf.transpose", honours=_KEYS)
def transpose(call: Call) -> Tensor:
    x = call.inputs[0].value
    axes = _option(call, "axes", 1) or _option(call, "perm", 1) or list(reversed(range(call.rank(x))))
    return Tensor(call.add("transpose", x, perm=tuple(axes)))


@layer("ops.Any", "ops.All", honours=_KEYS)
def logical_reduction(call: Call) -> Tensor:
    """Whether any, or every, element along the axes is true."""
    axis = _option(call, "axis", 1)
    axes = [] if axis is None else axis if isinstance(axis, list) else [axis]
    op = "reduce_max" if call.spec.kind == "ops.Any" else "reduce_min"
    numbers = call.add("cast", call.inputs[0].value, suffix="/numbers", to="float32")
    found = call.add(op, numbers, suffix="/found", axes=tuple(axes), keepdims=bool(_option(call, "keepdims", 2)))
    return Tensor(call.add("cast", found, to="bool"))


@layer("ops.Matmul", "tf.linalg.matmul", honours=_KEYS)
def matmul(call: Call) -> Tensor:
    for name in ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"):
        if call.kwargs.get(name):
            raise call.refuse(f"{name} is not supported")
    a, b = (_operand(call, value) for value in _arguments(call)[:2])
    return Tensor(call.add("matmul", a, b))


@layer("ops.GetItem", "tf.__operators__.getitem", honours=_KEYS)
def get_item(call: Call) -> Tensor:
    """x[key] with slices, whole numbers and an ellipsis, as slice and squeeze."""
    x = call.inputs[0].value
    key = call.kwargs.get("slice_spec", call.kwargs.get("key", call.args[1] if len(call.args) > 1 else None))
    items = [_index(call, item) for item in (key if isinstance(key, list) else [key])]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (call.rank(x) - len(items) + 1)
    if len(items) > call.rank(x):
        raise call.bad(f"reads {len(items)} axes of a tensor with {call.rank(x)}")
    y = _sliced(call, x, items)
    dropped = tuple(axis for axis, item in enumerate(items) if not isinstance(item, slice))
    return Tensor(call.add("squeeze", y, suffix="/squeezed", axes=dropped) if dropped else y)


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
    plain = all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in numbers)
    if not plain or numbers == [None]:
        raise call.refuse(f"the index {item!r} is not supported; supported are whole numbers and slices")
    return item


def _arguments(call: Call) -> list[Any]:
    """The operands in order, also where the dialect names them."""
    named = [call.kwargs[name] for name in ("x", "y", "x1", "x2", "a", "b") if call.kwargs.get(name) is not None]
    return [*call.args, *named]


def _operand(call: Call, value: Any) -> str:
    """A tensor, or a number as a constant of the other operand's dtype."""
    if isinstance(value, Tensor):
        return value.value
    if isinstance(value, dict):
        value = (value.get("config") or {}).get("value", value)
    try:
        array = np.asarray(value, call.builder.fact(call.inputs[0].value).dtype)
    except (TypeError, ValueError):
        raise call.refuse(f"the operand {value!r} is not supported") from None
    return call.builder.constant(array, f"{call.path}/operand")


def _option(call: Call, name: str, position: int) -> Any:
    """An option given by name, in the configuration, or as an argument at that position."""
    if name in call.kwargs:
        return call.kwargs[name]
    if name in call.config:
        return call.config[name]
    value = call.args[position] if len(call.args) > position else None
    return None if isinstance(value, Tensor) else value
