"""int8 weights times int8 rows: exact sums of 32 bits, scaled by the row and by the column.

Panels: [block][n_in / 4][vectors * lanes] words of four consecutive inputs, then [vectors * lanes] float32 scales of the
columns, then as many int32: -128 times the column's sum, which corrects products of rows whose bytes lie 128 too high.
A prepared row: a byte for each number, zeros up to a whole word, and in its last word the scale, float32.
"""

import functools
from typing import Any

from edgelstm.kernels import panels_int8, products, rounding
from edgelstm.kernels.formats import Format


def panel(v: Any, vectors: int) -> Any:
    """Where a panel begins."""
    return v.inline(lambda unit, n_in: unit * vectors * (((n_in + 3) >> 2) + 2))


def row_words(v: Any) -> Any:
    """The words of a prepared row."""
    return v.inline(panels_int8.row_words)


def prepare(v: Any) -> Any:
    """A row as bytes with the offset of the machine, and its scale."""
    round_row, octets, words, offset = rounding.make(v), v.octets, row_words(v), v.offset

    @v.inline
    def prepare(to, at, x, i, n, scale):
        found = round_row(octets(to, at), x, i, n, scale, offset)
        to[at + words(n) - 1] = found

    return prepare


@functools.cache
def product(v: Any, vectors: int, rows: int) -> Any:
    """Rows times a panel."""
    begin, add = _begin(v, vectors, rows), _one_row(v, vectors) if rows == 1 else _several_rows(v, vectors)
    scaled_block, fma_rows, words, width = v.scaled_block, v.fma_rows, row_words(v), vectors * v.lanes

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        scales = j + ((n_in + 3) >> 2) * width
        sums = add(begin(w, scales + width), x, i, stride, w, j, (n_in + 3) >> 2)
        return fma_rows(scaled_block(sums, w, scales, vectors), block, x, i + words(n_in) - 1, stride, vectors)

    return product


@functools.cache
def pair(v: Any, vectors: int) -> Any:
    """Two rows times a panel each."""
    return products.pair_of_rows(v, vectors, product(v, vectors, 1))


def _begin(v: Any, vectors: int, rows: int) -> Any:
    """`begin(w, at)`: what the sums start with, given where the corrections lie."""
    load_sums, zero_sums, count = v.load_sums, v.zero_sums, rows * vectors
    if v.offset:
        return v.inline(lambda w, at: load_sums(w, at, 0, rows, vectors))
    return v.inline(lambda w, at: zero_sums(count))


def _several_rows(v: Any, vectors: int) -> Any:
    dot_block, width = v.dot_block, vectors * v.lanes

    @v.inline
    def add(sums, x, i, stride, w, j, words):
        for k in range(words):
            sums = dot_block(sums, x, i + k, stride, w, j + k * width, 0, vectors)
        return sums

    return add


def _one_row(v: Any, vectors: int) -> Any:
    parallel = 1 if v.lanes == 1 else products.chains(v, vectors)
    more, fold_block = products.chained(v, vectors, parallel, v.dot_block), v.fold_block
    parts = products.in_parts(v, vectors, parallel, v.zero_sums)

    @v.inline
    def add(sums, x, i, stride, w, j, words):
        return fold_block(more(parts(sums), x, i, w, j, words), vectors)

    return add


FORMAT = Format(panel, products.row_block, product, pair, prepare, row_words)
