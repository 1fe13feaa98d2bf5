"""Dense products: gemm1, gemm3 and gemm4 read panels of one, three and four registers."""

from functools import partial
from typing import Any

from edgelstm.kernels import products, team
from edgelstm.kernels.declare import kernel

PARAMS = "x:f32* w:f32* bias:f32* y:f32* rows:int n_in:int n_out:int x_stride:int y_stride:int"


def gemm(v: Any, vectors: int) -> Any:
    """y[r, :n_out] = bias + x[r, :n_in] @ W.

    w: panels [block][n_in][vectors * lanes]; bias: [block][vectors * lanes], null for zeros; row r of x and y starts
    at r * x_stride and r * y_stride. Nothing is written beyond the n_out-th column.
    """
    run = _columns(v, vectors)

    def gemm(x, w, bias, y, rows, n_in, n_out, x_stride, y_stride):
        run(x, w, bias, y, 0, rows, n_in, n_out, x_stride, y_stride)

    return gemm


def gemm_team(v: Any, vectors: int) -> Any:
    """The same by a team, each member on its share of the rows."""
    run, wait, share = _columns(v, vectors), team.wait(v), team.share(v)
    several = products.row_block(v, vectors)

    def gemm_team(x, w, bias, y, rows, n_in, n_out, x_stride, y_stride, member, members, barrier, idle):
        together = team.Team(member, members, barrier, idle)
        wait(together)
        first, end = share(together, rows, several)
        run(x, w, bias, y, first, end, n_in, n_out, x_stride, y_stride)
        wait(together)

    return gemm_team


def _columns(v: Any, vectors: int) -> Any:
    """All columns of the rows from `first` to `end`."""
    several = products.row_block(v, vectors)
    run_several, run_one = _rows(v, vectors, several), _rows(v, vectors, 1)
    width = vectors * v.lanes

    @v.inline
    def run(x, w, bias, y, first, end, n_in, n_out, x_stride, y_stride):
        whole = end - (end - first) % several
        column = 0
        while column < n_out:
            for r in range(first, whole, several):
                run_several(x, w, bias, y, r, column, n_in, n_out, x_stride, y_stride)
            for r in range(whole, end):
                run_one(x, w, bias, y, r, column, n_in, n_out, x_stride, y_stride)
            column += width

    return run


def _rows(v: Any, vectors: int, rows: int) -> Any:
    """One block of columns for `rows` rows from r on."""
    load_block, store_block, zero_block, is_null = v.load_block, v.store_block, v.zero_block, v.is_null
    product = products.make(v, vectors, rows)
    count = vectors * rows

    @v.inline
    def run(x, w, bias, y, r, column, n_in, n_out, x_stride, y_stride):
        sums = zero_block(count) if is_null(bias) else load_block(bias, column, 0, rows, vectors)
        sums = product(sums, x, r * x_stride, x_stride, w, column * n_in, n_in)
        store_block(y, r * y_stride + column, y_stride, n_out - column, sums, vectors)

    return run


for _vectors in (1, 3, 4):
    kernel(f"gemm{_vectors}", PARAMS)(partial(gemm, vectors=_vectors))
kernel("gemm4_team", f"{PARAMS} {team.PARAMS}")(partial(gemm_team, vectors=4))
