"""Twins that run the CPU kernel's own code, written for scalars, with a part of the elements for every thread.

`over(part)` launches `part(body, pointers, steps, i, numbers)` for every i; a part hands the body the pointers moved to where
its share begins, and counts of 1. Where columns are independent, LANES neighbouring threads are one vector and share a part.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from edgelstm import kernels
from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, cuda
from edgelstm.cuda.launching import THREADS, Args, Launch, Twin, blocks_for, jit, launch
from edgelstm.cuda.scalars import device

Part = Callable[..., None]


def _pair(body: Any) -> Part:
    """x, y, a count, and what the body is told besides."""
    return lambda p, s, i, n: body(p[0][i * s[0]:], p[1][i * s[1]:], 1, *n)


def _one(body: Any) -> Part:
    return lambda p, s, i, n: body(p[0][i:], 1, n[0])


def _layer_norm(body: Any) -> Part:
    return lambda p, s, i, n: body(p[0][i * s[0]:], p[1], p[2], p[3][i * s[0]:], 1, n[0], n[1], n[2])


def _gather(body: Any) -> Part:
    """numbers: n, count, inner; i counts (outer, count)."""
    def part(p, s, i, n):
        outer = i // n[1]
        body(p[0][outer * n[0] * n[2]:], p[1][i - outer * n[1]:], p[2][i * n[2]:], 1, n[0], 1, n[2])

    return part


def _depthwise(body: Any) -> Part:
    """numbers: count, taps, x_batch, x_row, x_tap, channels; i counts (batch, count)."""
    def part(p, s, i, n):
        b = i // n[0]
        start = b * n[2] + (i - b * n[0]) * n[3]
        body(p[0][start:], p[1], p[2], p[3][i * n[5]:], 1, 1, n[1], n[2], n[3], n[4], n[5])

    return part


def _integer_dense(body: Any) -> Part:
    """numbers: n_in, n_out and the rest; i counts elements of y."""
    def part(p, s, i, n):
        row = i // n[1]
        column = i - row * n[1]
        body(p[0][row * n[0]:], p[1][column * n[0]:], p[2][2 * column:], p[4][i:], 1, n[0], 1, n[2], n[3], n[4], n[5], p[3])

    return part


def _integer_softmax(body: Any) -> Part:
    """numbers: n, word."""
    return lambda p, s, i, n: body(p[0][i * n[0]:], p[2][i * n[0]:], 1, n[0], n[1], p[1])


def _lookup(body: Any) -> Part:
    return lambda p, s, i, n: body(p[0][i:], p[1], p[2][i:], 1)


def _matmul(body: Any) -> Part:
    """numbers: rows, inner, columns, n1, n2; steps: starts and the strides of the batch axes; i counts elements of y."""
    def part(p, s, i, n):
        column, i = i % n[2], i // n[2]
        row, i = i % n[0], i // n[0]
        r, i = i % n[4], i // n[4]
        q, b = i % n[3], i // n[3]
        total = np.float32(0.0)
        start, a_at, b_at = s[0], s[1], s[2]
        at = start[0] + b * a_at[0] + q * a_at[1] + r * a_at[2] + row * n[1]
        to = start[1] + b * b_at[0] + q * b_at[1] + r * b_at[2] + column
        for k in range(n[1]):
            product = p[0][at + k] * p[1][to + k * n[2]]
            total = product if k == 0 else total + product
        p[2][start[2] + b * s[3][0] + q * s[3][1] + r * s[3][2] + row * n[2] + column] = total

    return part


def _three(args: Args, prefix: str) -> tuple[int, ...]:
    return tuple(args[f"{prefix}{axis}"] for axis in range(3))


def _size(lengths: tuple[int, ...]) -> int:
    size = 1
    for n in lengths:
        size *= n
    return size


@cache
def _kernel(name: str, part: Callable[[Any], Part], lanes: int, wide: bool) -> Any:
    run = device(part(device(_body(name, lanes, wide))))

    def twin(pointers, steps, count, numbers):
        for i in range(cuda.grid(1) // lanes, count, cuda.gridsize(1) // lanes):
            run(pointers, steps, i, numbers)

    return jit(twin)


def _body(name: str, lanes: int, wide: bool) -> Any:
    if name == "matmul":
        return _nothing
    body = kernels.get(name).factory(scalars.make(lanes, wide))
    return scalars.narrowed(body, np.float64 if wide else np.float32)


def _nothing() -> None:
    """The body of parts that need none."""


def over(name: str, part: Callable[[Any], Part], share: Callable[[Args], tuple[Any, Any, int, Any]], *, wide: bool = True,
         lanes: Callable[[Args], int] = lambda args: 1) -> Twin:
    """The twin whose parts are those of `share(args)`: pointers, steps, how many, and numbers."""
    def bind(args: Args) -> list[Launch]:
        pointers, steps, count, numbers = share(args)
        if count == 0:
            return []
        width = lanes(args)
        kernel = _kernel(name, part, width, wide)
        return [launch(kernel, blocks_for(count * width), THREADS, pointers, steps, count, numbers)]

    return Twin(bind)


def _rest(args: Args, *used: str) -> tuple[Any, ...]:
    return tuple(value for key, value in args.items() if key not in (*used, "none"))


def _flat(args: Args) -> tuple[Any, Any, int, Any]:
    count = "n" if "n" in args else "count"
    return (args["x"], args["y"]), (1, 1), args[count], _rest(args, "x", "y", count)


def _outer(args: Args) -> tuple[Any, Any, int, Any]:
    """Reductions keep one of n elements, what else has these parameters all."""
    whole = args["n"] * args["inner"]
    return (args["x"], args["y"]), (whole, args["inner"]), args["outer"], _rest(args, "x", "y", "outer")


def _whole_outer(args: Args) -> tuple[Any, Any, int, Any]:
    whole = args["n"] * args["inner"]
    return (args["x"], args["y"]), (whole, whole), args["outer"], _rest(args, "x", "y", "outer")


def _pool(args: Args) -> tuple[Any, Any, int, Any]:
    steps = args["steps"] * args["channels"], args["count"] * args["channels"]
    return (args["x"], args["y"]), steps, args["batch"], _rest(args, "x", "y", "batch")


def _by_columns(args: Args) -> int:
    return LANES if args["inner"] > 1 else 1


def _many(args: Args) -> int:
    return LANES


def twin(name: str) -> Twin | None:
    """The twin of a kernel, None where this file has none."""
    if name in _OTHERS:
        return _OTHERS[name](name)
    params = [param for param, _ in kernels.get(name).params]
    if name.startswith("integer") and params[:3] == ["x", "y", "n"]:
        return over(name, _pair, _flat)
    if name.startswith("fill_"):
        return over(name, _one, lambda a: ((a["y"],), (1,), a["n"], (a["value"],)))
    if name.startswith(("reduce_", "arg_max_")):
        vector = name.endswith("_f32") and name.startswith("reduce_") and name != "reduce_prod_f32"
        return over(name, _pair, _outer, wide=not vector, lanes=_by_columns if vector else lambda args: 1)
    return None


_OTHERS: dict[str, Callable[[str], Twin]] = {
    "softmax_f32": lambda name: over(name, _pair, _whole_outer, wide=False, lanes=_by_columns),
    "log_softmax_f32": lambda name: over(name, _pair, _whole_outer, wide=False, lanes=_by_columns),
    "cumsum_f32": lambda name: over(name, _pair, _whole_outer),
    "cumsum_i64": lambda name: over(name, _pair, _whole_outer),
    "max_pool1d": lambda name: over(name, _pair, _pool, wide=False, lanes=_many),
    "avg_pool1d": lambda name: over(name, _pair, _pool, wide=False, lanes=_many),
    "layer_norm_f32": lambda name: over(name, _layer_norm, lambda a: (
        (a["x"], a["gamma"], a["beta"], a["y"]), (a["n"],), a["rows"], (a["n"], a["share"], a["epsilon"])), wide=False),
    "gather4": lambda name: over(name, _gather, lambda a: (
        (a["x"], a["indices"], a["y"]), (1,), a["outer"] * a["count"], (a["n"], a["count"], a["inner"])), lanes=_many),
    "gather1": lambda name: over(name, _gather, lambda a: (
        (a["x"], a["indices"], a["y"]), (1,), a["outer"] * a["count"], (a["n"], a["count"], a["inner"]))),
    "one_hot": lambda name: over(name, _pair, lambda a: (
        (a["indices"], a["y"]), (a["inner"], a["depth"] * a["inner"]), a["outer"], (a["depth"], a["inner"], a["on"]))),
    "sequence_mask": lambda name: over(name, _pair, lambda a: (
        (a["lengths"], a["y"]), (1, a["steps"]), a["batch"], (a["steps"],))),
    "depthwise": lambda name: over(name, _depthwise, lambda a: (
        (a["x"], a["w"], a["bias"], a["y"]), (1,), a["batch"] * a["count"],
        (a["count"], a["taps"], a["x_batch"], a["x_row"], a["x_tap"], a["channels"])), wide=False, lanes=_many),
    "matmul": lambda name: over(name, _matmul, lambda a: (
        (a["a"], a["b"], a["y"]),
        ((a["a_start"], a["b_start"], a["y_start"]), _three(a, "as"), _three(a, "bs"), _three(a, "ys")),
        _size(_three(a, "n")) * a["rows"] * a["columns"], (a["rows"], a["inner"], a["columns"], a["n1"], a["n2"]))),
    "integer_lookup": lambda name: over(name, _lookup, lambda a: ((a["x"], a["table"], a["y"]), (1,), a["n"], (0,))),
    **dict.fromkeys(("integer_dense_i8", "integer_dense_i16"), lambda name: over(name, _integer_dense, lambda a: (
        (a["x"], a["w"], a["columns"], a["table"], a["y"]), (1,), a["rows"] * a["n_out"],
        tuple(a[key] for key in ("n_in", "n_out", "extra", "activation", "y_word", "limit"))))),
    **dict.fromkeys(("integer_softmax_i8", "integer_softmax_i16"), lambda name: over(name, _integer_softmax, lambda a: (
        (a["x"], a["table"], a["y"]), (1,), a["rows"], (a["n"], a["word"])))),
}
