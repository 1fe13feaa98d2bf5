"""Convolution over one axis: conv1, conv3 and conv4 read panels of one, three and four registers; depthwise, rows."""

from functools import partial
from typing import Any

from edgelstm.kernels.declare import kernel
from edgelstm.kernels.formats import Format, each_format

_SIZES = "batch:int count:int taps:int x_batch:int x_row:int x_tap:int"
_PARAMS = f"x:f32* w:panels* bias:f32* y:f32* {_SIZES} n_in:int n_out:int x_start:int y_start:int y_row:int"


def conv(v: Any, form: Format, vectors: int) -> Any:
    """y[b, t, :n_out] = bias + sum over j < taps of x[b, t, j, :n_in] @ W[j].

    x[b, t, j] starts at x_start + b * x_batch + t * x_row + j * x_tap, so that rows may overlap; y[b, t] at
    y_start + (b * count + t) * y_row. w: a panel of the format for each tap of each block; bias as in gemm, null for zeros.
    """
    several = form.row_block(v, vectors)
    run_several, run_one = _rows(v, form, vectors, several), _rows(v, form, vectors, 1)
    lanes = v.lanes

    def conv(x, w, bias, y, batch, count, taps, x_batch, x_row, x_tap, n_in, n_out, x_start, y_start, y_row):
        whole = count - count % several
        unit = 0
        while unit * vectors < n_out:
            for b in range(batch):
                i, k = x_start + b * x_batch, y_start + b * count * y_row
                for t in range(0, whole, several):
                    i_t, k_t = i + t * x_row, k + t * y_row
                    run_several(x, w, bias, y, i_t, k_t, unit, taps, x_row, x_tap, n_in, n_out, y_row)
                for t in range(whole, count):
                    i_t, k_t = i + t * x_row, k + t * y_row
                    run_one(x, w, bias, y, i_t, k_t, unit, taps, x_row, x_tap, n_in, n_out, y_row)
            unit += lanes

    return conv


def _rows(v: Any, form: Format, vectors: int, rows: int) -> Any:
    """One block of filters for `rows` outputs, the first of which reads from x[i] and goes to y[k]."""
    load_block, store_block, zero_block, is_null = v.load_block, v.store_block, v.zero_block, v.is_null
    product, panel = form.product(v, vectors, rows), form.panel(v, vectors)
    lanes, count = v.lanes, vectors * rows

    @v.inline
    def run(x, w, bias, y, i, k, unit, taps, x_row, x_tap, n_in, n_out, y_row):
        column = unit * vectors
        sums = zero_block(count) if is_null(bias) else load_block(bias, column, 0, rows, vectors)
        for j in range(taps):
            sums = product(sums, x, i + j * x_tap, x_row, w, panel(unit * taps + j * lanes, n_in), n_in)
        store_block(y, k + column, y_row, n_out - column, sums, vectors)

    return run


for _vectors in (1, 3, 4):
    each_format(f"conv{_vectors}", _PARAMS)(partial(conv, vectors=_vectors))


@kernel("depthwise", f"x:f32* w:f32* bias:f32* y:f32* {_SIZES} channels:int")
def depthwise(v: Any) -> Any:
    """y[b, t, c] = bias[c] + sum over j < taps of x[b, t, j, c] * w[j, c].

    w (taps, channels), y (batch, count, channels); bias null for zeros.
    """
    zero, fma, load_part, store_part, is_null, lanes = v.zero, v.fma, v.load_part, v.store_part, v.is_null, v.lanes

    def depthwise(x, w, bias, y, batch, count, taps, x_batch, x_row, x_tap, channels):
        for b in range(batch):
            for t in range(count):
                i, k = b * x_batch + t * x_row, (b * count + t) * channels
                for c in range(0, channels, lanes):
                    left = channels - c
                    total = zero() if is_null(bias) else load_part(bias, c, left)
                    for j in range(taps):
                        total = fma(load_part(x, i + j * x_tap + c, left), load_part(w, j * channels + c, left), total)
                    store_part(y, k + c, left, total)

    return depthwise
