"""layer_norm: rows of x centred, scaled to unit variance, and given a gain and an offset for each column."""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels import reduce
from edgelstm.kernels.declare import kernel

PARAMS = "x:f32* gamma:f32* beta:f32* y:f32* rows:int n:int share:f32 epsilon:f32"


@kernel("layer_norm_f32", PARAMS)
def layer_norm(v: Any) -> Callable[..., None]:
    """y[r] = (x[r] - mean) / sqrt(variance + epsilon) * gamma + beta.

    gamma and beta [n] may be null; share is 1 / n.
    """
    load, store, splat, sqrt, fma = v.load_part, v.store_part, v.splat, v.sqrt, v.fma
    select, less, index, is_null, lanes = v.select, v.less, v.index, v.is_null, v.lanes
    total = reduce.row_total(v, reduce.addition(v))
    sum_across = v.sum

    @v.inline
    def spread(x, i, n, mean):
        """Sum of the squared distances from the mean."""
        whole = n - n % lanes
        rest = n - whole
        distance = select(less(index(), splat(rest)), load(x, i + whole, rest) - mean, 0.0)
        sums = distance * distance
        for k in range(0, whole, lanes):
            distance = load(x, i + k, lanes) - mean
            sums = fma(distance, distance, sums)
        return sum_across(sums)

    def layer_norm(x, gamma, beta, y, rows, n, share, epsilon):
        for r in range(rows):
            i = r * n
            mean = splat(total(x, i, n)) * share
            factor = 1.0 / sqrt(splat(spread(x, i, n, mean)) * share + epsilon)
            for k in range(0, n, lanes):
                left = n - k
                normal = (load(x, i + k, left) - mean) * factor
                if not is_null(gamma):
                    normal = normal * load(gamma, k, left)
                if not is_null(beta):
                    normal = normal + load(beta, k, left)
                store(y, i + k, left, normal)

    return layer_norm
