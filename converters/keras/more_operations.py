"""Operations of Keras 3 functional models that are written with several ops, or take options of their own."""

from typing import Any

import numpy as np
from edgelstm_converters.keras.call import Call, Tensor
from edgelstm_converters.keras.operations import KEYS, arguments, axes_of, operand, option
from edgelstm_converters.keras.registry import layer

from edgelstm.errors import ShapeError

_LOGARITHMS = {"ops.Log2": 1 / np.log(2), "ops.Log10": 1 / np.log(10)}
_PADDING = {"constant": "constant", "edge": "edge", "reflect": "reflect"}


@layer("ops.ConvertToTensor", honours="dtype", fixed={"sparse": (None, False), "ragged": (None, False)})
def convert_to_tensor(call: Call) -> Tensor:
    if call.config.get("dtype") not in (None, call.builder.fact(call.x).dtype):
        raise call.refuse(f"dtype = {call.config['dtype']!r}; supported is the dtype of the input")
    return Tensor(call.x)


@layer("ops.Elu", honours="alpha")
def elu(call: Call) -> Tensor:
    return Tensor(call.add("elu", call.x, alpha=call.number("alpha", 1.0)))


@layer("ops.HardSigmoid", "ops.HardTanh", "ops.TanhShrink")
def bounded(call: Call) -> Tensor:
    if call.spec.kind == "ops.HardSigmoid":
        return Tensor(call.add("hard_sigmoid", call.x, alpha=1 / 6, beta=0.5))
    if call.spec.kind == "ops.HardTanh":
        return Tensor(call.add("clip", call.x, min=-1.0, max=1.0))
    return Tensor(call.add("sub", call.x, call.add("tanh", call.x, suffix="/tanh")))


@layer("ops.Round", fixed={"decimals": (0, None)})
def rounded(call: Call) -> Tensor:
    """The nearest whole number, of two the even one."""
    return Tensor(call.add("round", call.x))


@layer("ops.Expm1", "ops.Log1p", *_LOGARITHMS)
def exponential(call: Call) -> Tensor:
    """exp(x) - 1, log(1 + x), and logarithms to the bases 2 and 10."""
    kind, one = call.spec.kind, call.constant(np.float32(1), "one")
    if kind == "ops.Expm1":
        return Tensor(call.add("sub", call.add("exp", call.x, suffix="/exp"), one))
    if kind == "ops.Log1p":
        return Tensor(call.add("log", call.add("add", call.x, one, suffix="/above")))
    return Tensor(call.add("mul", call.add("log", call.x, suffix="/log"), call.constant(np.float32(_LOGARITHMS[kind]), "base")))


@layer("ops.FloorDivide", "ops.Mod", honours=KEYS)
def division(call: Call) -> Tensor:
    """floor(a / b), and a - b floor(a / b), of floating-point numbers."""
    operands = [operand(call, value) for value in arguments(call)[:2]]
    if len(operands) != 2 or any(call.builder.fact(value).dtype != "float32" for value in operands):
        raise call.refuse("supported are two floating-point operands")
    whole = call.add("floor", call.add("div", *operands, suffix="/quotient"), suffix="/floor")
    if call.spec.kind == "ops.FloorDivide":
        return Tensor(whole)
    return Tensor(call.add("sub", operands[0], call.add("mul", operands[1], whole, suffix="/multiple")))


@layer("ops.Var", "ops.Std", honours=KEYS)
def variance(call: Call) -> Tensor:
    """The mean squared distance from the mean, and its root."""
    axes, keepdims = axes_of(call), call.flag("keepdims")
    mean = call.add("reduce_mean", call.x, suffix="/mean", axes=axes, keepdims=True)
    square = call.add("square", call.add("sub", call.x, mean, suffix="/centred"), suffix="/square")
    y = call.add("reduce_mean", square, suffix="/variance", axes=axes, keepdims=keepdims)
    return Tensor(y if call.spec.kind == "ops.Var" else call.add("sqrt", y))


@layer("ops.Logsumexp", honours=KEYS)
def log_sum_exp(call: Call) -> Tensor:
    """log(sum(exp(x))), the largest number taken out first."""
    axes = axes_of(call)
    highest = call.add("reduce_max", call.x, suffix="/highest", axes=axes, keepdims=True)
    powers = call.add("exp", call.add("sub", call.x, highest, suffix="/below"), suffix="/exp")
    total = call.add("log", call.add("reduce_sum", powers, suffix="/total", axes=axes, keepdims=True), suffix="/log")
    y = call.add("add", total, highest, suffix="/sum")
    dropped = axes or tuple(range(call.rank(y)))
    return Tensor(y if call.flag("keepdims") else call.add("squeeze", y, axes=dropped))


@layer("ops.Argmax", "ops.Argmin", honours=KEYS)
def arg_max(call: Call) -> Tensor:
    """The index of the largest or smallest number, int32; of several the first."""
    axes = axes_of(call)
    if len(axes) != 1:
        raise call.refuse(f"axis = {option(call, 'axis', 1)!r}; supported is one axis")
    x = call.x if call.spec.kind == "ops.Argmax" else call.add("neg", call.x, suffix="/negative")
    index = call.add("arg_max", x, suffix="/index", axis=axes[0], keepdims=call.flag("keepdims"))
    return Tensor(call.add("cast", index, to="int32"))


@layer("ops.Cumsum", honours="axis", fixed={"dtype": (None,)})
def cumulative_sum(call: Call) -> Tensor:
    axes = axes_of(call)
    if len(axes) != 1:
        raise call.refuse(f"axis = {option(call, 'axis', 1)!r}; supported is one axis")
    return Tensor(call.add("cumsum", call.x, axis=axes[0]))


@layer("ops.Split", "ops.Unstack", honours="axis indices_or_sections num")
def split(call: Call) -> list[Tensor]:
    """A tensor cut along an axis of known length; Unstack cuts it into single slices and drops the axis."""
    axis = (axes_of(call) or (0,))[0]
    sizes = _sizes(call, axis)
    parts = call.builder.add_many("split", call.x, name=call.path, used=len(sizes), axis=axis, sizes=tuple(sizes))
    if call.spec.kind == "ops.Split":
        return [Tensor(part) for part in parts if part is not None]
    return [Tensor(call.add("squeeze", part, suffix=f"/{i}", axes=(axis,))) for i, part in enumerate(parts)]


def _sizes(call: Call, axis: int) -> list[int]:
    if not -call.rank(call.x) <= axis < call.rank(call.x):
        raise call.bad(f"has axis = {axis} for an input with {call.rank(call.x)} axes")
    length = call.dim(call.x, axis)
    if length is None:
        raise ShapeError(f"layer {call.path!r} ({call.spec.kind}) needs an axis {axis} of known length")
    given = call.config.get("indices_or_sections", length)
    if _is_index(given) and given > 0 and length % given == 0:
        return [length // given] * given
    if not isinstance(given, list) or not all(map(_is_index, given)) or [0, *given, length] != sorted([0, *given, length]):
        raise call.refuse(f"indices_or_sections = {given!r} of an axis of length {length}")
    return [int(size) for size in np.diff([0, *given, length])]


@layer("ops.Repeat", honours="repeats axis")
def repeat(call: Call) -> Tensor:
    """Every slice along an axis `repeats` times in a row."""
    x, rank, axes = call.x, call.rank(call.x), axes_of(call)
    if len(axes) != 1 or not -rank <= axes[0] < rank:
        raise call.refuse(f"axis = {option(call, 'axis', 1)!r} of an input with {rank} axes")
    at, count = axes[0] % rank, call.integer("repeats")
    behind = [call.dim(x, axis) for axis in range(at + 1, rank)]
    if None in behind:
        raise ShapeError(f"layer {call.path!r} ({call.spec.kind}) needs axes of known length behind the repeated one")
    column = call.add("unsqueeze", x, suffix="/column", axes=(at + 1,))
    tiled = call.add("tile", column, call.integers(*[1] * (at + 1), count, *[1] * len(behind)), suffix="/repeated")
    return Tensor(call.add("reshape", tiled, call.integers(*[0] * at, -1, *behind)))


@layer("ops.Tile", honours="repeats")
def tile(call: Call) -> Tensor:
    repeats = call.config.get("repeats")
    repeats = repeats if isinstance(repeats, list) else [repeats]
    missing = call.rank(call.x) - len(repeats)
    if missing < 0 or not all(map(_is_index, repeats)):
        raise call.refuse(f"repeats = {repeats!r} of an input with {call.rank(call.x)} axes")
    return Tensor(call.add("tile", call.x, call.integers(*[1] * missing, *repeats)))


@layer("ops.Pad", honours="pad_width constant_values", fixed={"mode": tuple(_PADDING)})
def pad(call: Call) -> Tensor:
    """Numbers added before and behind along every axis: a constant, the edge, or the mirrored tensor."""
    width = call.config.get("pad_width")
    pairs = isinstance(width, list) and all(isinstance(p, list) and len(p) == 2 and all(map(_is_index, p)) for p in width)
    if not pairs or len(width) != call.rank(call.x):
        raise call.refuse(f"pad_width = {width!r} of an input with {call.rank(call.x)} axes; supported is a pair for each")
    pads = call.integers(*[before for before, _ in width], *[after for _, after in width])
    fill = call.kwargs.get("constant_values")
    mode = _PADDING[call.config.get("mode", "constant")]
    value = operand(call, 0.0 if fill is None else fill) if mode == "constant" else None
    return Tensor(call.add("pad", call.x, pads, value, mode=mode))


@layer("ops.Take", honours="axis")
def take(call: Call) -> Tensor:
    """The slices along an axis at constant indices."""
    axes = axes_of(call)
    indices = call.args[1] if len(call.args) > 1 else call.kwargs.get("indices")
    if len(axes) != 1 or not all(map(_is_int, _numbers(indices))):
        raise call.refuse("supported are whole numbers as indices, along one axis")
    try:
        array = np.array(indices, np.int64)
    except (ValueError, OverflowError):
        raise call.refuse(f"the indices {indices!r} are no table of whole numbers") from None
    return Tensor(call.add("gather", call.x, call.constant(array, "indices"), axis=axes[0]))


@layer("ops.OneHot", honours="num_classes axis", fixed={"dtype": ("float32", None), "sparse": (False, None)})
def one_hot(call: Call) -> Tensor:
    axes = axes_of(call) or (-1,)
    return Tensor(call.add("one_hot", call.x, depth=call.integer("num_classes"), axis=axes[0]))


def _numbers(value: Any) -> list[Any]:
    """The items of nested lists."""
    return [number for item in value for number in _numbers(item)] if isinstance(value, list) else [value]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_index(value: Any) -> bool:
    return _is_int(value) and 0 <= value < 1 << 31
