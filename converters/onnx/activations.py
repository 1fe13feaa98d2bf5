"""The activation lists of recurrent ONNX nodes."""

import math
from collections.abc import Iterator

from edgelstm_converters.onnx.call import Call

Activation = str | tuple[str, float, float]

NEEDED = math.nan

# lower-case ONNX name -> (name here, default alpha, default beta): NEEDED where ONNX defines no default,
# None where the function has no such parameter
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "affine": ("affine", NEEDED, NEEDED),
    "elu": ("elu", 1.0, None),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5),
    "leakyrelu": ("leaky_relu", 0.01, None),
    "relu": ("relu", None, None),
    "scaledtanh": ("scaled_tanh", NEEDED, NEEDED),
    "sigmoid": ("sigmoid", None, None),
    "softplus": ("softplus", None, None),
    "softsign": ("softsign", None, None),
    "tanh": ("tanh", None, None),
    "thresholdedrelu": ("thresholded_relu", 1.0, None),
}


def cell_activations(call: Call, defaults: tuple[str, ...], directions: int) -> list[list[Activation]]:
    """The activations of each direction. `activation_alpha` and `activation_beta` are used up, in order, by those
    functions that take them; the operator's own default stands in where a list is too short."""
    names = call.attr("activations", None) or list(defaults) * directions
    alphas, betas = iter(call.attr("activation_alpha", ())), iter(call.attr("activation_beta", ()))
    if len(names) != len(defaults) * directions:
        call.complain(f"attribute activations={names}; {len(defaults) * directions} names are expected")
        return [list(defaults)] * directions
    unknown = [name for name in names if name.lower() not in _ACTIVATIONS]
    if unknown:
        call.complain(
            f"attribute activations={names}: {', '.join(unknown)}; supported: {', '.join(sorted(_ACTIVATIONS))}"
        )
        return [list(defaults)] * directions
    functions = [_resolved(name, alphas, betas) for name in names]
    for name, function in zip(names, functions, strict=True):
        if not isinstance(function, str) and any(math.isnan(number) for number in function[1:]):
            call.complain(
                f"attribute activations={names}: {name} needs activation_alpha and activation_beta; it has no default"
            )
    size = len(defaults)
    return [functions[d * size : (d + 1) * size] for d in range(directions)]


def _resolved(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    function, alpha, beta = _ACTIVATIONS[name.lower()]
    if alpha is None:
        return function
    return function, float(next(alphas, alpha)), 0.0 if beta is None else float(next(betas, beta))
