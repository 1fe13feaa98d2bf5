"""The border of integer-only models: float32 to integers of a fixed scale, and back."""

from typing import Any

import numpy as np

from edgelstm.kernels.declare import kernel


def _quantize(v: Any) -> Any:
    """y[i] = x[i] * inverse limited to -limit .. limit and rounded, halves away from zero; 0 for what is not a number."""
    f32 = v.f32

    def quantize(x, y, n, inverse, limit):
        for i in range(n):
            value = x[i] * inverse
            if value != value:
                value = f32(0.0)
            value = limit if value > limit else -limit if value < -limit else value
            y[i] = np.int32(value + (f32(0.5) if value >= f32(0.0) else f32(-0.5)))

    return quantize


def _dequantize(v: Any) -> Any:
    """y[i] = x[i] * scale."""

    def dequantize(x, y, n, scale):
        for i in range(n):
            y[i] = np.float32(x[i]) * scale

    return dequantize


for _kind in ("i8", "i16"):
    kernel(f"integer_border_quantize_{_kind}", f"x:f32* y:{_kind}* n:int inverse:f32 limit:f32")(_quantize)
    kernel(f"integer_border_dequantize_{_kind}", f"x:{_kind}* y:f32* n:int scale:f32")(_dequantize)
