"""The vector set of the kernels for threads: a vector is the number of one lane, and the thread is that lane.

With lanes = 1 a thread works alone, and every kernel's code runs as it is. With more, `lanes` neighbouring threads share a
vector, which is enough for code that never looks across lanes. What each member means is said in kernels/vectors.
"""

import functools
from collections.abc import Callable
from types import CellType, FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from edgelstm.cuda.driver import SIMULATED, cuda, extending, machine, types


def narrowed(function: FunctionType, kind: type = np.float32) -> FunctionType:
    """The function with its float constants as float32: what a vector does by itself with numbers that it meets.

    With kind=float64 they are what compiled code takes them for, also where the simulator runs them as Python.
    """
    def typed(value: Any) -> Any:
        return kind(value) if type(value) is float else value

    code = function.__code__
    code = code.replace(co_consts=tuple(typed(value) for value in code.co_consts))
    cells = function.__closure__ and tuple(CellType(typed(cell.cell_contents)) for cell in function.__closure__)
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, cells)


def device(function: Any) -> Any:
    """A function that kernels call."""
    if not isinstance(function, FunctionType):
        return function
    plain = SIMULATED and "cuda" not in function.__code__.co_names
    return function if plain else cuda.jit(function, device=True)


def written_out(count: int, of: Callable[[int], Any], first: int = 0) -> Any:
    """A function that calls of(0), of(1) and so on, of(count - 1); for loops longer than the compiler unrolls."""
    if count == 1:
        return of(first)
    before, after = written_out(count // 2, of, first), written_out(count - count // 2, of, first + count // 2)

    def both(*given):
        before(*given)
        after(*given)

    return device(both)


def anew() -> Any:
    """`anew(n)`: n as an int64 of which the compiler knows nothing, so that it computes what depends on it where it is used,
    instead of once before a loop at the price of a register throughout.
    """
    if SIMULATED:
        return lambda n: n
    ir, _, intrinsic = extending()

    @intrinsic
    def same(context: Any, n: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            word = ir.IntType(64)
            code = ir.InlineAsm(ir.FunctionType(word, [word]), "mov.b64 $0, $1;", "=l,l", side_effect=True)
            return builder.call(code, [context.cast(builder, values[0], signature.args[0], types.int64)])

        return types.int64(n), codegen

    return same


class Vectors(SimpleNamespace):
    """One set. `wide` leaves float constants float64, for kernels that compute with numbers and not with vectors."""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@functools.cache
def make(lanes: int = 1, wide: bool = False) -> Vectors:
    """The set for threads that work alone, or for `lanes` of them with a number each."""
    kind = np.float64 if wide else np.float32

    def inline(function: Any) -> Any:
        return device(narrowed(function, kind) if isinstance(function, FunctionType) else function)

    found = {**machine(), **_plain(), **_bitwise(), **_memory(lanes)}
    return Vectors(lanes=lanes, registers=16, dot="plain", offset=0, inline=inline, outline=inline,
                   **{name: device(member) for name, member in found.items()})


def _plain() -> dict[str, Any]:
    return {
        "min": lambda a, b: a if a < b else b, "max": lambda a, b: a if a > b else b,
        "less": lambda a, b: a < b, "less_equal": lambda a, b: a <= b, "equal": lambda a, b: a == b,
        "both": lambda m, n: m and n, "either": lambda m, n: m or n, "invert": lambda m: not m,
        "any_set": lambda m: m, "all_set": lambda m: m, "select": lambda m, a, b: np.float32(a) if m else np.float32(b),
        "sum": lambda x: x, "least": lambda x: x, "greatest": lambda x: x,
        "splat": lambda s: np.float32(s), "f32": lambda s: np.float32(s), "zero": lambda: np.float32(0.0),
    }  # fmt: skip


def _bitwise() -> dict[str, Any]:
    m = machine()
    bits, number, nearest = device(m["bits"]), device(m["number"]), device(m["nearest"])

    def pow2(n):
        return number(np.int32(np.int32(n if n == n else np.float32(0.0)) + np.int32(127) << np.int32(23)))

    power = device(pow2)

    def nearest_power(x, rate):
        n = nearest(x * np.float32(rate))
        return n, power(n)

    def exponent(x):
        return np.float32((bits(x) >> 23 & 511) - 127)

    def mantissa(x):
        return number(np.int32(bits(x) & 0x7FFFFF | 0x3F800000))

    return {"pow2": pow2, "nearest_power": nearest_power, "exponent": exponent, "mantissa": mantissa,
            "round_small": lambda x: nearest(x)}


def _memory(lanes: int) -> dict[str, Any]:
    lane = _lane(lanes)

    def load_part(p, i, n):
        return p[np.uint64(i + lane())] if lane() < n else np.float32(0.0)

    def store_part(p, i, n, x):
        if lane() < n:
            p[np.uint64(i + lane())] = x

    def store(p, i, x):
        p[np.uint64(i + lane())] = x

    return {"load": lambda p, i: p[np.uint64(i + lane())], "store": store, "load_part": load_part, "store_part": store_part,
            "index": lambda: np.float32(lane()), "is_null": lambda p: p.shape[0] == 0, "prefetch": lambda p, i: None}


def _lane(lanes: int) -> Any:
    if lanes == 1:
        return device(lambda: 0)
    return cuda.jit(lambda: cuda.threadIdx.x % lanes, device=True)
