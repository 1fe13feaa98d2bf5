"""The test cases of the recurrent ops: every size class, layout, direction, mask and optional input."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edgelstm.ops.op import Case, Op

SIZES = ((1, 1), (1, 8), (5, 3), (1, 17), (5, 33), (40, 65), (8, 64))  # (features, units)


def recurrent_cases(op: Op, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[Case]:
    """Cases of one cell; `variants` names attribute sets that its kernels treat differently."""
    for features, units in SIZES:
        yield _case(op, f"{features}x{units}", features, units)
    yield _case(op, "long", 4, 16, steps=1000, batch=1)
    yield _case(op, "one_step", 5, 17, steps=1)
    yield _case(op, "no_step", 5, 17, steps=0)
    yield _case(op, "no_batch", 5, 17, batch=0)
    yield _case(op, "plain", 5, 17, optional=False)
    yield _case(op, "time_major", 5, 17, attrs={"layout": "tbf"})
    yield _case(op, "reverse", 5, 17, attrs={"reverse": True})
    for hold in ("hold", "zero"):
        yield _case(op, f"mask_{hold}", 5, 17, attrs={"masked_output": hold}, mask=True)
        yield _case(op, f"mask_{hold}_reverse", 5, 17, attrs={"masked_output": hold, "reverse": True}, mask=True)
    for name, attrs in variants.items():
        yield _case(op, name, 5, 33, attrs=attrs)


def _case(op: Op, name: str, features: int, units: int, *, steps: int = 7, batch: int = 3,
          attrs: Mapping[str, Any] | None = None, mask: bool = False, optional: bool = True) -> Case:
    attrs = dict(attrs or {})
    rng = np.random.default_rng(1000 * features + units)
    time_major = attrs.get("layout") == "tbf"
    shapes = {
        "x": (steps, batch, features) if time_major else (batch, steps, features),
        "W": (features, op.gates * units), "R": (units, op.gates * units), **op.parameter_shapes(units),
        "h0": (batch, units), "c0": (batch, units),
    }
    inputs = {key: (rng.standard_normal(shape) / np.sqrt(units if key in "WR" else 1)).astype(np.float32)
              for key, shape in shapes.items() if optional or key in ("x", "W", "R")}
    if attrs.get("input_forget") is None and name != "relu":
        inputs.pop("peephole", None)
    if mask:
        inputs["mask"] = rng.random((batch, steps)) < 0.6
    return Case(name, [inputs.get(key.rstrip("?")) for key in op.inputs], attrs)
