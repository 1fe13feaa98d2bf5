"""The test cases of the integer-only cells: size classes, layouts, directions, masks, optional inputs, ends of the range."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edgelstm.ops.integer_formulas import LIMITS
from edgelstm.ops.op import Case, Op

SIZES = ((1, 1), (1, 8), (5, 3), (3, 17), (5, 33), (40, 65))  # (features, units)


def integer_cases(op: Op, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[Case]:
    """Cases of one cell, whose kernels must give exactly what the reference gives."""
    for features, units in SIZES:
        yield _case(op, f"{features}x{units}", features, units)
    yield _case(op, "long", 4, 16, steps=300, batch=1)
    yield _case(op, "one step", 5, 17, steps=1)
    yield _case(op, "no step", 5, 17, steps=0)
    yield _case(op, "no batch", 5, 17, batch=0)
    yield _case(op, "plain", 5, 17, optional=False)
    yield _case(op, "large sums", 33, 17, x_scale=3.0)
    yield _case(op, "tiny sums", 33, 17, x_scale=1e-7)
    yield _case(op, "small h", 33, 17, h_scale=1e-4)
    yield _case(op, "reverse, time major", 5, 17, {"reverse": True, "layout": "tbf"})
    for hold in ("hold", "zero"):
        for reverse in (False, True):
            yield _case(op, f"mask {hold}{' reverse' * reverse}", 5, 17, {"masked_output": hold, "reverse": reverse}, mask=True)
    for name, attrs in variants.items():
        yield _case(op, name, 5, 33, attrs)


def _case(op: Op, title: str, features: int, units: int, attrs: Mapping[str, Any] | None = None, *, steps: int = 7,
          batch: int = 3, mask: bool = False, optional: bool = True, **scales: float) -> Case:
    attrs = {"x_scale": 0.02, "h_scale": 1 / 127, **scales, **dict(attrs or {})}
    rng = np.random.default_rng(1000 * features + units)
    columns = op.gates * units
    x = rng.integers(-127, 128, (steps, batch, features) if attrs.get("layout") == "tbf" else (batch, steps, features))
    x.flat[:2] = -128, 127
    inputs = {"x": x.astype(np.int8), **{name: rng.integers(-127, 128, (n, columns)).astype(np.int8)
                                         for name, n in (("W", features), ("R", units))}}
    for name, scale in (("W_scale", 1 / 127), ("R_scale", 1 / 127 / np.sqrt(units))):
        inputs[name] = (rng.uniform(0.3, 1, columns) * scale).astype(np.float32)
    if optional:
        inputs |= {name: rng.standard_normal(columns).astype(np.float32) for name in ("b", "rb")}
        inputs |= {f"{state}0": rng.integers(-LIMITS[kind], LIMITS[kind] + 1, (batch, units)).astype(kind)
                   for state, kind in zip(op.carried, op.kinds, strict=True)}
    if mask:
        inputs["mask"] = rng.random((batch, steps)) < 0.6
    return Case(title, [inputs.get(key.rstrip("?")) for key in op.inputs], attrs, atol=0, rtol=0)
