"""layer_norm: rows of x centred, scaled to unit variance, and given a gain and an offset for each column."""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels import reduce
from edgelstm.kernels.declare import kernel


@kernel("layer_norm_f32", "x:f32* gamma:f32* beta:f32* y:f32* rows:int n:int epsilon:f32")
def layer_norm(v: Any) -> Callable[..., None]:
    """y[r] = (x[r] - mean) / sqrt(variance + epsilon) * gamma + beta; gamma and beta [n] may be null."""
    load, store, splat, sqrt, fma, zero = v.load_part, v.store_part, v.splat, v.sqrt, v.fma, v.zero
    select, less, index, is_null, lanes = v.select, v.less, v.index, v.is_null, v.lanes
    total = reduce.row_total(v, reduce.addition(v))
    sum_across = v.sum

    @v.inline
    def spread(x, i, n, mean):
        """Sum of the squared distances from the mean."""
        sums = zero()
        for k in range(0, n, lanes):
            distance = select(less(index(), splat(n - k)), load(x, i + k, n - k) - mean, 0.0)
            sums = fma(distance, distance, sums)
        return sum_across(sums)

    def layer_norm(x, gamma, beta, y, rows, n, epsilon):
        for r in range(rows):
            i = r * n
            mean = splat(total(x, i, n)) / splat(n)
            factor = splat(1.0) / sqrt(splat(spread(x, i, n, mean)) / splat(n) + epsilon)
            for k in range(0, n, lanes):
                left = n - k
                normal = (load(x, i + k, left) - mean) * factor
                if not is_null(gamma):
                    normal = normal * load(gamma, k, left)
                if not is_null(beta):
                    normal = normal + load(beta, k, left)
                store(y, i + k, left, normal)

    return layer_norm
