"""The non-linearities, written once over vectors of any width and shared by all kernels.

They call no library. NaN in gives NaN out, infinities saturate. Errors are absolute in float32 unless said otherwise.
"""

from types import SimpleNamespace
from typing import Any


def make(v: Any) -> SimpleNamespace:
    """The formulas for one vector set, as functions of vectors that kernels can call."""
    basic = _exponentials(v)
    return SimpleNamespace(**basic, **_rationals(v))


def _rationals(v: Any) -> dict[str, Any]:
    fma, least, most = v.fma, v.min, v.max

    @v.inline
    def tanh(x):
        """Within 1e-7: a rational function of degree 13 over 6 that is flat beyond 7.9."""
        x = most(-7.90531110763549805, least(7.90531110763549805, x))
        s = x * x
        p = fma(s, -2.76076847742355e-16, 2.00018790482477e-13)
        p = fma(s, p, -8.60467152213735e-11)
        p = fma(s, p, 5.12229709037114e-08)
        p = fma(s, p, 1.48572235717979e-05)
        p = fma(s, p, 6.37261928875436e-04)
        p = fma(s, p, 4.89352455891786e-03)
        q = fma(s, 1.19825839466702e-06, 1.18534705686654e-04)
        q = fma(s, q, 2.26843463243900e-03)
        q = fma(s, q, 4.89352518554385e-03)
        return x * p / q

    @v.inline
    def sigmoid(x):
        """Within 1e-7."""
        return fma(tanh(x * 0.5), 0.5, 0.5)

    return {"tanh": tanh, "sigmoid": sigmoid}


def _exponentials(v: Any) -> dict[str, Any]:
    fma, least, most, nearest, pow2 = v.fma, v.min, v.max, v.nearest, v.pow2

    @v.inline
    def exp(x):
        """Within 2 units in the last place; infinity above 88.73, 0 below -104."""
        x = most(-104.0, least(89.0, x))
        n = nearest(x * 1.44269504088896341)
        r = fma(n, -0.693359375, x)
        r = fma(n, 2.12194440e-4, r)
        p = fma(r, 1.9875691500e-4, 1.3981999507e-3)
        p = fma(r, p, 8.3334519073e-3)
        p = fma(r, p, 4.1665795894e-2)
        p = fma(r, p, 1.6666665459e-1)
        p = fma(r, p, 5.0000001201e-1)
        p = fma(r * r, p, r) + 1.0
        half = nearest(n * 0.5)
        return p * pow2(half) * pow2(n - half)

    return {"exp": exp}
