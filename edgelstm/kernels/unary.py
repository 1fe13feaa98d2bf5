"""Functions of one number: y[i] = f(x[i]) for i < n, in vectors. y may be x itself.

The activations come from `formulas`; the rest is written here. Parameters are float32.
"""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels import formulas, trigonometry
from edgelstm.kernels.declare import kernel

Formula = Callable[..., Any]


def _sign(v: Any) -> Formula:
    select, less = v.select, v.less

    def sign(x):
        """1, 0 or -1; NaN stays."""
        return select(less(x, 0.0), -1.0, select(less(0.0, x), 1.0, x))

    return v.inline(sign)


def _clip(v: Any) -> Formula:
    least, most = v.min, v.max

    def clip(x, low, high):
        """min(max(x, low), high); NaN stays."""
        return least(high, most(low, x))

    return v.inline(clip)


def _selu(v: Any) -> Formula:
    elu = formulas.make(v).elu
    return v.inline(lambda x, alpha, gamma: elu(x, alpha) * gamma)


def _rsqrt(v: Any) -> Formula:
    sqrt = v.sqrt
    return v.inline(lambda x: 1.0 / sqrt(x))


def _loop(v: Any, formula: Formula) -> Callable[..., None]:
    load, store, load_part, store_part, lanes = v.load, v.store, v.load_part, v.store_part, v.lanes

    def unary(x, y, n):
        whole = n - n % lanes
        for i in range(0, whole, lanes):
            store(y, i, formula(load(x, i)))
        store_part(y, whole, n - whole, formula(load_part(x, whole, n - whole)))

    return unary


def _loop_one(v: Any, formula: Formula) -> Callable[..., None]:
    load, store, load_part, store_part, lanes = v.load, v.store, v.load_part, v.store_part, v.lanes

    def unary(x, y, n, p):
        whole = n - n % lanes
        for i in range(0, whole, lanes):
            store(y, i, formula(load(x, i), p))
        store_part(y, whole, n - whole, formula(load_part(x, whole, n - whole), p))

    return unary


def _loop_two(v: Any, formula: Formula) -> Callable[..., None]:
    load, store, load_part, store_part, lanes = v.load, v.store, v.load_part, v.store_part, v.lanes

    def unary(x, y, n, p, q):
        whole = n - n % lanes
        for i in range(0, whole, lanes):
            store(y, i, formula(load(x, i), p, q))
        store_part(y, whole, n - whole, formula(load_part(x, whole, n - whole), p, q))

    return unary


_LOOPS = (_loop, _loop_one, _loop_two)
_SHARED = (
    "exp", "log", "erf", "relu", "relu6", "tanh", "sigmoid", "softsign", "softplus", "silu", "mish", "hard_silu",
    "log_sigmoid", "gelu", "gelu_tanh", "hard_sigmoid alpha beta", "elu alpha", "leaky_relu alpha",
    "thresholded_relu alpha", "scaled_tanh alpha beta", "affine alpha beta",
)  # fmt: skip
_OWN: dict[str, Callable[[Any], Formula]] = {
    "abs": lambda v: v.absolute,
    "neg": lambda v: v.inline(lambda x: -x),
    "square": lambda v: v.inline(lambda x: x * x),
    "reciprocal": lambda v: v.inline(lambda x: 1.0 / x),
    "sqrt": lambda v: v.sqrt,
    "rsqrt": _rsqrt,
    "floor": lambda v: v.floor,
    "ceil": lambda v: v.ceil,
    "round": lambda v: v.nearest,
    "sign": _sign,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    "clip min max": _clip,
    "selu alpha gamma": _selu,
}


def _declare(signature: str, make: Callable[[Any], Formula]) -> None:
    name, *params = signature.split()
    loop = _LOOPS[len(params)]
    words = " ".join(f"{param}:f32" for param in params)

    @kernel(f"{name}_f32", f"x:f32* y:f32* n:int {words}", make)
    def factory(v: Any) -> Callable[..., None]:
        return loop(v, make(v))


def _shared(name: str) -> Callable[[Any], Formula]:
    return lambda v: getattr(formulas.make(v), name)


for _signature in _SHARED:
    _declare(_signature, _shared(_signature.split()[0]))
for _signature, _make in _OWN.items():
    _declare(_signature, _make)
