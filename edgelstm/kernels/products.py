"""Rows times panels, the inner product that every other kernel is built on, for float rows."""

import functools
from typing import Any


@functools.cache
def make(v: Any, vectors: int, rows: int) -> Any:
    """`product(block, x, i, stride, w, j, n_in)`: the block of `rows` by `vectors` vectors plus rows times a panel.

    Row m is x[i + m * stride : ... + n_in]; the panel starts at w[j] and holds [n_in][vectors * lanes].
    """
    return of_parts(v, vectors, _chained(v, vectors)) if rows == 1 else _several_rows(v, vectors)


@functools.cache
def make_pair(v: Any, vectors: int) -> Any:
    """`product(block, x, i, w, j, n_in, h, k, r, l, units)`: the block plus x[i:] times the panel at w[j] plus h[k:] by r[l]."""
    return pair_of_parts(v, vectors, _chained(v, vectors))


def row_block(v: Any, vectors: int) -> int:
    """How many rows are summed at once, a power of two that leaves room for the weights in the machine's registers."""
    return 4 if v.lanes == 16 or vectors <= 2 else 2


def chains(vectors: int) -> int:
    """A single row is summed in several independent parts, about eight vectors in all, to keep the multipliers busy."""
    return {1: 8, 2: 4}.get(vectors, 2)


def of_parts(v: Any, vectors: int, more: Any) -> Any:
    """The product of one row from `more(parts, x, i, w, j, n_in)`, which adds a row times a panel to the parts."""
    fold_block, rest, spare = v.fold_block, v.zero_block, (chains(vectors) - 1) * vectors

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        return fold_block(more(block + rest(spare), x, i, w, j, n_in), vectors)

    return product


def pair_of_parts(v: Any, vectors: int, more: Any) -> Any:
    """The same for two rows with a panel each."""
    fold_block, rest, spare = v.fold_block, v.zero_block, (chains(vectors) - 1) * vectors

    @v.inline
    def product(block, x, i, w, j, n_in, h, k, r, l, units):  # noqa: E741
        parts = more(block + rest(spare), x, i, w, j, n_in)
        return fold_block(more(parts, h, k, r, l, units), vectors)

    return product


def _several_rows(v: Any, vectors: int) -> Any:
    fma_block = v.fma_block
    width = vectors * v.lanes

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        for k in range(n_in):
            block = fma_block(block, x, i + k, stride, w, j + k * width, 0, vectors)
        return block

    return product


def _chained(v: Any, vectors: int) -> Any:
    fma_block = v.fma_block
    width, parallel = vectors * v.lanes, chains(vectors)

    @v.inline
    def more(parts, x, i, w, j, n_in):
        whole = n_in - n_in % parallel
        for k in range(0, whole, parallel):
            parts = fma_block(parts, x, i + k, 1, w, j + k * width, width, vectors)
        for k in range(whole, n_in):
            parts = fma_block(parts[:vectors], x, i + k, 0, w, j + k * width, 0, vectors) + parts[vectors:]
        return parts

    return more
