"""Windows over time: max_pool1d and avg_pool1d. x (batch, steps, channels), y (batch, count, channels)."""

from typing import Any

import numpy as np

from edgelstm.kernels.declare import kernel

_PARAMS = "x:f32* y:f32* batch:int steps:int channels:int count:int size:int stride:int left:int"


@kernel("max_pool1d", _PARAMS)
def max_pool1d(v: Any) -> Any:
    """y[b, t] = the largest of x[b, max(t * stride - left, 0) : t * stride - left + size], NaN where there is one."""
    less, equal, either, invert, select = v.less, v.equal, v.either, v.invert, v.select
    load_part, store_part, lanes = v.load_part, v.store_part, v.lanes

    def max_pool1d(x, y, batch, steps, channels, count, size, stride, left):
        for b in range(batch):
            for t in range(count):
                start = t * stride - left
                first = start if start > 0 else 0
                end = start + size if start + size < steps else steps
                for c in range(0, channels, lanes):
                    n = channels - c
                    top = load_part(x, (b * steps + first) * channels + c, n)
                    for s in range(first + 1, end):
                        value = load_part(x, (b * steps + s) * channels + c, n)
                        top = select(either(less(top, value), invert(equal(value, value))), value, top)
                    store_part(y, (b * count + t) * channels + c, n, top)

    return max_pool1d


@kernel("avg_pool1d", f"{_PARAMS} right:int include_pad:int")
def avg_pool1d(v: Any) -> Any:
    """y[b, t] = the mean over the same window; include_pad counts the `left` and `right` zeros around the steps too."""
    zero, f32, load_part, store_part, lanes = v.zero, v.f32, v.load_part, v.store_part, v.lanes

    def avg_pool1d(x, y, batch, steps, channels, count, size, stride, left, right, include_pad):
        for b in range(batch):
            for t in range(count):
                start = t * stride - left
                first = start if start > 0 else 0
                end = start + size if start + size < steps else steps
                covered = end - first
                if include_pad:
                    covered = (start + size if start + size < steps + right else steps + right) - start
                scale = f32(1.0) / f32(np.int32(covered))
                for c in range(0, channels, lanes):
                    n = channels - c
                    sums = zero()
                    for s in range(first, end):
                        sums = sums + load_part(x, (b * steps + s) * channels + c, n)
                    store_part(y, (b * count + t) * channels + c, n, sums * scale)

    return avg_pool1d
