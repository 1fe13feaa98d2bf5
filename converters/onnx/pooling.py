"""MaxPool and AveragePool along one axis, over channels last."""

from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.convolution import channels_first, channels_last, read_window
from edgelstm_converters.onnx.registry import node


@node("MaxPool", limits="windows along one axis, no dilation, no Indices, storage_order 0")
def max_pool(call: Call) -> list[str | None]:
    call.only("storage_order", 0)
    if any(call.used[1:]):
        call.complain("its output 'Indices' is used; supported: the maxima alone")
    return [_pool(call, "max_pool1d", {})]


@node("AveragePool", limits="windows along one axis, no dilation")
def average_pool(call: Call) -> str:
    return _pool(call, "avg_pool1d", {"count_include_pad": bool(call.only("count_include_pad", 0, 1))})


def _pool(call: Call, op: str, attrs: dict[str, object]) -> str:
    auto_pad, ceil_mode = call.attr("auto_pad", "NOTSET"), bool(call.only("ceil_mode", 0, 1))
    sizes = tuple(call.attr("kernel_shape"))
    options = {name: call.attr(name, None) for name in ("strides", "dilations", "pads")}
    if any(d != 1 for d in options["dilations"] or ()):
        call.complain(f"attribute dilations={options['dilations']}; supported: 1")
    call.check()
    x = call.input(0)
    window = read_window(call, x, sizes, auto_pad, options)
    y = call.add(
        op,
        channels_last(call, x, window),
        size=window.size,
        stride=window.stride,
        ceil_mode=ceil_mode,
        **window.attrs,
        **attrs,
    )
    return channels_first(call, y, window)
