"""int4 weights in groups of 32 inputs times int8 rows: exact sums of 32 bits for each group, scaled by group and column.

Panels: [block][group] of [4][vectors * lanes] words and [vectors / 2][lanes] words of bfloat16 scales, those of two vectors
in each, the first in the low half. Byte b of word row r holds input 4 r + b of the group in its low half, and the input 16
after it in its high half, 8 too high both.
A prepared row: 32 bytes for each group, zeros up to its end; a word for each group, -8 times the sum of its bytes, which
corrects the products; in the last word the scale of the row, float32.
"""

import functools
from typing import Any

import numpy as np

from edgelstm.kernels import panels_int4, products, rounding
from edgelstm.kernels.formats import Format


def panel(v: Any, vectors: int) -> Any:
    """Where a panel begins."""
    words, shift = _group_words(v, vectors), v.lanes.bit_length() - 1
    return v.inline(lambda unit, n_in: (unit >> shift) * ((n_in + 31) >> 5) * words)


def row_block(v: Any, vectors: int) -> int:
    """A row needs integer sums beside its float sums."""
    return 2 if v.lanes == 16 or vectors <= 2 else 1


def row_words(v: Any) -> Any:
    """The words of a prepared row."""
    return v.inline(panels_int4.row_words)


def prepare(v: Any) -> Any:
    """A row as bytes, the corrections of its groups, and its scale."""
    round_row, octets, row_end, sum_up = rounding.make(v), v.octets, row_words(v), _sum_up(v)

    @v.inline
    def prepare(to, at, x, i, n, scale):
        groups = (n + 31) >> 5
        for word in range(at + 8 * (n >> 5), at + 8 * groups):
            to[word] = 0.0
        factor = round_row(octets(to, at), x, i, n, scale, 0)
        for g in range(groups):
            sum_up(to, at + 8 * g, at + 8 * groups + g)
        to[at + row_end(n) - 1] = factor

    return prepare


def _sum_up(v: Any) -> Any:
    """`sum_up(to, first, word)`: into a word, -8 times the sum of the 32 bytes from word `first` on."""
    load_s8, octets, words, total, zero, f32, lanes = v.load_s8, v.octets, v.words, v.sum, v.zero, v.f32, v.lanes

    @v.inline
    def sum_up(to, first, word):
        numbers, sums = octets(to, first), zero()
        for k in range(0, 32, lanes):
            sums = sums + load_s8(numbers, k)
        words(to, word)[0] = np.int32(total(sums) * f32(-8.0))

    return sum_up


@functools.cache
def product(v: Any, vectors: int, rows: int) -> Any:
    """Rows times a panel."""
    zero_block, fma_rows, row_end, count = v.zero_block, v.fma_rows, row_words(v), rows * vectors
    spread_sums, nibble_block, fma_group = v.spread_sums, v.nibble_block, v.fma_group
    width, group_words = vectors * v.lanes, _group_words(v, vectors)

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        groups, whole, total = (n_in + 31) >> 5, (n_in + 15) >> 5, zero_block(count)
        for g in range(whole):
            sums, at = spread_sums(x, i + 8 * groups + g, stride, rows, vectors), j + g * group_words
            sums = nibble_block(sums, x, i + 8 * g, stride, w, at, vectors, 2)
            total = fma_group(total, sums, w, at + 4 * width, vectors)
        if whole < groups:
            sums, at = spread_sums(x, i + 8 * groups + whole, stride, rows, vectors), j + whole * group_words
            sums = nibble_block(sums, x, i + 8 * whole, stride, w, at, vectors, 1)
            total = fma_group(total, sums, w, at + 4 * width, vectors)
        return fma_rows(total, block, x, i + row_end(n_in) - 1, stride, vectors)

    return product


@functools.cache
def pair(v: Any, vectors: int) -> Any:
    """Two rows times a panel each."""
    return products.pair_of_rows(v, vectors, product(v, vectors, 1))


@functools.cache
def twin(v: Any, vectors: int) -> Any:
    """A row times two panels, group by group."""
    zero_block, fma_rows, row_end = v.zero_block, v.fma_rows, row_words(v)
    spread_sums, nibble_block, fma_group = v.spread_sums, v.nibble_block, v.fma_group
    width, group_words = vectors * v.lanes, _group_words(v, vectors)

    @v.inline
    def one(total, x, i, correction, w, at):
        sums = spread_sums(x, correction, 0, 1, vectors)
        return fma_group(total, nibble_block(sums, x, i, 0, w, at, vectors, 2), w, at + 4 * width, vectors)

    @v.inline
    def product(block, x, i, w, j, dj, n_in):
        groups, first, second = (n_in + 31) >> 5, zero_block(vectors), zero_block(vectors)
        for g in range(groups):
            at = j + g * group_words
            first = one(first, x, i + 8 * g, i + 8 * groups + g, w, at)
            second = one(second, x, i + 8 * g, i + 8 * groups + g, w, at + dj)
        return fma_rows(first + second, block, x, i + row_end(n_in) - 1, 0, vectors)

    return product


def near(v: Any) -> int:
    """Twins need many registers. Weights from beyond the second cache arrive too late for them to help."""
    return 2**18 if v.lanes == 16 else 0


def _group_words(v: Any, vectors: int) -> int:
    """The 32-bit words of a group in a panel."""
    return (4 * vectors + (vectors + 1) // 2) * v.lanes


FORMAT = Format(panel, row_block, product, pair, prepare, row_words, twin, near)
