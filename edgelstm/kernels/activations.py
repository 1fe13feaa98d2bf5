"""The codes by which general kernels are told which activation to apply, and what each one means.

alpha and beta stand for the parameters of the activations that have some; the others ignore them.
"""

NAMES = (
    "linear",  # x
    "relu",  # max(x, 0)
    "tanh",
    "sigmoid",  # 1 / (1 + exp(-x))
    "hard_sigmoid",  # clamp(alpha x + beta, 0, 1)
    "softsign",  # x / (1 + |x|)
    "softplus",  # log(1 + exp(x))
    "elu",  # x where x > 0, else alpha (exp(x) - 1)
    "selu",  # the two published constants
    "gelu",  # x Phi(x), through erf
    "gelu_tanh",  # the tanh approximation of gelu
    "silu",  # x sigmoid(x)
    "exponential",  # exp(x)
    "leaky_relu",  # x where x > 0, else alpha x
    "thresholded_relu",  # x where x > alpha, else 0
    "scaled_tanh",  # alpha tanh(beta x)
    "affine",  # alpha x + beta
    "relu6",  # clamp(x, 0, 6)
    "mish",  # x tanh(softplus(x))
    "hard_silu",  # x clamp(x / 6 + 1/2, 0, 1)
    "log_sigmoid",  # -softplus(-x)
)

ACTIVATIONS: dict[str, int] = {name: code for code, name in enumerate(NAMES)}
