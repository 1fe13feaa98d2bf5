"""Nodes that move, cut, repeat or join elements, from Transpose and Reshape to Pad and ReverseSequence."""

import numpy as np
from edgelstm_converters.onnx.call import Call
from edgelstm_converters.onnx.registry import node

from edgelstm.errors import FormatError, ShapeError
from edgelstm.facts import FOLD_LIMIT
from edgelstm.ops.op import normal_axis

_END = np.iinfo(np.int64).max


@node("Transpose")
def transpose(call: Call) -> object:
    perm = call.attr("perm", None)
    value = call.raw(0)
    if isinstance(value, np.ndarray) and (perm is None or sorted(perm) == list(range(value.ndim))):
        return value.transpose(perm)
    x = call.input(0)
    return call.add("transpose", x, perm=tuple(perm if perm is not None else reversed(range(call.builder.rank(x)))))


@node("Reshape", limits="a shape that follows from constants and shapes")
def reshape(call: Call) -> str:
    allowzero = bool(call.only("allowzero", 0, 1))
    _needs_shape(call, 1, "new shape")
    x, shape = call.input(0), call.constant(1)
    try:
        return call.add("reshape", x, call.input(1), allowzero=allowzero)
    except ShapeError:
        general = None if shape is None or 0 in shape else _copying_dynamic(call, x, shape)
        if general is None:
            raise
        return call.add("reshape", x, call.const(general, "shape"), allowzero=False)


def _copying_dynamic(call: Call, x: str, shape: np.ndarray) -> np.ndarray | None:
    """A shape that copies the leading dynamic axes of x, where an exporter wrote down the lengths of its example."""
    general = np.array(shape, np.int64).ravel()
    for axis in range(min(general.size, call.builder.rank(x))):
        length = call.builder.dim(x, axis)
        if general[axis] <= 0 or length not in (None, general[axis]):
            break
        general[axis] = 0
    return None if np.array_equal(general, shape) else general


@node("Flatten")
def flatten(call: Call) -> str:
    """x as a matrix: axes before `axis` become rows, the others columns."""
    axis = call.attr("axis", 1)
    x = call.input(0)
    rank = call.builder.rank(x)
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis <= rank:
        raise FormatError(f"flattens at axis {axis} of {rank}")
    if axis == 1:
        return call.add("reshape", x, call.const(np.array([0, -1]), "shape")) if rank > 1 else x
    rows = _product(call, call.add("shape", x, start=0, end=axis))
    columns = _product(call, call.add("shape", x, start=axis))
    return call.add("reshape", x, call.add("concat", rows, columns, axis=0))


@node("Squeeze")
def squeeze(call: Call) -> object:
    axes = call.ints("axes", 1, moved=13)
    value = call.raw(0)
    if isinstance(value, np.ndarray) and axes and _distinct(axes, value.ndim):
        return value.squeeze(tuple(axes)) if all(value.shape[a] == 1 for a in axes) else _not_one(value.shape, axes)
    x = call.input(0)
    if axes is None:
        axes = tuple(axis for axis, n in enumerate(call.builder.fact(x).shape) if n == 1)
    return call.add("squeeze", x, axes=axes)


@node("Unsqueeze")
def unsqueeze(call: Call) -> object:
    axes = call.ints("axes", 1, moved=13)
    if axes is None:
        raise FormatError("lacks its axes")
    value = call.raw(0)
    if isinstance(value, np.ndarray) and axes and _distinct(axes, value.ndim + len(axes)):
        return np.expand_dims(value, tuple(axes))
    return call.add("unsqueeze", call.input(0), axes=axes)


@node("Concat")
def concat(call: Call) -> object:
    axis = call.attr("axis")
    values = [call.raw(i) for i in range(call.n_inputs)]
    if all(isinstance(value, np.ndarray) for value in values) and sum(value.size for value in values) <= FOLD_LIMIT:
        try:
            return np.concatenate(values, axis)
        except ValueError as error:
            raise FormatError(str(error)) from None
    inputs = call.inputs()
    return inputs[0] if len(inputs) == 1 else call.add("concat", *inputs, axis=axis)


@node("Split", limits="sizes, or a fixed axis")
def split(call: Call) -> list[str | None]:
    """Sizes are an attribute before opset 13 and an input since; without them all parts but the last are equal."""
    axis = call.attr("axis", 0)
    sizes = call.ints("split", 1, moved=13)
    parts = call.attr("num_outputs", len(call.used))
    x = call.input(0)
    axis = normal_axis(axis, call.builder.rank(x))
    if sizes is None:
        length = call.builder.dim(x, axis)
        if length is None:
            call.refuse(f"it splits the dynamic axis {axis} into equal parts; supported: an axis of fixed length")
        size = -(-length // parts)
        sizes = tuple(max(0, min(size, length - i * size)) for i in range(parts))
    if len(sizes) != len(call.used):
        raise FormatError(f"splits into {len(sizes)} parts but names {len(call.used)} outputs")
    return list(call.add_many("split", x, used=call.used, axis=axis, sizes=sizes))


@node("Slice")
def slice_1(call: Call) -> str:
    starts, ends, axes = call.attr("starts"), call.attr("ends"), call.attr("axes", None)
    consts = [call.const(np.asarray(v, np.int64), role) for role, v in (("starts", starts), ("ends", ends))]
    return call.add(
        "slice", call.input(0), *consts, None if axes is None else call.const(np.asarray(axes, np.int64), "axes")
    )


@node("Slice", since=10, limits="starts, ends, axes and steps that follow from constants and shapes")
def slice_10(call: Call) -> str:
    roles = ("starts", "ends", "axes", "steps")
    for i, role in enumerate(roles, 1):
        _needs_shape(call, i, role)
    return call.add("slice", call.input(0), *(call.maybe(i) for i in range(1, 5)))


@node("Gather")
def gather(call: Call) -> str:
    axis = call.attr("axis", 0)
    return call.add("gather", call.input(0), call.input(1), axis=axis)


@node("Expand", limits="a shape that follows from constants and shapes")
def expand(call: Call) -> str:
    _needs_shape(call, 1, "new shape")
    return call.add("expand", call.input(0), call.input(1))


@node("Tile", limits="repeats that follow from constants and shapes")
def tile(call: Call) -> str:
    _needs_shape(call, 1, "repeats")
    return call.add("tile", call.input(0), call.input(1))


@node("Pad", limits="modes constant, edge, reflect")
def pad_2(call: Call) -> str:
    mode = call.only("mode", "constant", "edge", "reflect")
    pads, value = call.attr("pads"), float(call.attr("value", 0.0))
    call.check()
    fill = call.const(np.float32(value), "value") if value else None
    return call.add("pad", call.input(0), call.const(np.asarray(pads, np.int64), "pads"), fill, mode=mode)


@node("Pad", since=11, limits="modes constant, edge, reflect; pads and value that follow from constants and shapes")
def pad_11(call: Call) -> str:
    """Pads and value are inputs; since opset 18 `axes` may say which axes the pads are for."""
    mode = call.only("mode", "constant", "edge", "reflect")
    call.check()
    x = call.input(0)
    _needs_shape(call, 1, "pads")
    pads = call.input(1)
    if call.has(3):
        pads = call.const(_all_axes(call.array(1, "pads"), call.array(3, "axes"), call.builder.rank(x)), "pads")
    return call.add("pad", x, pads, call.maybe(2) if mode == "constant" else None, mode=mode)


@node("ReverseSequence", limits="sequences of full length")
def reverse_sequence(call: Call) -> str:
    """Only whole sequences are turned around: the lengths must be those of the time axis."""
    time, batch = call.attr("time_axis", 0), call.attr("batch_axis", 1)
    x = call.input(0)
    rank = call.builder.rank(x)
    time, batch = normal_axis(time, rank), normal_axis(batch, rank)
    lengths = call.fact(1).value
    if lengths is None or time == batch or np.any(lengths != call.builder.fact(x).shape[time]):
        call.refuse("its sequence_lens differ from the length of the time axis; supported: sequences of full length")
    return call.add("flip", x, axes=(time,))


def _product(call: Call, lengths: str) -> str:
    return call.add("reduce_prod", lengths, axes=(0,), keepdims=True)


def _all_axes(pads: np.ndarray, axes: np.ndarray, rank: int) -> np.ndarray:
    """Pads of every axis, from the pads of those named in `axes`."""
    wide = np.zeros((2, rank), np.int64)
    wide[:, [normal_axis(int(axis), rank) for axis in axes.ravel()]] = pads.reshape(2, -1)
    return wide.ravel()


def _needs_shape(call: Call, i: int, role: str) -> None:
    """Refuse an index input that depends on the data of an input, not on shapes alone."""
    if call.has(i):
        fact = call.fact(i)
        if fact.value is None:
            call.refuse(
                f"its {role} depends on the data of {', '.join(sorted(fact.sources)) or 'an input'}; "
                "supported: what follows from constants and shapes"
            )


def _distinct(axes: tuple[int, ...], rank: int) -> bool:
    """Whether these are different axes of a value of that rank."""
    return all(-rank <= axis < rank for axis in axes) and len({axis % rank for axis in axes}) == len(axes)


def _not_one(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    raise ShapeError(f"axes {list(axes)} of the shape {list(shape)} are not all of length 1")
