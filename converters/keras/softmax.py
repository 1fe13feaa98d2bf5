"""The Softmax layer: over one axis or several, and with a mask of the numbers that count."""

import numpy as np
from edgelstm_converters.keras.call import Call
from edgelstm_converters.keras.registry import layer

_HIDDEN = -1e9  # what Keras takes for a number that does not count
_EMPTY_ROWS_ARE_ZERO = (3, 10)  # from this version on; before it, a row without a number that counts became uniform


@layer("Softmax", honours="axis", arguments="mask", keeps_mask=True)
def softmax(call: Call) -> str:
    """exp(x) / sum(exp(x)) over the axes; a mask, whose shape broadcasts to that of x, leaves numbers out."""
    x = call.x
    axes = _axes(call, call.rank(x))
    mask = None if call.mask is None else call.mask.value
    if mask is None:
        return softmax_over(call, x, axes)
    if call.builder.fact(mask).dtype != "bool":
        mask = call.add("greater", mask, call.constant(_half(call, mask), "half"), suffix="/mask")
    if not _broadcasts(call, mask, x):
        raise call.refuse(
            f"a mask with {call.rank(mask)} axes for an input with {call.rank(x)}: Keras itself takes only a mask that "
            "broadcasts to the input, and a mask of time steps does so for (batch, time) alone"
        )
    hidden = call.add("where", mask, x, call.constant(np.float32(_HIDDEN), "hidden"), suffix="/masked")
    y = softmax_over(call, hidden, axes)
    if (call.context.major, call.context.minor) < _EMPTY_ROWS_ARE_ZERO:
        return y
    return call.add("where", mask, y, call.constant(np.float32(0), "zero"), suffix="/kept")


def softmax_over(call: Call, x: str, axes: tuple[int, ...]) -> str:
    """The softmax over one axis, or over the numbers of several axes together."""
    if len(axes) == 1:
        return call.add("softmax", x, axis=axes[0])
    highest = call.add("reduce_max", x, suffix="/highest", axes=axes, keepdims=True)
    powers = call.add("exp", call.add("sub", x, highest, suffix="/below"), suffix="/exp")
    return call.add("div", powers, call.add("reduce_sum", powers, suffix="/total", axes=axes, keepdims=True))


def _axes(call: Call, rank: int) -> tuple[int, ...]:
    value = call.config.get("axis", -1)
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(axis, int) and not isinstance(axis, bool) and -rank <= axis < rank for axis in listed):
        raise call.bad(f"has axis = {value!r} for an input with {rank} axes")
    return tuple(sorted({axis % rank for axis in listed}))


def _broadcasts(call: Call, mask: str, x: str) -> bool:
    """Whether the shape of a mask fits that of x; two dynamic axes fit when they are one and the same."""
    try:
        fitted = np.broadcast_shapes(call.builder.fact(mask).shape, call.builder.fact(x).shape)
    except ValueError:
        return False
    return fitted == call.builder.fact(x).shape


def _half(call: Call, mask: str) -> np.ndarray:
    dtype = call.builder.fact(mask).dtype
    return np.asarray(0.5 if dtype == "float32" else 0, dtype)
