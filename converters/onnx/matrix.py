"""Matrix products: MatMul and Gemm become dense layers where the right side is a constant matrix."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.errors import FormatError


@node("MatMul")
def matmul(call: Call) -> str:
    right = call.constant(1)
    if right is not None and right.ndim == 2 and right.dtype.kind == "f":
        x = call.input(0)
        if call.builder.rank(x) and call.builder.fact(x).dtype == "float32":
            return call.add("dense", x, call.const(right, "W"), None)
    return call.add("matmul", call.input(0), call.input(1))


@node("Gemm")
def gemm(call: Call) -> str:
    """y = alpha * A' * B' + beta * C, where A' and B' are A and B, transposed if so asked."""
    alpha, beta = float(call.attr("alpha", 1.0)), float(call.attr("beta", 1.0))
    flip_a, flip_b = bool(call.attr("transA", 0)), bool(call.attr("transB", 0))
    for name in ("A", "B"):
        i = "AB".index(name)
        if call.fact(i).rank != 2:
            raise FormatError(f"{name} has {call.fact(i).rank} axes; Gemm takes matrices")
    a = call.add("transpose", call.input(0), perm=(1, 0)) if flip_a else call.input(0)
    B = call.constant(1)
    if B is not None:
        W = (B.T if flip_b else B).astype(np.float64) * alpha
        return _with_bias(call, a, call.const(W, "W"), beta)
    b = call.add("transpose", call.input(1), perm=(1, 0)) if flip_b else call.input(1)
    return _plus(call, _scaled(call, call.add("matmul", a, b), alpha), beta)


def _with_bias(call: Call, a: str, W: str, beta: float) -> str:
    """a W + beta C; C goes into the dense layer where it is a constant vector."""
    C = call.constant(2) if call.has(2) else None
    n = call.builder.fact(W).shape[1]
    if C is not None and C.size in (1, n) and C.shape in ((), (1,), (n,), (1, 1), (1, n)):
        bias = np.broadcast_to(C.astype(np.float64).reshape(-1) * beta, (n,))
        return call.add("dense", a, W, call.const(bias, "b"))
    return _plus(call, call.add("dense", a, W, None), beta)


def _plus(call: Call, product: str, beta: float) -> str:
    return call.add("add", product, _scaled(call, call.input(2), beta)) if call.has(2) else product


def _scaled(call: Call, value: str, factor: float) -> str:
    return value if factor == 1 else call.add("mul", value, call.const(np.float32(factor), "factor"))
