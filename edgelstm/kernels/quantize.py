"""Rows prepared for products with weights of few bits: what stands before `gemm` in such formats."""

from typing import Any

from edgelstm.kernels.formats import PREPARING, Format, each_format

PARAMS = "x:f32* y:f32* batch:int count:int n:int x_start:int x_batch:int x_row:int scale:f32"


@each_format("quantize", PARAMS, among=PREPARING)
def quantize(v: Any, form: Format) -> Any:
    """Prepared rows of x[x_start + b * x_batch + t * x_row : ... + n], which may overlap, for b < batch and t < count.

    That of (b, t) lies at (b * count + t) * row_words(n) in y; scale is the fixed scale of the numbers, or 0.
    """
    prepare, row_words = form.prepare(v), form.row_words(v)

    def quantize(x, y, batch, count, n, x_start, x_batch, x_row, scale):
        to = 0
        for b in range(batch):
            for t in range(count):
                prepare(y, to, x, x_start + b * x_batch + t * x_row, n, scale)
                to += row_words(n)

    return quantize
