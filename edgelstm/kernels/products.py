"""Rows times panels, the inner product that every other kernel is built on."""

import functools
from typing import Any


@functools.cache
def make(v: Any, vectors: int, rows: int) -> Any:
    """`product(block, x, i, stride, w, j, n_in)`: the block of `rows` by `vectors` vectors plus rows times a panel.

    Row m is x[i + m * stride : ... + n_in]; the panel starts at w[j] and holds [n_in][vectors * lanes].
    """
    return _one_row(v, vectors) if rows == 1 else _several_rows(v, vectors)


def row_block(v: Any, vectors: int) -> int:
    """How many rows are summed at once, a power of two that leaves room for the weights in the machine's registers."""
    return 4 if v.lanes == 16 or vectors <= 2 else 2


def _several_rows(v: Any, vectors: int) -> Any:
    fma_block = v.fma_block
    width = vectors * v.lanes

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        for k in range(n_in):
            block = fma_block(block, x, i + k, stride, w, j + k * width, 0, vectors)
        return block

    return product


def _one_row(v: Any, vectors: int) -> Any:
    """A single row is summed in several independent parts, about eight vectors in all, to keep the multipliers busy."""
    fma_block, fold_block, zero_block = v.fma_block, v.fold_block, v.zero_block
    width = vectors * v.lanes
    chains = {1: 8, 2: 4}.get(vectors, 2)
    rest = (chains - 1) * vectors

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        parts = block + zero_block(rest)
        whole = n_in - n_in % chains
        for k in range(0, whole, chains):
            parts = fma_block(parts, x, i + k, 1, w, j + k * width, width, vectors)
        block = fold_block(parts, vectors)
        for k in range(whole, n_in):
            block = fma_block(block, x, i + k, 0, w, j + k * width, 0, vectors)
        return block

    return product
