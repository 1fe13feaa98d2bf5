"""What the members on bytes, 16-bit halves and int32 sums mean, in NumPy."""

from typing import Any

import numpy as np

from edgelstm.kernels.vectors.plain_pointer import Pointer

Vector = np.ndarray
Block = tuple[np.ndarray, ...]


def bfloat16(halves: np.ndarray) -> Vector:
    """bfloat16, given as uint16, as float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


class Integers:
    """The part of the vector set that works on narrow numbers."""

    lanes: int

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def store_octets(self, p: Pointer, i: int, x: Vector, offset: int) -> None:
        whole = np.rint(np.nan_to_num(x)).astype(np.int64)
        p.span(i, self.lanes)[:] = np.where(np.isnan(x), 0, whole + offset) & 255

    def load_s8(self, p: Pointer, i: int) -> Vector:
        return p.octets(i, self.lanes).view(np.int8).astype(np.float32)

    def load_s8_part(self, p: Pointer, i: int, n: int) -> Vector:
        return self._part(p, i, n, np.dtype(np.int8)).astype(np.float32)

    def load_bfloat16(self, p: Pointer, i: int) -> Vector:
        return bfloat16(p.octets(i, 2 * self.lanes).view(np.uint16))

    def load_bfloat16_part(self, p: Pointer, i: int, n: int) -> Vector:
        return bfloat16(self._part(p, i, n, np.dtype(np.uint16)))

    def _part(self, p: Pointer, i: int, n: int, dtype: np.dtype) -> np.ndarray:
        found, n = np.zeros(self.lanes, dtype), max(0, min(self.lanes, n))
        if n:
            found[:n] = p.octets(i, n * dtype.itemsize).view(dtype)
        return found

    def zero_sums(self, count: int) -> Block:
        return (np.zeros(self.lanes, np.int32),) * count

    def load_sums(self, p: Pointer, i: int, di: int, rows: int, vectors: int) -> Block:
        return tuple(self._words(p, i + m * di, g, np.int32) for m in range(rows) for g in range(vectors))

    def spread_sums(self, p: Pointer, i: int, di: int, rows: int, vectors: int) -> Block:
        found = [p.octets(i + m * di, 4).view(np.int32)[0] for m in range(rows)]
        return tuple(np.full(self.lanes, found[m], np.int32) for m in range(rows) for _ in range(vectors))

    def dot_block(self, sums: Block, x: Pointer, i: int, di: int, w: Pointer, j: int, dj: int, vectors: int) -> Block:
        stored = np.uint8 if self.offset else np.int8
        found = []
        for e, total in enumerate(sums):
            m, g = divmod(e, vectors)
            found.append(self._dot(total, x.octets(i + m * di, 4).view(stored), self._words(w, j + m * dj, g)))
        return tuple(found)

    def nibble_block(self, sums: Block, x: Pointer, i: int, di: int, w: Pointer, j: int, vectors: int, halves: int) -> Block:
        found = []
        for e, total in enumerate(sums):
            m, g = divmod(e, vectors)
            for r in range(4):
                words = self._words(w, j, r * vectors + g)
                for after, part in ((4 * r, words & 0x0F0F0F0F), (4 * r + 16, words >> 4 & 0x0F0F0F0F))[:halves]:
                    total = self._dot(total, x.octets(i + m * di, 4, after).view(np.int8), part)
            found.append(total)
        return tuple(found)

    def scaled_block(self, sums: Block, c: Pointer, j: int, vectors: int) -> Block:
        return tuple(x.astype(np.float32) * self._words(c, j, e % vectors, np.float32) for e, x in enumerate(sums))

    def fma_group(self, block: Block, sums: Block, c: Pointer, j: int, vectors: int) -> Block:
        words = [self._words(c, j, g, np.uint32) for g in range((vectors + 1) // 2)]
        scales = [half.view(np.float32) for word in words for half in (word << 16, word & 0xFFFF0000)]
        pairs = enumerate(zip(sums, block, strict=True))
        return tuple(self.fma(x.astype(np.float32), scales[e % vectors], total) for e, (x, total) in pairs)

    def fma_rows(self, block: Block, total: Block, s: Pointer, i: int, di: int, vectors: int) -> Block:
        pairs = enumerate(zip(block, total, strict=True))
        return tuple(self.fma(x, s[i + e // vectors * di], y) for e, (x, y) in pairs)

    def fma_pairs(self, block: Block, x: Pointer, i: int, di: int, w: Pointer, j: int, dj: int, vectors: int) -> Block:
        found = []
        for e, total in enumerate(block):
            m, g = divmod(e, vectors)
            words = self._words(w, j + m * dj, g).view(np.uint32)
            for k, part in enumerate((words << 16, words & 0xFFFF0000)):
                total = self.fma(x[i + m * di + k], part.view(np.float32), total)
            found.append(total)
        return tuple(found)

    def _words(self, p: Pointer, i: int, g: int, dtype: Any = np.int32) -> np.ndarray:
        """Vector g of those that lie side by side from p[i] on, whatever the pointer is of."""
        return p.octets(i, 4 * self.lanes, 4 * g * self.lanes).view(dtype)

    def _dot(self, total: np.ndarray, q: np.ndarray, words: np.ndarray) -> np.ndarray:
        weights = np.ascontiguousarray(words).view(np.int8).reshape(self.lanes, 4)
        return total + (weights.astype(np.int32) @ q.astype(np.int32)).astype(np.int32)

    @staticmethod
    def octets(p: Pointer, i: int) -> Pointer:
        return Pointer(p.array[i:].view(np.uint8))

    @staticmethod
    def words(p: Pointer, i: int) -> Pointer:
        return Pointer(p.array[i:].view(np.int32))

    @staticmethod
    def largest(m: Vector, x: Vector) -> Vector:
        return np.maximum(m, np.abs(x))
