"""The codes by which general kernels are told which activation to apply.

alpha and beta are the parameters of the activations that have some; the others ignore them. What each computes:
"""

LINEAR = 0  # x
RELU = 1  # max(x, 0)
TANH = 2
SIGMOID = 3  # 1 / (1 + exp(-x))
HARD_SIGMOID = 4  # clamp(alpha x + beta, 0, 1)
SOFTSIGN = 5  # x / (1 + |x|)
SOFTPLUS = 6  # log(1 + exp(x))
ELU = 7  # x where x > 0, else alpha (exp(x) - 1)
SELU = 8  # the two published constants
GELU = 9  # x Phi(x), through erf
GELU_TANH = 10  # the tanh approximation of gelu
SILU = 11  # x sigmoid(x)
EXPONENTIAL = 12  # exp(x)
LEAKY_RELU = 13  # x where x > 0, else alpha x
THRESHOLDED_RELU = 14  # x where x > alpha, else 0
SCALED_TANH = 15  # alpha tanh(beta x)
AFFINE = 16  # alpha x + beta
RELU6 = 17  # clamp(x, 0, 6)
MISH = 18  # x tanh(softplus(x))
HARD_SILU = 19  # x clamp(x / 6 + 1/2, 0, 1)
LOG_SIGMOID = 20  # -softplus(-x)

ACTIVATIONS: dict[str, int] = {name.lower(): code for name, code in list(vars().items()) if name.isupper()}
