"""sin and cos, after the Cephes library's sinf and cosf: a quarter turn is taken off in three parts, then polynomials.

Within 2e-7 for |x| < 8192; beyond that the rounding of x itself shows. NaN and infinities give NaN.
"""

from collections.abc import Callable
from typing import Any

Formula = Callable[..., Any]


def sin(v: Any) -> Formula:
    """The sine of x, in radians."""
    turned = _turned(v)
    return v.inline(lambda x: turned(x, 0.0))


def cos(v: Any) -> Formula:
    """The cosine of x, in radians: a sine a quarter turn ahead."""
    turned = _turned(v)
    return v.inline(lambda x: turned(x, 1.0))


def _turned(v: Any) -> Formula:
    fma, nearest, floor, select, equal, least, most = v.fma, v.nearest, v.floor, v.select, v.equal, v.min, v.max
    either = v.either

    @v.inline
    def sin_of_quarters(x, ahead):
        """sin(x + ahead * pi / 2)."""
        n = nearest(x * 0.63661977236758134)
        r = fma(n, -1.5703125, x)
        r = fma(n, -4.837512969970703125e-4, r)
        r = fma(n, -7.54978995489188216e-8, r)
        r = most(-0.8, least(0.8, r))
        s = r * r
        sine = fma(s, -1.9515295891e-4, 8.3321608736e-3)
        sine = fma(s, sine, -1.6666654611e-1)
        sine = fma(s * r, sine, r)
        cosine = fma(s, 2.443315711809948e-5, -1.388731625493765e-3)
        cosine = fma(s, cosine, 4.166664568298827e-2)
        cosine = fma(s * s, cosine, fma(s, -0.5, 1.0))
        quarter = n + ahead
        quarter = quarter - floor(quarter * 0.25) * 4.0
        y = select(either(equal(quarter, 1.0), equal(quarter, 3.0)), cosine, sine)
        return select(either(equal(quarter, 2.0), equal(quarter, 3.0)), -y, y)

    return sin_of_quarters
