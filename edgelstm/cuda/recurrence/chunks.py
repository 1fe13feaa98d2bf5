"""Chunks: how the weights of a format look to the sweep over recurrent products.

A panel is [chunk][row][LANES] words, one column for each unit of a vector, and after the chunks a tail. A chunk is what a
thread takes at once: all gates of one unit for some consecutive inputs. The last chunk may have fewer inputs, and then fewer
rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, cuda, types
from edgelstm.cuda.scalars import anew, device
from edgelstm.cuda.tiled.integer_products import high_nibbles, low_nibbles

INPUTS = 4  # of a chunk in formats that read floats


_AS_IT_IS, _SUM = device(lambda total: total), device(lambda a, b: a + b)


@dataclass(frozen=True)
class Chunk:
    """`inputs` of `gates` gates in `rows` rows of words; `stored(n_in)`: the rows of a whole panel, the tail included.

    `add(sums, x, at, stride, words, base, left)` adds to sums[m * gates + g] the products of x[at + m * stride :], `left`
    inputs of every row m or `inputs` where that is less, with the column whose words lie at base + row * LANES, or where the
    chunk was asked for words `apart`, at base + row * apart. A chunk of x has `numbers` elements. The sums are of the `kind`.

    `prepared`: in how many parts rows are prepared; 0 where they are read as they are. Whole chunks of them are read, so that
    rows end with zeros, and each part has sums of its own, those of the second behind those of the first. Sums travel as
    float32: `kept(sum)`, and `plus(a, b)` of two kept ones. `finished(kept, start, scale, source, column, n_in, g)` is gate g
    of a unit whose column begins at source[column], of a part of a row with that scale; `start` is what products are added to.
    """

    inputs: int
    rows: int
    stored: Callable[[int], int]
    add: Any
    numbers: int = INPUTS
    kind: Any = types.float32
    kept: Any = _AS_IT_IS
    plus: Any = _SUM
    prepared: int = 0
    finished: Any = None

    @property
    def sums(self) -> int:
        """Those of a row and a gate."""
        return max(1, self.prepared)

    def count(self, n_in: int) -> int:
        """The chunks of n_in inputs."""
        return -(-n_in // self.inputs)

    def row_words(self, n_in: int) -> int:
        """The 32-bit words of a prepared row, each part with its scale."""
        return (self.count(n_in) * self.numbers + 1) * self.prepared


@cache
def get(form: str, gates: int, rows: int, apart: int = LANES) -> Chunk:
    """The chunk of a format, for `rows` rows of the batch."""
    return {"float32": _float32, "bfloat16": _bfloat16, "int8": _int8, "int8x16": _int8x16, "int4": _int4}[form](
        gates, rows, apart)


def word(form: str) -> Any:
    """The type of the words of a format."""
    return types.float32 if form == "float32" else types.int32


def _float32(gates: int, rows: int, apart: int) -> Chunk:
    def take(sums, x, at, stride, words, base, k, left):
        for g in range(gates):
            factor = words[np.uint64(base + (k * gates + g) * apart)]
            for m in range(rows):
                sums[m * gates + g] += x[np.uint64(at + m * stride + k)] * factor

    return Chunk(INPUTS, INPUTS * gates, lambda n_in: n_in * gates, _four_or_fewer(device(take)))


def _bfloat16(gates: int, rows: int, apart: int) -> Chunk:
    number, given = scalars.make().number, _given(apart)

    def take(sums, x, at, stride, words, base, k, left):
        for g in range(gates):
            word = given(words[np.uint64(base + (k // 2 * gates + g) * apart)])
            factor = number(word & -65536 if k % 2 == 1 or k + 1 == left else word << 16)
            for m in range(rows):
                sums[m * gates + g] += x[np.uint64(at + m * stride + k)] * factor

    return Chunk(INPUTS, INPUTS // 2 * gates, lambda n_in: (n_in + 1) // 2 * gates, _four_or_fewer(device(take)))


def _given(apart: int) -> Any:
    """`given(word)`: a word that is unpacked whenever it is used: unpacked ones would take more registers than it does."""
    new = anew()
    return device(lambda word: np.int32(new(word))) if apart == 1 else device(lambda word: word)


def _four_or_fewer(take: Any) -> Any:
    """`take` of all inputs; four are written out, because the compiler does not unroll so much, and then loads four at once."""
    def add(sums, x, at, stride, words, base, left):
        if left >= INPUTS:
            take(sums, x, at, stride, words, base, 0, INPUTS)
            take(sums, x, at, stride, words, base, 1, INPUTS)
            take(sums, x, at, stride, words, base, 2, INPUTS)
            take(sums, x, at, stride, words, base, 3, INPUTS)
        else:
            take(sums, x, at, stride, words, base, 0, left)
            if left > 1:
                take(sums, x, at, stride, words, base, 1, left)
            if left > 2:
                take(sums, x, at, stride, words, base, 2, left)

    return device(add)


def _int8(gates: int, rows: int, apart: int, parts: int = 1) -> Chunk:
    """Two words of four inputs. The tail holds the scales of the columns, and what corrects sums on processors; as long as a
    chunk but one word, so that reading the last chunk as a whole is reading the panel.
    """
    v = scalars.make()
    dot4, bits, number, fma = v.dot4, v.bits, v.number, v.fma

    def add(sums, x, at, stride, words, base, left):
        for k in range(2):
            for g in range(gates):
                weights = words[np.uint64(base + (k * gates + g) * apart)]
                for m in range(rows):
                    for part in range(parts):
                        e = (part * rows + m) * gates + g
                        sums[e] = dot4(bits(x[np.uint64(at + m * stride + part * stride // 2 + k)]), weights, sums[e])

    def finished(kept, start, scale, source, column, n_in, g):
        factor = number(source[np.uint64(column + ((n_in + 3) // 4 * gates + g) * LANES)])
        return fma(np.float32(bits(kept)) * factor, scale, start)

    return Chunk(8, 2 * gates, lambda n_in: ((n_in + 3) // 4 + 2) * gates, device(add), 2, types.int32,
                 device(lambda total: number(total)), device(lambda a, b: number(np.int32(bits(a) + bits(b)))), parts,
                 device(finished))


def _int8x16(gates: int, rows: int, apart: int) -> Chunk:
    return _int8(gates, rows, apart, 2)


def _int4(gates: int, rows: int, apart: int) -> Chunk:
    """A group; its sum is 16 times too high, which is taken back without rounding, and scaled."""
    v, count, i32, given = scalars.make(), gates * rows, types.int32, _given(apart)
    dot4, bits, number, fma = v.dot4, v.bits, v.number, v.fma
    scales = 4 * gates

    def exact(x, at, stride, words, base, found):
        for e in range(count):
            found[e] = 0
        for k in range(4):
            for g in range(gates):
                word = given(words[np.uint64(base + (k * gates + g) * apart)])
                low, high = low_nibbles(word), high_nibbles(word)
                for m in range(rows):
                    e, row = m * gates + g, at + m * stride + k
                    found[e] = dot4(bits(x[np.uint64(row + 4)]), high, dot4(bits(x[np.uint64(row)]), low, found[e]))

    exact = device(exact)

    def add(sums, x, at, stride, words, base, left):
        found = cuda.local.array(count, i32)
        exact(x, at, stride, words, base, found)
        for g in range(gates):
            word = given(words[np.uint64(base + (scales + g // 2) * apart)])
            factor = number(word & -65536 if g % 2 == 1 else word << 16)
            for m in range(rows):
                e = m * gates + g
                sums[e] = fma(np.float32(found[e]) * np.float32(0.0625), factor, sums[e])

    return Chunk(32, scales + (gates + 1) // 2, lambda n_in: (n_in + 31) // 32 * (scales + (gates + 1) // 2), device(add), 8,
                 prepared=1, finished=device(lambda kept, start, scale, source, column, n_in, g: fma(kept, scale, start)))
