"""The activations of recurrent cells, chosen by number where a kernel is told which to apply."""

import functools
from typing import Any, NamedTuple

from edgelstm.kernels import activations, formulas


class Activation(NamedTuple):
    """One choice: a code of ACTIVATIONS and the two parameters."""

    code: int
    alpha: float
    beta: float


def parameters(*roles: str) -> str:
    """The kernel parameters that choose an activation for each role."""
    return " ".join(f"{role}_code:int {role}_alpha:f32 {role}_beta:f32" for role in roles)


@functools.cache
def make(v: Any) -> Any:
    """`activate(x, activation, clip)`: x held within [-clip, clip] unless clip is 0, then the activation of it."""
    chosen, least, most = v.outline(_chosen(v)), v.min, v.max

    @v.inline
    def activate(x, activation, clip):
        if clip > 0:
            x = most(-clip, least(clip, x))
        return chosen(x, activation.code, activation.alpha, activation.beta)

    return activate


def _chosen(v: Any) -> Any:
    f = formulas.make(v)
    relu, tanh, sigmoid, hard_sigmoid, softsign = f.relu, f.tanh, f.sigmoid, f.hard_sigmoid, f.softsign
    softplus, elu, selu, gelu, gelu_tanh = f.softplus, f.elu, f.selu, f.gelu, f.gelu_tanh
    silu, exponential, leaky_relu, thresholded_relu = f.silu, f.exponential, f.leaky_relu, f.thresholded_relu
    scaled_tanh, affine, relu6, mish, hard_silu = f.scaled_tanh, f.affine, f.relu6, f.mish, f.hard_silu
    log_sigmoid = f.log_sigmoid

    def chosen(x, code, alpha, beta):
        if code == activations.RELU:
            return relu(x)
        if code == activations.TANH:
            return tanh(x)
        if code == activations.SIGMOID:
            return sigmoid(x)
        if code == activations.HARD_SIGMOID:
            return hard_sigmoid(x, alpha, beta)
        if code == activations.SOFTSIGN:
            return softsign(x)
        if code == activations.SOFTPLUS:
            return softplus(x)
        if code == activations.ELU:
            return elu(x, alpha)
        if code == activations.SELU:
            return selu(x)
        if code == activations.GELU:
            return gelu(x)
        if code == activations.GELU_TANH:
            return gelu_tanh(x)
        if code == activations.SILU:
            return silu(x)
        if code == activations.EXPONENTIAL:
            return exponential(x)
        if code == activations.LEAKY_RELU:
            return leaky_relu(x, alpha)
        if code == activations.THRESHOLDED_RELU:
            return thresholded_relu(x, alpha)
        if code == activations.SCALED_TANH:
            return scaled_tanh(x, alpha, beta)
        if code == activations.AFFINE:
            return affine(x, alpha, beta)
        if code == activations.RELU6:
            return relu6(x)
        if code == activations.MISH:
            return mish(x)
        if code == activations.HARD_SILU:
            return hard_silu(x)
        if code == activations.LOG_SIGMOID:
            return log_sigmoid(x)
        return x

    return chosen
