"""The vector set in NumPy: what every member means, and a way to run a kernel as the Python it is written in."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm.kernels.vectors.plain_integers import Integers
from edgelstm.kernels.vectors.plain_pointer import Pointer

Vector = np.ndarray
Mask = np.ndarray
Block = tuple[np.ndarray, ...]


class Vectors(Integers):
    """The vector set for `lanes` float32; members are listed in the package's docstring."""

    registers, half = 16, None

    def __init__(self, lanes: int, dot: str) -> None:
        super().__init__(128 if dot == "vnni" else 0)
        self.lanes, self.dot = lanes, dot

    def load(self, p: Pointer, i: int) -> Vector:
        return p.octets(i, 4 * self.lanes).view(np.float32).copy()

    def store(self, p: Pointer, i: int, x: Vector) -> None:
        p.span(i, self.lanes)[:] = x

    def load_part(self, p: Pointer, i: int, n: int) -> Vector:
        x, n = self.zero(), self._within(n)
        if n:
            x[:n] = p.span(i, n)
        return x

    def store_part(self, p: Pointer, i: int, n: int, x: Vector) -> None:
        n = self._within(n)
        if n:
            p.span(i, n)[:] = x[:n]

    def load_u8(self, p: Pointer, i: int) -> Vector:
        return p.span(i, self.lanes).astype(np.float32)

    def splat(self, s: float) -> Vector:
        return np.full(self.lanes, s, dtype=np.float32)

    def zero(self) -> Vector:
        return self.splat(0.0)

    def index(self) -> Vector:
        return np.arange(self.lanes, dtype=np.float32)

    def zero_block(self, count: int) -> Block:
        return (self.zero(),) * count

    def load_block(self, p: Pointer, i: int, di: int, rows: int, vectors: int) -> Block:
        return tuple(self.load(p, i + m * di + g * self.lanes) for m in range(rows) for g in range(vectors))

    def fma_block(
        self, block: Block, x: Pointer, i: int, di: int, w: Pointer, j: int, dj: int, vectors: int
    ) -> Block:
        weights = self.load_block(w, j, dj, len(block) // vectors, vectors)
        return tuple(self.fma(x[i + e // vectors * di], weights[e], total) for e, total in enumerate(block))

    def fold_block(self, block: Block, count: int) -> Block:
        while len(block) > count:
            half = len(block) // 2
            block = tuple(a + b for a, b in zip(block[:half], block[half:], strict=True))
        return block

    def store_block(self, p: Pointer, i: int, di: int, n: int, block: Block, vectors: int) -> None:
        for e, x in enumerate(block):
            m, g = divmod(e, vectors)
            self.store_part(p, i + m * di + g * self.lanes, n - g * self.lanes, x)

    def _within(self, n: int) -> int:
        return max(0, min(self.lanes, n))

    @staticmethod
    def atomic_add(p: Pointer, i: int, number: int) -> int:
        before = p[i]
        p[i] += number
        return before

    @staticmethod
    def atomic_store(p: Pointer, i: int, number: int) -> None:
        p[i] = number

    @staticmethod
    def atomic_load(p: Pointer, i: int) -> int:
        return p[i]

    @staticmethod
    def call(address: int) -> None:
        ctypes.CFUNCTYPE(None)(int(address))()

    @staticmethod
    def prefetch(p: Pointer, i: int) -> None:
        p.span(i, 1)

    @staticmethod
    def is_null(p: Pointer) -> bool:
        return p.array is None

    @staticmethod
    def fma(a: Any, b: Any, c: Any) -> Vector:
        return (np.float64(a) * np.float64(b) + c).astype(np.float32)

    @staticmethod
    def min(a: Any, b: Any) -> Vector:
        return np.where(np.less(a, b), a, b).astype(np.float32)

    @staticmethod
    def max(a: Any, b: Any) -> Vector:
        return np.where(np.greater(a, b), a, b).astype(np.float32)

    @staticmethod
    def pow2(n: Vector) -> Vector:
        return np.ldexp(np.float32(1), np.nan_to_num(n).astype(np.int32))

    @classmethod
    def nearest_power(cls, x: Vector, rate: float) -> Block:
        n = np.rint(x * np.float32(rate))
        return n, cls.pow2(n)

    @staticmethod
    def exponent(x: Vector) -> Vector:
        return ((x.view(np.uint32) >> 23).astype(np.int32) - 127).astype(np.float32)

    @staticmethod
    def mantissa(x: Vector) -> Vector:
        return (x.view(np.uint32) & 0x7FFFFF | 0x3F800000).view(np.float32)

    @staticmethod
    def select(mask: Mask, a: Any, b: Any) -> Vector:
        return np.where(mask, a, b).astype(np.float32)

    @staticmethod
    def sum(x: Vector) -> np.float32:
        while x.size > 1:
            x = x[: x.size // 2] + x[x.size // 2 :]
        return x[0]

    @staticmethod
    def inline(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    outline = inline
    absolute, sqrt, copysign = staticmethod(np.abs), staticmethod(np.sqrt), staticmethod(np.copysign)
    nearest, round_small, floor = staticmethod(np.rint), staticmethod(np.rint), staticmethod(np.floor)
    ceil, truncate = staticmethod(np.ceil), staticmethod(np.trunc)
    less, less_equal, equal = staticmethod(np.less), staticmethod(np.less_equal), staticmethod(np.equal)
    both, either, invert = staticmethod(np.logical_and), staticmethod(np.logical_or), staticmethod(np.logical_not)
    any_set, all_set = staticmethod(np.any), staticmethod(np.all)
    least, greatest = staticmethod(np.min), staticmethod(np.max)
    f32 = staticmethod(np.float32)


@functools.cache
def make(lanes: int, dot: str = "plain") -> Vectors:
    """The set for one width and one of `dots.WAYS`, of which only the bias of stored activations can be seen."""
    return Vectors(lanes, dot)
