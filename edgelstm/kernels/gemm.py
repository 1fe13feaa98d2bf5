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
    """The same by a team: block after block by member 0, until all do what is left of their shares.

    These are the columns of the units that a member has in a recurrent kernel, so that it reads what it wrote.
    """
    run, join, meet, alone, leave = _columns(v, form, vectors), team.join(v), team.meet(v), team.alone(v), team.leave(v)
    share, width = team.share(v), vectors * v.lanes

    def gemm_team(x, w, bias, y, rows, n_in, n_out, x_stride, y_stride, member, members, barrier, idle):
        those, at, together = team.Team(member, members, barrier, idle), 0, False
        worth = rows * n_in * width // 32
        while at < n_out and not together:
            at, together = join(those, at)
            if at < 0:
                break
            begin, end = share(those, 0, n_out, width) if together else (at, at + width)
            begin = at if begin < at else begin
            run(x, w, bias, y, rows, begin, end, n_in, n_out, x_stride, y_stride)
            if together:
                meet(those, worth * ((n_out - at) // width))
            else:
                alone(those, worth)
                at += width
        leave(those)

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
