"""Activations that a product applies to its results itself, so that these touch memory once and a launch is saved."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda.decode import Call
from edgelstm.cuda.scalars import device, make
from edgelstm.kernels import formulas
from edgelstm.kernels.activations import ACTIVATIONS

_PRODUCT = re.compile(r"(gemm|conv)[134](_\w+)?")
_APPLIED = ACTIVATIONS.keys() - {"selu"}  # whose kernel takes the formula's parameters

Activation = tuple[Any, ...]  # the name of a formula, and its parameters


def fused(calls: Sequence[Call]) -> list[Call]:
    """The calls, where a product and an activation that overwrites its result are one, with args["activation"].

    Programs are planned so that an activation overwrites what only it reads (program/in_place.py).
    """
    found: list[Call] = []
    for call in calls:
        if found and _joins(found[-1], call):
            numbers = [value for name, value in call.args.items() if name not in ("x", "y", "n")]
            activation = (call.kernel.removesuffix("_f32"), *numbers)
            found[-1] = replace(found[-1], args=found[-1].args | {"activation": activation})
        else:
            found.append(call)
    return found


def _joins(product: Call, call: Call) -> bool:
    args = product.args
    if not _PRODUCT.fullmatch(product.kernel) or "activation" in args or call.kernel.removesuffix("_f32") not in _APPLIED:
        return False
    rows, columns = args["rows"] if "rows" in args else args["batch"] * args["count"], args["n_out"]
    dense = args.get("y_stride", args.get("y_row")) == columns and args.get("y_start", 0) == 0
    return dense and call.args["x"] == call.args["y"] == args["y"] and call.args["n"] == rows * columns


@cache
def function(activation: Activation) -> Callable[[Any], Any]:
    """The activation of one number as a device function."""
    name, *numbers = activation
    formula = getattr(formulas.make(make()), name)
    if len(numbers) == 0:
        return device(lambda x: formula(x))
    if len(numbers) == 1:
        alpha = np.float32(numbers[0])
        return device(lambda x: formula(x, alpha))
    alpha, beta = map(np.float32, numbers)
    return device(lambda x: formula(x, alpha, beta))
