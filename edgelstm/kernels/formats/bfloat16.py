"""bfloat16 weights times float rows: every word of a panel holds two inputs, widened by a shift and a mask.

Panels: [block][n_in / 2][vectors * lanes] words; the last input of an odd number has a row of its own that is float32.
"""

import functools
from typing import Any

from edgelstm.kernels import products
from edgelstm.kernels.formats import Format


def panel(v: Any, vectors: int) -> Any:
    """Where a panel begins."""
    return v.inline(lambda unit, n_in: unit * vectors * ((n_in + 1) // 2))


@functools.cache
def product(v: Any, vectors: int, rows: int) -> Any:
    """Rows times a panel."""
    return products.of_parts(v, vectors, _chained(v, vectors)) if rows == 1 else _several_rows(v, vectors)


def _several_rows(v: Any, vectors: int) -> Any:
    run = _blocks(v, vectors)
    return v.inline(lambda block, x, i, stride, w, j, n_in: run(block, x, i, stride, w, j, 0, n_in))


@functools.cache
def pair(v: Any, vectors: int) -> Any:
    """Two rows times a panel each."""
    return products.pair_of_parts(v, vectors, _chained(v, vectors))


def _blocks(v: Any, vectors: int) -> Any:
    """Rows `stride` apart times a panel, or a row times panels `dj` apart: as many as the block has sums for."""
    fma_pairs, fma_block, width = v.fma_pairs, v.fma_block, vectors * v.lanes

    @v.inline
    def product(block, x, i, stride, w, j, dj, n_in):
        pairs = n_in // 2
        for k in range(pairs):
            block = fma_pairs(block, x, i + 2 * k, stride, w, j + k * width, dj, vectors)
        if n_in % 2 == 1:
            block = fma_block(block, x, i + 2 * pairs, stride, w, j + pairs * width, dj, vectors)
        return block

    return product


def _pairs(v: Any, vectors: int) -> Any:
    return products.chained(v, vectors, products.chains(v, vectors), v.fma_pairs, inputs=2)


def _chained(v: Any, vectors: int) -> Any:
    add_pairs, fma_block, width = _pairs(v, vectors), v.fma_block, vectors * v.lanes

    @v.inline
    def more(parts, x, i, w, j, n_in):
        pairs = n_in // 2
        parts = add_pairs(parts, x, i, w, j, pairs)
        if n_in % 2 == 1:
            parts = fma_block(parts[:vectors], x, i + 2 * pairs, 0, w, j + pairs * width, 0, vectors) + parts[vectors:]
        return parts

    return more


@functools.cache
def twin(v: Any, vectors: int) -> Any:
    """A row times two panels."""
    run = _blocks(v, vectors)
    return v.inline(lambda block, x, i, w, j, dj, n_in: run(block, x, i, 0, w, j, dj, n_in))


def near(v: Any) -> int:
    """Weights from beyond the second cache arrive too late for twins to help."""
    return 2**18 if v.lanes == 16 else 0


FORMAT = Format(panel, products.row_block, product, pair, twin=twin, near=near)
