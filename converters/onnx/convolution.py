"""Conv nodes along one axis, as conv1d over channels last; two-dimensional ones whose second axis has length 1 too."""

from dataclasses import dataclass

from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.errors import FormatError


@dataclass(frozen=True)
class Window:
    """What convolutions and poolings share, for the one spatial axis that counts.

    `axis` is that axis among the spatial ones, `spatial` how many there are; `pads` is (left, right).
    """

    size: int
    stride: int
    dilation: int
    padding: str
    pads: tuple[int, int]
    axis: int
    spatial: int

    @property
    def attrs(self) -> dict[str, object]:
        """Padding attributes of the ops."""
        return {"padding": self.padding, **({"pads": self.pads} if self.padding == "explicit" else {})}


@node("Conv", limits="windows along one axis; W and B constant")
def conv(call: Call) -> str:
    auto_pad, groups = call.attr("auto_pad", "NOTSET"), int(call.attr("group", 1))
    sizes = call.attr("kernel_shape", None)
    options = {name: call.attr(name, None) for name in ("strides", "dilations", "pads")}
    x = call.input(0)
    W = call.array(1, "weights W")
    if W.ndim != call.builder.rank(x) or W.ndim < 3:
        raise FormatError(f"W has the shape {W.shape}, its input has {call.builder.rank(x)} axes")
    if sizes is not None and tuple(sizes) != W.shape[2:]:
        raise FormatError(f"kernel_shape is {sizes}, but W has the shape {W.shape}")
    window = read_window(call, x, W.shape[2:], auto_pad, options)
    kernel = W.reshape(*W.shape[:2], window.size).transpose(2, 1, 0)
    bias = call.const(call.array(2, "bias B"), "b") if call.has(2) else None
    y = call.add(
        "conv1d",
        channels_last(call, x, window),
        call.const(kernel, "W"),
        bias,
        stride=window.stride,
        dilation=window.dilation,
        groups=groups,
        **window.attrs,
    )
    return channels_first(call, y, window)


def read_window(
    call: Call, x: str, sizes: tuple[int, ...], auto_pad: str, options: dict[str, list[int] | None]
) -> Window:
    """The window along the one spatial axis that counts. Refuses windows over several axes."""
    spatial = len(sizes)
    axis = _moving_axis(call, x, sizes)
    strides, dilations = (options[name] or [1] * spatial for name in ("strides", "dilations"))
    pads = options["pads"] or [0] * (2 * spatial)
    if len(strides) != spatial or len(dilations) != spatial or len(pads) != 2 * spatial:
        raise FormatError(f"strides {strides}, dilations {dilations} and pads {pads} do not fit {spatial} axes")
    fixed = [i for i in range(spatial) if i != axis]
    if auto_pad == "NOTSET" and any(pads[i] or pads[spatial + i] for i in fixed):
        call.refuse(f"attribute pads={pads} pads an axis of length 1; supported: pads along one axis")
    stride, dilation, border = strides[axis], dilations[axis], (pads[axis], pads[spatial + axis])
    padding, border = _padding(call, auto_pad, stride, dilation * (sizes[axis] - 1), border)
    return Window(sizes[axis], stride, dilation, padding, border, axis, spatial)


def channels_last(call: Call, x: str, window: Window) -> str:
    """(B, C, ..., T, ...) with other axes of length 1 as (B, T, C)."""
    others = tuple(2 + i for i in range(window.spatial) if i != window.axis)
    flat = call.add("squeeze", x, axes=others) if others else x
    return call.add("transpose", flat, perm=(0, 2, 1))


def channels_first(call: Call, y: str, window: Window) -> str:
    """The opposite of `channels_last`."""
    others = tuple(2 + i for i in range(window.spatial) if i != window.axis)
    flat = call.add("transpose", y, perm=(0, 2, 1))
    return call.add("unsqueeze", flat, axes=others) if others else flat


def _moving_axis(call: Call, x: str, sizes: tuple[int, ...]) -> int:
    lengths = [call.builder.dim(x, 2 + i) for i in range(len(sizes))]
    moving = [i for i, (n, size) in enumerate(zip(lengths, sizes, strict=True)) if n != 1 or size != 1]
    if len(moving) > 1:
        call.refuse(
            f"it has a window of {list(sizes)} over axes of length {lengths}; supported: windows along one axis"
        )
    return moving[0] if moving else 0


def _padding(call: Call, auto_pad: str, stride: int, reach: int, pads: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Padding name and explicit (left, right) of an axis; `reach` is how far the window looks beyond one step."""
    if auto_pad == "VALID":
        return "valid", (0, 0)
    if auto_pad == "SAME_UPPER":
        return "same", (0, 0)
    if auto_pad == "SAME_LOWER" and stride == 1:
        return "explicit", (reach - reach // 2, reach // 2)
    if auto_pad not in ("NOTSET", ""):
        call.refuse(
            f"attribute auto_pad={auto_pad!r} with stride {stride}; supported: NOTSET, VALID, SAME_UPPER, and "
            "SAME_LOWER with stride 1"
        )
    if min(pads) < 0:
        call.refuse(f"attribute pads={list(pads)}; supported: pads of at least 0")
    return ("explicit", pads) if any(pads) else ("valid", (0, 0))
