"""Dense products: gemm1, gemm3 and gemm4 read panels of one, three and four registers."""

from functools import partial
from typing import Any

from edgelstm.kernels import team
from edgelstm.kernels.formats import Format, each_format

PARAMS = "x:f32* w:panels* bias:f32* y:f32* rows:int n_in:int n_out:int x_stride:int y_stride:int"


def gemm(v: Any, form: Format, vectors: int) -> Any:
    """y[r, :n_out] = bias + x[r, :n_in] @ W.

    w: panels of the format; bias: [block][vectors * lanes], null for zeros; row r of x and y starts at r * x_stride and
    r * y_stride. In formats that prepare rows, x holds such rows. Nothing is written beyond the n_out-th column.
    """
    run = _columns(v, form, vectors)

    def gemm(x, w, bias, y, rows, n_in, n_out, x_stride, y_stride):
        run(x, w, bias, y, rows, 0, n_out, n_in, n_out, x_stride, y_stride)

    return gemm


def gemm_team(v: Any, form: Format, vectors: int) -> Any:
    """The same by a team, each member on its share of the columns, those of the units that it has in a recurrent kernel."""
    run, enter, meet, share = _columns(v, form, vectors), team.enter(v), team.meet(v), team.share(v)
    lanes = v.lanes

    def gemm_team(x, w, bias, y, rows, n_in, n_out, x_stride, y_stride, member, members, barrier, idle):
        those = team.Team(member, members, barrier, idle)
        together = enter(those)
        begin, end = share(those, n_out, vectors * lanes)
        if not together:
            begin, end = 0, n_out if member == 0 else 0
        run(x, w, bias, y, rows, begin, end, n_in, n_out, x_stride, y_stride)
        patience = team.PATIENCE + rows * n_in * (end - begin) // lanes  # as long as the share of another takes
        if together and not meet(those, patience) and member == 0:
            run(x, w, bias, y, rows, end, n_out, n_in, n_out, x_stride, y_stride)

    return gemm_team


def _columns(v: Any, form: Format, vectors: int) -> Any:
    """The columns from `begin`, where a block begins, to `end`."""
    several = form.row_block(v, vectors)
    run_several, run_one = _rows(v, form, vectors, several), _rows(v, form, vectors, 1)
    lanes = v.lanes

    @v.inline
    def run(x, w, bias, y, rows, begin, end, n_in, n_out, x_stride, y_stride):
        whole = rows - rows % several
        unit = begin // vectors
        while unit * vectors < end:
            for r in range(0, whole, several):
                run_several(x, w, bias, y, r, unit, n_in, n_out, x_stride, y_stride)
            for r in range(whole, rows):
                run_one(x, w, bias, y, r, unit, n_in, n_out, x_stride, y_stride)
            unit += lanes

    return run


def _rows(v: Any, form: Format, vectors: int, rows: int) -> Any:
    """One block of columns for `rows` rows from r on."""
    load_block, store_block, zero_block, is_null = v.load_block, v.store_block, v.zero_block, v.is_null
    product, panel = form.product(v, vectors, rows), form.panel(v, vectors)
    count = vectors * rows

    @v.inline
    def run(x, w, bias, y, r, unit, n_in, n_out, x_stride, y_stride):
        column = unit * vectors
        sums = zero_block(count) if is_null(bias) else load_block(bias, column, 0, rows, vectors)
        sums = product(sums, x, r * x_stride, x_stride, w, panel(unit, n_in), n_in)
        store_block(y, r * y_stride + column, y_stride, n_out - column, sums, vectors)

    return run


for _vectors in (1, 3, 4):
    each_format(f"gemm{_vectors}", PARAMS)(partial(gemm, vectors=_vectors))
each_format("gemm4_team", f"{PARAMS} {team.PARAMS}")(partial(gemm_team, vectors=4))
