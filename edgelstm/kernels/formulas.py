"""The non-linearities, written once over vectors and shared by all kernels.

They call no library. NaN in gives NaN out, infinities saturate. Errors are absolute unless said otherwise.
A clamp is written max(low, min(high, x)): of two arguments min and max give the second where either is NaN.
"""

import functools
from types import SimpleNamespace
from typing import Any


@functools.cache
def make(v: Any) -> SimpleNamespace:
    """The formulas for one vector set, as functions of vectors that kernels can call; see ACTIVATIONS for meanings.

    The ones that take parameters: hard_sigmoid(x, alpha, beta), elu(x, alpha), leaky_relu(x, alpha),
    thresholded_relu(x, alpha), scaled_tanh(x, alpha, beta), affine(x, alpha, beta).
    """
    found = _exponential(v) | _logarithm(v) | _sigmoidal(v) | _saturating(v) | _piecewise(v)
    found |= _smooth(v, SimpleNamespace(**found)) | _gated(v, SimpleNamespace(**found))
    return SimpleNamespace(**found)


def _exponential(v: Any) -> dict[str, Any]:
    fma, least, most, round_small, pow2 = v.fma, v.min, v.max, v.round_small, v.pow2

    @v.inline
    def exp(x):
        """Within 2 units in the last place; infinite above 88.73, 0 below -104."""
        x = most(-105.0, least(89.0, x))
        n = round_small(x * 1.44269504088896341)
        r = fma(n, -0.693359375, x)
        r = fma(n, 2.12194440e-4, r)
        p = fma(r, 1.9875691500e-4, 1.3981999507e-3)
        p = fma(r, p, 8.3334519073e-3)
        p = fma(r, p, 4.1665795894e-2)
        p = fma(r, p, 1.6666665459e-1)
        p = fma(r, p, 5.0000001201e-1)
        p = fma(r * r, p, r) + 1.0
        half = round_small(n * 0.5)
        return p * pow2(half) * pow2(n - half)

    return {"exp": exp, "exponential": exp}


@functools.cache
def _power(v: Any) -> Any:
    """2 ** f on [-1/2, 1/2] as a polynomial, and a scale: for functions that need exp only where it is small."""
    fma, nearest_power = v.fma, v.nearest_power

    @v.inline
    def power(x, rate):
        """a, b and s with 2 ** (rate x) = a b + s, s being a power of two, for |rate x| <= 120; in pairs, for a short chain."""
        n, scale = nearest_power(x, rate)
        f = fma(x, rate, -n)
        s = f * f
        high = fma(f, 1.5453162958838288e-4, 1.3390863664206144e-3)
        middle = fma(f, 9.618082557235662e-3, 5.550357114219907e-2)
        low = fma(f, 2.4022650760568404e-1, 6.9314718802622790e-1)
        return scale * f, fma(s, fma(s, high, middle), low), scale

    return power


def _sigmoidal(v: Any) -> dict[str, Any]:
    fma, least, most, absolute, copysign = v.fma, v.min, v.max, v.absolute, v.copysign
    power = _power(v)

    @v.inline
    def tanh_fraction(x):
        """Numerator and denominator of tanh(x); the denominator lies between 2 and 5e8."""
        a, b, scale = power(least(10.0, absolute(x)), 2.88539008177792681)
        m = fma(a, b, scale - 1.0)
        return copysign(m, x), m + 2.0

    @v.inline
    def tanh(x):
        """Within 1e-7, and within a few units in the last place near 0."""
        numerator, denominator = tanh_fraction(x)
        return numerator / denominator

    @v.inline
    def sigmoid_divisor(x):
        """1 / sigmoid(x), at most 6e34."""
        a, b, scale = power(most(-80.0, least(80.0, x)), -1.44269504088896341)
        return fma(a, b, scale + 1.0)

    @v.inline
    def sigmoid(x):
        """Within 1e-7."""
        return 1.0 / sigmoid_divisor(x)

    @v.inline
    def gated_tanh(gate, x):
        """sigmoid(gate) * tanh(x) by a single division; where the divisor overflows the product is 0."""
        numerator, denominator = tanh_fraction(x)
        return numerator / (denominator * sigmoid_divisor(gate))

    return {"tanh": tanh, "sigmoid": sigmoid, "gated_tanh": gated_tanh}


def _saturating(v: Any) -> dict[str, Any]:
    fma, least, most, absolute, copysign, select, less = (
        v.fma, v.min, v.max, v.absolute, v.copysign, v.select, v.less,
    )  # fmt: skip
    power = _power(v)

    @v.inline
    def expm1(x):
        """exp(x) - 1 for |x| <= 80; exact to a few units in the last place also near 0."""
        a, b, scale = power(x, 1.44269504088896341)
        return fma(a, b, scale - 1.0)

    @v.inline
    def erf(x):
        """Within 1.2e-7: a polynomial near 0, 1 - exp(polynomial) beyond."""
        s, t = x * x, least(4.2, absolute(x))
        p = fma(s, -5.96761703e-4, 4.99119423e-3)
        p = fma(p, s, -2.67681349e-2)
        p = fma(p, s, 1.12819925e-1)
        p = fma(p, s, -3.76125336e-1)
        p = fma(p, s, 1.28379166e-1)
        q = fma(t, -1.72853470e-5, 3.83197126e-4)
        q = fma(q, t * t, fma(t, -3.88396438e-3, 2.42546219e-2))
        q = fma(q, t, -1.06777877e-1)
        q = fma(q, t, -6.34846687e-1)
        q = fma(q, t, -1.28717512e-1)
        q = fma(q, t, -t)
        return select(less(t, 0.927734375), fma(p, x, x), copysign(-expm1(q), x))

    @v.inline
    def elu(x, alpha):
        return select(less(0.0, x), x, expm1(most(-80.0, least(0.0, x))) * alpha)

    @v.inline
    def selu(x):
        return select(less(0.0, x), x, expm1(most(-80.0, least(0.0, x))) * 1.67326324) * 1.05070098

    return {"erf": erf, "elu": elu, "selu": selu}


def _logarithm(v: Any) -> dict[str, Any]:
    fma, select, less, exponent, mantissa = v.fma, v.select, v.less, v.exponent, v.mantissa

    @v.inline
    def log(x):
        """Within 2 units in the last place; -infinity for 0 and denormals, NaN below 0."""
        high = less(1.41421356237, mantissa(x))
        m = select(high, mantissa(x) * 0.5, mantissa(x)) - 1.0
        e = select(high, exponent(x) + 1.0, exponent(x))
        p = fma(m, 7.0376836292e-2, -1.1514610310e-1)
        p = fma(m, p, 1.1676998740e-1)
        p = fma(m, p, -1.2420140846e-1)
        p = fma(m, p, 1.4249322787e-1)
        p = fma(m, p, -1.6668057665e-1)
        p = fma(m, p, 2.0000714765e-1)
        p = fma(m, p, -2.4999993993e-1)
        p = fma(m, p, 3.3333331174e-1)
        s = m * m
        y = fma(e, -2.12194440e-4, m * s * p)
        y = fma(s, -0.5, y)
        y = fma(e, 0.693359375, m + y)
        y = select(less(x, 1.17549435e-38), -float("inf"), y)
        return select(less(x, 0.0), float("nan"), select(less(x, float("inf")), y, x))

    return {"log": log}


def _piecewise(v: Any) -> dict[str, Any]:
    fma, least, most, select, less, less_equal, absolute = (
        v.fma, v.min, v.max, v.select, v.less, v.less_equal, v.absolute,
    )  # fmt: skip

    @v.inline
    def linear(x):
        return x

    @v.inline
    def relu(x):
        return most(0.0, x)

    @v.inline
    def relu6(x):
        return most(0.0, least(6.0, x))

    @v.inline
    def leaky_relu(x, alpha):
        return select(less(x, 0.0), x * alpha, x)

    @v.inline
    def thresholded_relu(x, alpha):
        return select(less_equal(x, alpha), 0.0, x)

    @v.inline
    def affine(x, alpha, beta):
        return fma(x, alpha, beta)

    @v.inline
    def hard_sigmoid(x, alpha, beta):
        return most(0.0, least(1.0, fma(x, alpha, beta)))

    @v.inline
    def hard_silu(x):
        x = most(-3.0, x)
        return x * most(0.0, least(1.0, fma(x, 1.0 / 6.0, 0.5)))

    @v.inline
    def softsign(x):
        x = most(-1e30, least(1e30, x))
        return x / (absolute(x) + 1.0)

    return {
        "linear": linear, "relu": relu, "relu6": relu6, "leaky_relu": leaky_relu, "affine": affine,
        "thresholded_relu": thresholded_relu, "hard_sigmoid": hard_sigmoid, "hard_silu": hard_silu,
        "softsign": softsign,
    }  # fmt: skip


def _smooth(v: Any, basic: SimpleNamespace) -> dict[str, Any]:
    exp, log, tanh = basic.exp, basic.log, basic.tanh
    most, absolute = v.max, v.absolute

    @v.inline
    def softplus(x):
        return most(0.0, x) + log(exp(-absolute(x)) + 1.0)

    @v.inline
    def log_sigmoid(x):
        return -softplus(-x)

    @v.inline
    def scaled_tanh(x, alpha, beta):
        return tanh(x * beta) * alpha

    return {"softplus": softplus, "log_sigmoid": log_sigmoid, "scaled_tanh": scaled_tanh}


def _gated(v: Any, basic: SimpleNamespace) -> dict[str, Any]:
    """The ones that multiply x by a factor which vanishes on the left, where x itself is held finite."""
    exp, tanh, erf = basic.exp, basic.tanh, basic.erf
    fma, least, most = v.fma, v.min, v.max

    @v.inline
    def silu(x):
        x = most(-88.0, x)
        return x / (exp(-x) + 1.0)

    @v.inline
    def mish(x):
        x = most(-105.0, x)
        e = exp(least(20.0, x))
        n = e * (e + 2.0)
        return x * (n / (n + 2.0))

    @v.inline
    def gelu(x):
        x = most(-10.0, x)
        return x * fma(erf(x * 0.70710678118654752), 0.5, 0.5)

    @v.inline
    def gelu_tanh(x):
        x = most(-10.0, x)
        inner = x * fma(least(1e10, x) * least(1e10, x), 0.0356774081363, 0.7978845608028654)
        return x * fma(tanh(inner), 0.5, 0.5)

    return {"silu": silu, "mish": mish, "gelu": gelu, "gelu_tanh": gelu_tanh}
