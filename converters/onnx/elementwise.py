"""Nodes that work element by element: arithmetic, comparisons, activations, casts."""

from functools import reduce

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

_UNARY = {
    "Abs": "abs",
    "Ceil": "ceil",
    "Cos": "cos",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "HardSwish": "hard_silu",
    "IsNaN": "is_nan",
    "Log": "log",
    "Mish": "mish",
    "Neg": "neg",
    "Not": "not",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
}
_BINARY = {
    "Add": "add",
    "And": "and",
    "Div": "div",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Mul": "mul",
    "Or": "or",
    "PRelu": "prelu",
    "Sub": "sub",
    "Xor": "xor",
}
_VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}
_ALPHA = {"Elu": ("elu", 1.0), "LeakyRelu": ("leaky_relu", 0.01), "ThresholdedRelu": ("thresholded_relu", 1.0)}
_CAST = {
    "FLOAT": "float32",
    "FLOAT16": "float32",
    "DOUBLE": "float32",
    "BFLOAT16": "float32",
    "INT64": "int64",
    "INT32": "int32",
    "UINT8": "uint8",
    "BOOL": "bool",
}


@node(*_UNARY)
def unary(call: Call) -> str:
    return call.add(_UNARY[call.op_type], call.input(0))


@node(*_BINARY)
def binary(call: Call) -> str:
    return call.add(_BINARY[call.op_type], call.input(0), call.input(1))


@node(*_VARIADIC)
def variadic(call: Call) -> str:
    values = call.inputs()
    result = reduce(lambda a, b: call.add(_VARIADIC[call.op_type], a, b), values)
    if call.op_type == "Mean":
        return call.add("mul", result, call.const(np.float32(1 / len(values)), "share"))
    return result


@node(*_ALPHA)
def with_alpha(call: Call) -> str:
    op, default = _ALPHA[call.op_type]
    return call.add(op, call.input(0), alpha=float(call.attr("alpha", default)))


@node("HardSigmoid")
def hard_sigmoid(call: Call) -> str:
    alpha, beta = float(call.attr("alpha", 0.2)), float(call.attr("beta", 0.5))
    return call.add("hard_sigmoid", call.input(0), alpha=alpha, beta=beta)


@node("Selu")
def selu(call: Call) -> str:
    alpha, gamma = call.attr("alpha", 1.6732632423543772), call.attr("gamma", 1.0507009873554805)
    return call.add("selu", call.input(0), alpha=float(alpha), gamma=float(gamma))


@node("Celu")
def celu(call: Call) -> str:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)), that is alpha * elu(x / alpha)."""
    alpha = np.float32(call.attr("alpha", 1.0))
    scaled = call.add("div", call.input(0), call.const(alpha, "alpha"))
    return call.add("mul", call.add("elu", scaled), call.const(alpha, "alpha"))


@node("Gelu")
def gelu(call: Call) -> str:
    approximate = call.only("approximate", "none", "tanh") == "tanh"
    call.check()
    return call.add("gelu", call.input(0), approximate=approximate)


@node("Swish")
def swish(call: Call) -> str:
    alpha = float(call.attr("alpha", 1.0))
    x = call.input(0)
    if alpha == 1:
        return call.add("silu", x)
    return call.add("mul", x, call.add("sigmoid", call.add("mul", x, call.const(np.float32(alpha), "alpha"))))


@node("Identity")
def identity(call: Call) -> object:
    return call.raw(0)


@node("Dropout", limits="inference: no mask, training_mode false")
def dropout(call: Call) -> list[object]:
    """Nothing happens at inference. The mask that training would need is refused."""
    call.attr("ratio", 0.5)
    call.attr("seed", 0)
    if call.used[1:] == [True]:
        call.refuse("its output 'mask' is used; supported: inference, where nothing is dropped")
    if call.has(2) and np.any(call.array(2, "training_mode")):
        call.refuse("training_mode is true; supported: inference. Export the model in evaluation mode")
    return [call.raw(0), None]


@node("Pow", limits="one dtype, or a float base")
def power(call: Call) -> str:
    base, exponent = call.input(0), call.input(1)
    dtype = call.builder.fact(base).dtype
    if call.builder.fact(exponent).dtype != dtype:
        if dtype != "float32":
            call.refuse(
                f"its base is {dtype} and its exponent {call.builder.fact(exponent).dtype}; supported: one dtype, "
                "or a float base"
            )
        exponent = call.add("cast", exponent, to=dtype)
    return call.add("pow", base, exponent)


@node("Mod")
def modulo(call: Call) -> str:
    fmod = bool(call.only("fmod", 0, 1))
    return call.add("mod", call.input(0), call.input(1), fmod=fmod)


@node("Where")
def where(call: Call) -> str:
    return call.add("where", call.input(0), call.input(1), call.input(2))


@node("Cast", limits="to float, float16, bfloat16, double (all computed as float32), int64, int32, uint8, bool")
def cast(call: Call) -> object:
    from onnx import TensorProto

    to, _ = call.attr("to"), call.attr("saturate", 1)
    call.attr("round_mode", "up")
    name = TensorProto.DataType.Name(to) if to in TensorProto.DataType.values() else str(to)
    if name not in _CAST:
        call.refuse(f"attribute to={name}; supported: {', '.join(_CAST)}")
    return _cast(call, _CAST[name])


@node("CastLike")
def cast_like(call: Call) -> object:
    call.attr("saturate", 1)
    call.attr("round_mode", "up")
    return _cast(call, call.fact(1).dtype)


@node("Clip")
def clip(call: Call) -> str:
    """Bounds are attributes before opset 11 and inputs since; bounds that are computed become minimum and maximum."""
    x = call.input(0)
    if call.opset < 11:
        low, high = call.attr("min", -np.inf), call.attr("max", np.inf)
        return call.add("clip", x, min=float(low), max=float(high))
    bounds = [call.constant(i) if call.has(i) else np.float32(default) for i, default in ((1, -np.inf), (2, np.inf))]
    if all(bound is not None and bound.size == 1 for bound in bounds):
        low, high = (float(np.ravel(bound)[0]) for bound in bounds)
        return call.add("clip", x, min=low, max=high)
    for i, op in ((1, "maximum"), (2, "minimum")):
        x = call.add(op, x, call.input(i)) if call.has(i) else x
    return x


def _cast(call: Call, dtype: str) -> object:
    """The first input in another dtype; constants are cast at once."""
    value = call.raw(0)
    if isinstance(value, np.ndarray):
        with np.errstate(over="ignore", invalid="ignore"):
            return value.astype(dtype)
    return value if call.builder.fact(value).dtype == dtype else call.add("cast", value, to=dtype)
