"""Upsample and Resize by whole factors, nearest neighbour: every element is repeated."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node


@node("Upsample", limits="nearest; whole factors")
def upsample_7(call: Call) -> str:
    call.only("mode", "nearest")
    scales = call.attr("scales")
    call.check()
    return _repeated(call, np.asarray(scales))


@node("Upsample", since=9, limits="nearest; whole factors")
def upsample_9(call: Call) -> str:
    call.only("mode", "nearest")
    call.check()
    return _repeated(call, call.array(1, "scales"))


@node("Resize", since=10, limits="nearest; whole factors")
def resize_10(call: Call) -> str:
    return upsample_9(call)


@node("Resize", since=11, limits="nearest; whole factors, as `scales`; asymmetric with floor, or half_pixel with rounding")
def resize_11(call: Call) -> str:
    """Whole factors make the common coordinate rules agree; `sizes` instead of `scales` is refused."""
    call.only("mode", "nearest")
    rule = call.only("coordinate_transformation_mode", "half_pixel", "asymmetric", "half_pixel_symmetric")
    rounding = call.attr("nearest_mode", "round_prefer_floor")
    if rounding not in (("floor",) if rule == "asymmetric" else ("round_prefer_floor", "round_prefer_ceil")):
        call.complain(
            f"attribute nearest_mode={rounding!r} with {rule}; supported: asymmetric with floor, or half_pixel "
            "with rounding"
        )
    for name, default in (
        ("cubic_coeff_a", -0.75),
        ("exclude_outside", 0),
        ("extrapolation_value", 0.0),
        ("antialias", 0),
    ):
        call.only(name, default)
    axes = call.attr("axes", None)
    call.only("keep_aspect_ratio_policy", "stretch")
    if call.has(3) or not call.has(2):
        call.complain("its output size is given as 'sizes'; supported: 'scales'")
    call.check()
    scales = call.array(2, "scales")
    if axes is not None:
        wide = np.ones(call.fact(0).rank)
        wide[list(axes)] = scales
        scales = wide
    return _repeated(call, scales)


def _repeated(call: Call, scales: np.ndarray) -> str:
    """Every element repeated along each axis: a new axis of that many copies, merged with the old one."""
    x = call.input(0)
    if scales.shape != (call.builder.rank(x),) or np.any(scales < 1) or np.any(scales != np.round(scales)):
        call.refuse(
            f"its scales are {scales.tolist()}; supported: one whole factor for each of {call.builder.rank(x)} axes"
        )
    for axis, factor in enumerate(scales.astype(int)):
        if factor > 1:
            repeats = np.ones(call.builder.rank(x) + 1, np.int64)
            repeats[axis + 1] = factor
            copies = call.add("tile", call.add("unsqueeze", x, axes=(axis + 1,)), call.const(repeats, "repeats"))
            x = _merged(call, copies, axis)
    return x


def _merged(call: Call, x: str, axis: int) -> str:
    """x with `axis` and the one after it made into one."""
    before, after = call.add("shape", x, start=0, end=axis), call.add("shape", x, start=axis + 2)
    rest = call.const(np.array([-1]), "merged")
    return call.add("reshape", x, call.add("concat", before, rest, after, axis=0))
