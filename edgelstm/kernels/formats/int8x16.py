"""int8 weights times rows of 16 bits: two products of int8, of what each number is and of what that left.

Panels are those of int8. A prepared row: a prepared row of int8, then another of what rounding left, whose scale is a 254th.
"""

import functools
from typing import Any

from edgelstm.kernels import panels_int8, products, rounding
from edgelstm.kernels.formats import Format, int8


def row_words(v: Any) -> Any:
    """The words of a prepared row."""
    return v.inline(panels_int8.two_row_words)


def prepare(v: Any) -> Any:
    """A row as two rows of bytes with the offset of the machine, and their scales."""
    round_row, octets, words, offset, f32 = rounding.make_finer(v), v.octets, int8.row_words(v), v.offset, v.f32

    @v.inline
    def prepare(to, at, x, i, n, scale):
        rest = at + words(n)
        found = round_row(octets(to, at), octets(to, rest), x, i, n, scale, offset)
        to[rest - 1] = found
        to[rest + words(n) - 1] = found / f32(254.0) if found < f32(rounding.INFINITE) else f32(0.0)

    return prepare


@functools.cache
def product(v: Any, vectors: int, rows: int) -> Any:
    """Rows times a panel. A single row is two for the panel, which is read once; several are multiplied part by part.

    All are added in the same order, so that steps and runs agree.
    """
    words, both, fold_block, zero_block = int8.row_words(v), int8.product(v, vectors, 2), v.fold_block, v.zero_block
    if rows == 1:
        return v.inline(lambda block, x, i, stride, w, j, n_in:
                        fold_block(both(block + zero_block(vectors), x, i, words(n_in), w, j, n_in), vectors))
    part, count = int8.product(v, vectors, rows), rows * vectors

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        whole = part(block, x, i, stride, w, j, n_in)
        return fold_block(whole + part(zero_block(count), x, i + words(n_in), stride, w, j, n_in), count)

    return product


@functools.cache
def pair(v: Any, vectors: int) -> Any:
    """Two rows times a panel each."""
    return products.pair_of_rows(v, vectors, product(v, vectors, 1))


FORMAT = Format(int8.panel, products.row_block, product, pair, prepare, row_words)
