"""How many windows fit on an axis, and how much padding they need: shared by convolution and pooling."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgelstm.errors import ShapeError

MOST = 1 << 24  # positions: what is padded so far takes little memory


@dataclass(frozen=True)
class Window:
    """Windows along an axis: their number, and the positions added on the left and on the right."""

    count: int
    left: int
    right: int


def window_of(steps: int, extent: int, stride: int, padding: str, pads: Sequence[int] = (0, 0),
              ceil_mode: bool = False) -> Window:
    """The windows of `extent` positions, `stride` apart, over an axis of `steps`.

    "same" gives ceil(steps / stride) windows with the odd pad on the right (Keras); "causal" pads extent-1 on the left;
    `ceil_mode` adds a last window that runs over the end, as long as it starts before it. Raises ShapeError.
    """
    if extent < 1 or stride < 1 or len(pads) != 2 or min(pads) < 0 or max(extent, stride, *pads) > MOST:
        raise ShapeError(f"a window of {extent} positions, stride {stride}, pads {list(pads)}; "
                         f"at least 1, 1 and two numbers from 0 are supported, none above {MOST}")
    if padding != "explicit" and any(pads):
        raise ShapeError(f"pads {list(pads)} together with the padding {padding!r}; they belong to 'explicit'")
    if padding == "same":
        count = -(-steps // stride)
        total = max((count - 1) * stride + extent - steps, 0) if steps else 0
        return Window(count, total // 2, total - total // 2)
    left, right = {"valid": (0, 0), "causal": (extent - 1, 0), "explicit": tuple(pads)}[padding]
    room = left + steps + right - extent
    if room < 0:
        raise ShapeError(f"an axis of length {steps}, padded by {(left, right)}, is shorter than a window of {extent}")
    count = room // stride + 1
    if ceil_mode and room % stride and count * stride < steps + left:
        count += 1
    return Window(count, left, right)
