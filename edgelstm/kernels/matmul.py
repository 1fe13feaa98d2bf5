"""The product of two computed matrices, none of them packed: matmul."""

from typing import Any

from edgelstm.kernels import products
from edgelstm.kernels.declare import kernel

_BATCH = " ".join(f"{role}{axis}:int" for role in ("n", "as", "bs", "ys") for axis in range(3))
_VECTORS = 2


@kernel("matmul", f"a:f32* b:f32* y:f32* rows:int inner:int columns:int a_start:int b_start:int y_start:int {_BATCH}")
def matmul(v: Any) -> Any:
    """y (rows, columns) = a (rows, inner) @ b (inner, columns), for every position of three batch axes."""
    product, dots = _product(v), _dots(v)

    def matmul(a, b, y, rows, inner, columns, a_start, b_start, y_start,
               n0, n1, n2, as0, as1, as2, bs0, bs1, bs2, ys0, ys1, ys2):
        for p in range(n0):
            for q in range(n1):
                for r in range(n2):
                    i = a_start + p * as0 + q * as1 + r * as2
                    j = b_start + p * bs0 + q * bs1 + r * bs2
                    k = y_start + p * ys0 + q * ys1 + r * ys2
                    if columns == 1:
                        dots(a, i, b, j, y, k, rows, inner)
                    else:
                        product(a, i, b, j, y, k, rows, inner, columns)

    return matmul


def _product(v: Any) -> Any:
    """One matrix product: blocks of several rows by two vectors, then the rest of the columns a vector at a time."""
    several = products.row_block(v, _VECTORS)
    many, single, tail = _block(v, several), _block(v, 1), _tail(v)
    width = _VECTORS * v.lanes

    @v.outline
    def product(a, i, b, j, y, k, rows, inner, columns):
        whole = rows - rows % several
        blocks = columns - columns % width
        for c in range(0, blocks, width):
            for r in range(0, whole, several):
                many(a, i + r * inner, b, j + c, y, k + r * columns + c, inner, columns)
            for r in range(whole, rows):
                single(a, i + r * inner, b, j + c, y, k + r * columns + c, inner, columns)
        if blocks < columns:
            for r in range(rows):
                tail(a, i + r * inner, b, j + blocks, y, k + r * columns + blocks, inner, columns, columns - blocks)

    return product


def _block(v: Any, rows: int) -> Any:
    zero_block, fma_block, store_block = v.zero_block, v.fma_block, v.store_block
    count, width = rows * _VECTORS, _VECTORS * v.lanes

    @v.inline
    def block(a, i, b, j, y, k, inner, columns):
        sums = zero_block(count)
        for e in range(inner):
            sums = fma_block(sums, a, i + e, inner, b, j + e * columns, 0, _VECTORS)
        store_block(y, k, columns, width, sums, _VECTORS)

    return block


def _tail(v: Any) -> Any:
    zero, fma, load_part, store_part, lanes = v.zero, v.fma, v.load_part, v.store_part, v.lanes

    @v.inline
    def tail(a, i, b, j, y, k, inner, columns, left):
        for c in range(0, left, lanes):
            total = zero()
            for e in range(inner):
                total = fma(load_part(b, j + e * columns + c, left - c), a[i + e], total)
            store_part(y, k + c, left - c, total)

    return tail


def _dots(v: Any) -> Any:
    """A matrix times one column: a sum along each row."""
    zero, fma, load, load_part, add_lanes, lanes = v.zero, v.fma, v.load, v.load_part, v.sum, v.lanes

    @v.inline
    def dots(a, i, b, j, y, k, rows, inner):
        whole = inner - inner % lanes
        for r in range(rows):
            total, row = zero(), i + r * inner
            for e in range(0, whole, lanes):
                total = fma(load(a, row + e), load(b, j + e), total)
            rest = inner - whole
            total = fma(load_part(a, row + whole, rest), load_part(b, j + whole, rest), total)
            y[k + r] = add_lanes(total)

    return dots
