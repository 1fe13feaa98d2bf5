"""Plain tensor operations in functional models: Keras 3 `keras.ops` classes and the TensorFlow functions of Keras 2."""

from typing import Any

import numpy as np
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.registry import layer
from edgelstm_converters.keras.softmax import softmax_over

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
    "Rsqrt": "rsqrt",
    "Erf": "erf",
    "Relu6": "relu6",
    "Selu": "selu",
    "LogSigmoid": "log_sigmoid",
    "HardSilu": "hard_silu",
    "Isnan": "is_nan",
    "Copy": "identity",
    "StopGradient": "identity",
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
_AS_REDUCTIONS = _REDUCTIONS | {"Amax": "max", "Amin": "min"}
_DTYPES = dict.fromkeys(("float32", "float64", "float16", "bfloat16"), "float32") | {
    name: name for name in ("int32", "int64", "uint8", "bool")
}
KEYS = "axis keepdims axes newshape shape perm function rate"


def _names(table: dict[str, str], prefix: str) -> list[str]:
    return [f"{prefix}{name}" for name in table]


@layer(*_names(_BINARY, "ops."), *_names(_TF_BINARY, "tf."), honours=KEYS)
def binary(call: Call) -> Tensor:
    operands = [operand(call, value) for value in arguments(call)[:2]]
    if len(operands) != 2:
        raise call.bad(f"has {len(operands)} operands, not two")
    kind = call.spec.kind
    op = _BINARY[kind[4:]] if kind.startswith("ops.") else _TF_BINARY[kind[3:]]
    return Tensor(call.add(op, *operands))


@layer(*_names(_UNARY, "ops."), *_names(_TF_UNARY, "tf."), honours=KEYS)
def unary(call: Call) -> Tensor:
    kind = call.spec.kind
    return Tensor(call.add(_UNARY[kind[4:]] if kind.startswith("ops.") else _TF_UNARY[kind[3:]], call.x))


@layer(*_names(_AS_REDUCTIONS, "ops."), *[f"tf.math.reduce_{name}" for name in _REDUCTIONS.values()], honours=KEYS)
def reduction(call: Call) -> Tensor:
    kind = call.spec.kind
    op = f"reduce_{_AS_REDUCTIONS[kind[4:]]}" if kind.startswith("ops.") else kind.rpartition(".")[2]
    return Tensor(call.add(op, call.inputs[0].value, axes=axes_of(call), keepdims=bool(option(call, "keepdims", 2))))


@layer("ops.Softmax", "tf.nn.softmax", "ops.LogSoftmax", "tf.nn.log_softmax", honours=KEYS)
def softmax(call: Call) -> Tensor:
    axes = axes_of(call) or (-1,)
    if not call.spec.kind.endswith(("LogSoftmax", "log_softmax")):
        return Tensor(softmax_over(call, call.inputs[0].value, axes))
    if len(axes) > 1:
        raise call.refuse(f"axis = {list(axes)}; supported is one axis")
    return Tensor(call.add("log_softmax", call.inputs[0].value, axis=axes[0]))


@layer("ops.Any", "ops.All", honours=KEYS)
def logical_reduction(call: Call) -> Tensor:
    """Whether any, or every, element along the axes is true."""
    op = "reduce_max" if call.spec.kind == "ops.Any" else "reduce_min"
    numbers = call.add("cast", call.inputs[0].value, suffix="/numbers", to="float32")
    found = call.add(op, numbers, suffix="/found", axes=axes_of(call), keepdims=bool(option(call, "keepdims", 2)))
    return Tensor(call.add("cast", found, to="bool"))


@layer("ops.ZerosLike", "ops.OnesLike", honours="dtype")
def filled(call: Call) -> Tensor:
    """Zeros or ones in the shape of the input, in its dtype unless another one is given."""
    x = call.inputs[0].value
    dtype = _dtype(call, call.config.get("dtype") or call.builder.fact(x).dtype)
    number = call.constant(np.asarray(call.spec.kind == "ops.OnesLike", dtype), "number")
    return Tensor(call.add("expand", number, call.add("shape", x, suffix="/shape")))


@layer("ops.Cast", "tf.cast", honours="dtype")
def cast(call: Call) -> Tensor:
    return Tensor(call.add("cast", call.inputs[0].value, to=_dtype(call, option(call, "dtype", 1))))


@layer("ops.Where", "tf.where", honours=KEYS)
def where(call: Call) -> Tensor:
    """The second operand where the first is true, else the third."""
    if len(given := arguments(call)) != 3:
        raise call.refuse(f"it has {len(given)} operands; supported are a condition and two choices")
    condition, *choices = given
    like = next((tensor.value for tensor in choices if isinstance(tensor, Tensor)), None)
    return Tensor(call.add("where", operand(call, condition), *(operand(call, value, like) for value in choices)))


@layer("ops.Clip", honours="x_min x_max")
def clip(call: Call) -> Tensor:
    low, high = (call.number(key, default) for key, default in (("x_min", -np.inf), ("x_max", np.inf)))
    return Tensor(call.add("clip", call.x, min=low, max=high))


@layer("ops.LeakyRelu", honours="negative_slope")
def leaky_relu(call: Call) -> Tensor:
    return Tensor(call.add("leaky_relu", call.x, alpha=call.number("negative_slope", 0.2)))


@layer("ops.Gelu", honours="approximate")
def gelu(call: Call) -> Tensor:
    return Tensor(call.add("gelu", call.x, approximate=call.flag("approximate", True)))


@layer("ops.Matmul", "tf.linalg.matmul", honours=KEYS)
def matmul(call: Call) -> Tensor:
    for name in ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"):
        if call.kwargs.get(name):
            raise call.refuse(f"{name} is not supported")
    operands = [operand(call, value) for value in arguments(call)[:2]]
    if len(operands) != 2:
        raise call.bad(f"has {len(operands)} operands, not two")
    return Tensor(call.add("matmul", *operands))


def axes_of(call: Call) -> tuple[int, ...]:
    """The option `axis`, one number or a list; empty where it is left out."""
    axis = option(call, "axis", 1)
    axes = [] if axis is None else axis if isinstance(axis, list) else [axis]
    if not all(isinstance(at, int) and not isinstance(at, bool) for at in axes):
        raise call.refuse(f"axis = {axis!r}; supported are whole numbers")
    return tuple(axes)


def arguments(call: Call) -> list[Any]:
    """The operands in order, also where the dialect names them."""
    named = [call.kwargs[name] for name in ("x", "y", "x1", "x2", "a", "b") if call.kwargs.get(name) is not None]
    return [*call.args, *named]


def operand(call: Call, value: Any, like: str | None = None) -> str:
    """A tensor, or a number as a constant of the dtype of `like`, the first tensor of the call without it."""
    if isinstance(value, Tensor):
        return value.value
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner.get("value", value) if isinstance(inner, dict) else value
    try:
        array = np.asarray(value, call.builder.fact(like or call.inputs[0].value).dtype)
    except (TypeError, ValueError):
        raise call.refuse(f"the operand {value!r} is not supported") from None
    return call.builder.constant(array, f"{call.path}/operand")


def option(call: Call, name: str, position: int) -> Any:
    """An option given by name, in the configuration, or as an argument at that position."""
    if name in call.kwargs:
        return call.kwargs[name]
    if name in call.config:
        return call.config[name]
    value = call.args[position] if len(call.args) > position else None
    return None if isinstance(value, Tensor) else value


def _dtype(call: Call, name: Any) -> str:
    """The dtype of the runtime for one of Keras; half and double precision become float32."""
    found = _DTYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise call.refuse(f"dtype = {name!r}; supported are {', '.join(_DTYPES)}")
    return found
