"""Weights of reduced precision: how a matrix lies in the graph and in the file, and which numbers it stands for.

A matrix is (n_in, n_out); the kernel of a convolution (taps, channels, filters) counts as (taps * channels, filters). A table
of an embedding (rows, width) is stored as the transpose of the matrix (width, rows).

    precision     values                            scale                       a weight is
    float32       float32, as they are              none                        the value
    bfloat16      uint16, same shape: the bits      none                        the upper half of a float32
    int8          int8, same shape, -127 .. 127     float32 (n_out,)            value * scale of its column
    int8-static   as int8; the activations have fixed scales, which are attributes of the node
    int8x16       as int8; the activations are rounded to 16 bits, in two numbers of 8
    int4          uint8 (groups * 16, n_out)        uint16 (groups, n_out)      (nibble - 8) * scale of its group and column

A group of int4 is 32 inputs of one column: byte 16 g + r holds input 32 g + r in its low half and 32 g + r + 16 in its high
half. Inputs that fill the last group up are 0 (nibble 8), and the node's attribute `grouped` says how many inputs W (or how
many columns a table) really has. The scale is a bfloat16.

Matrices of dense and conv1d in int8x16 may have a factor for each input beside the scales: a weight is value * scale * factor.
Activations are multiplied with it before they are rounded.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError, UnsupportedError
from edgelstm.ops.op import Attr, Fact, Noise, Op
from edgelstm.record import record

PRECISIONS = ("float32", "bfloat16", "int8", "int8-static", "int8x16", "int4")
GROUP = 32  # inputs that share a scale in int4
ZERO_NIBBLE = 8
MOST = 127  # of an activation in int8
FINER = 2 * MOST  # steps that one step of an activation has in int8x16
MOST_INPUTS = 1 << 17  # of one sum in int8: 131072 * 127 * 127 fits 32 bits
SMALLEST = np.float32(2.0**-100)  # a row whose largest number is below this counts as zeros
PRECISION = Attr("str", "float32", PRECISIONS, since=1)
ACTIVATION_SCALE = Attr("float", 0.0, since=1)  # of int8-static; 0 where the scale is found at run time
GROUPED = Attr("int", 0, since=1)  # the length of the axis that int4 keeps in whole groups; 0 for other precisions

_INT8 = ("int8", "int8-static", "int8x16")
_VALUES = {"float32": "float32", "bfloat16": "uint16", "int4": "uint8"} | dict.fromkeys(_INT8, "int8")
_SCALES = {"int4": "uint16"} | dict.fromkeys(_INT8, "float32")


@record(eq=False)
class Stored:
    """A weight matrix of reduced precision as the file holds it; `shape` is that of the matrix it stands for.

    `factor` (n_in,), if there is one, multiplies the weights of each input. What multiplies by values and scales alone applies
    it to the inputs beforehand.
    """

    precision: str
    values: np.ndarray
    scale: np.ndarray | None
    shape: tuple[int, int]
    factor: np.ndarray | None = None

    def widened(self, dtype: type = np.float32) -> np.ndarray:
        """The matrix as floats. Products of a value and its scale are exact in float64."""
        if self.precision == "bfloat16":
            return bfloat16_widened(self.values).reshape(self.shape).astype(dtype)
        if self.precision == "int4":
            scale = np.repeat(bfloat16_widened(self.scale), GROUP, axis=0)[: self.shape[0]]
            return nibbles(self.values)[: self.shape[0]].astype(dtype) * scale.astype(dtype)
        found = self.values.reshape(self.shape).astype(dtype) * self.scale.astype(dtype)
        return found if self.factor is None else found * self.factor.astype(dtype)[:, None]

    def columns(self, start: int, stop: int) -> "Stored":
        """The matrix of these columns alone."""
        part = slice(start, stop)
        scale = None if self.scale is None else self.scale[..., part]
        shape = (self.shape[0], len(range(self.shape[1])[part]))
        return Stored(self.precision, self.values[..., part], scale, shape, self.factor)

    def rows(self, start: int, stop: int) -> "Stored":
        """The matrix of these inputs alone; of int4 only whole groups can be taken."""
        inner = slice(start, stop)
        shape = (len(range(self.shape[0])[inner]), self.shape[1])
        if self.precision != "int4":
            factor = None if self.factor is None else self.factor[inner]
            return Stored(self.precision, self.values.reshape(self.shape)[inner], self.scale, shape, factor)
        if start % GROUP or (stop % GROUP and stop < self.shape[0]):
            raise ValueError(f"rows {start} to {stop} of an int4 matrix are no whole groups of {GROUP}")
        first, last = start // GROUP, -(-stop // GROUP)
        return Stored(self.precision, self.values[16 * first:16 * last], self.scale[first:last], shape)


def columns(matrix: "np.ndarray | Stored", start: int, stop: int) -> "np.ndarray | Stored":
    """The matrix of these columns alone, stored or not."""
    return matrix.columns(start, stop) if isinstance(matrix, Stored) else matrix[:, start:stop]


def bfloat16_widened(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def nibbles(values: np.ndarray) -> np.ndarray:
    """The int8 numbers -8 .. 7 of packed int4 values (groups * 16, n_out), a row per input, filled groups included."""
    rows, n_out = values.shape
    pairs = values.reshape(rows // (GROUP // 2), 1, GROUP // 2, n_out)
    both = np.concatenate([pairs & 15, pairs >> 4], axis=1)
    return both.reshape(2 * rows, n_out).astype(np.int8) - np.int8(ZERO_NIBBLE)


def pack_nibbles(numbers: np.ndarray) -> np.ndarray:
    """The inverse of `nibbles`: (n_in, n_out) of -8 .. 7, packed; the last group is filled up with zeros."""
    n_in, n_out = numbers.shape
    groups = -(-n_in // GROUP)
    padded = np.full((groups * GROUP, n_out), ZERO_NIBBLE, np.uint8)
    padded[:n_in] = numbers + ZERO_NIBBLE
    low, high = np.moveaxis(padded.reshape(groups, 2, GROUP // 2, n_out), 1, 0)
    return (low | high << 4).reshape(groups * GROUP // 2, n_out)


def check_stored(role: str, precision: str, values: Fact, scale: Fact | None, shape: tuple[int, ...]) -> None:
    """Raise ShapeError unless values and scale are those of a float array of that shape, whose last axis has the columns."""
    n_in, n_out = math.prod(shape[:-1]), shape[-1]
    groups = -(-n_in // GROUP)
    wanted = (groups * GROUP // 2, n_out) if precision == "int4" else shape
    _check_fact(role, precision, values, _VALUES[precision], wanted)
    if precision not in _SCALES:
        if scale is not None:
            raise ShapeError(f"{role} has a scale, which {precision} weights have none of")
        return
    if scale is None:
        raise ShapeError(f"{role} is stored as {precision} and lacks its scale")
    if n_in > MOST_INPUTS and precision != "int4":
        raise ShapeError(f"{role} sums {n_in} products; {precision} sums at most {MOST_INPUTS}")
    wanted = (groups, n_out) if precision == "int4" else (n_out,)
    _check_fact(f"the scale of {role}", precision, scale, _SCALES[precision], wanted)
    if scale.value is not None and not np.all(np.isfinite(_floats(scale.value))):
        raise ShapeError(f"the scale of {role} holds NaN or infinity; every scale must be a finite number")


def _floats(scale: np.ndarray) -> np.ndarray:
    return bfloat16_widened(scale) if scale.dtype == np.uint16 else scale


def check_stored_table(role: str, precision: str, values: Fact, scale: Fact | None, shape: tuple[int, int]) -> None:
    """The same of an embedding's table (rows, width)."""
    turned = [None if fact is None else Fact(fact.shape[::-1], fact.dtype, fact.value) for fact in (values, scale)]
    check_stored(role, precision, turned[0], turned[1], shape[::-1])


def _check_fact(role: str, precision: str, fact: Fact, dtype: str, shape: tuple[int, ...]) -> None:
    if fact.dtype != dtype or fact.shape != shape:
        raise ShapeError(f"{role} has the shape {fact.shape} ({fact.dtype}), expected {shape} ({dtype}, as {precision} has it)")


def check_grouped(attrs: Mapping[str, Any], length: int) -> None:
    """Raise ShapeError unless the attribute `grouped` is what it must be for an axis of that length."""
    wanted = max(length, 0) if attrs["precision"] == "int4" else 0
    if attrs["grouped"] != wanted:
        raise ShapeError(f"grouped is {attrs['grouped']}, expected {wanted} for {attrs['precision']} weights")


def check_factor(attrs: Mapping[str, Any], factor: Fact | None, n_in: int) -> None:
    """Raise ShapeError unless the factors of a matrix's inputs, if there are any, are as many finite numbers, in int8x16."""
    if factor is None:
        return
    if attrs["precision"] != "int8x16":
        raise ShapeError(f"W has factors of its inputs, which {attrs['precision']} weights have none of")
    if attrs.get("groups", 1) != 1:
        raise ShapeError(f"W has factors of its inputs and {attrs['groups']} groups; only one group may have factors")
    _check_fact("the factor of W", attrs["precision"], factor, "float32", (n_in,))
    if factor.value is not None and not np.all(np.isfinite(factor.value)):
        raise ShapeError("the factor of W holds NaN or infinity; every factor must be a finite number")


def full_shape(attrs: Mapping[str, Any], values: Any, axis: int = 0) -> tuple[int, ...]:
    """The shape of the weights that stored values stand for; `axis` is the one that int4 keeps in whole groups."""
    shape = values.shape
    return (*shape[:axis], attrs["grouped"], *shape[axis + 1:]) if attrs.get("precision") == "int4" else shape


def check_scales(attrs: Mapping[str, Any], *names: str) -> None:
    """Raise ShapeError unless the activation scales are positive where the precision fixes them, and 0 elsewhere."""
    static = attrs["precision"] == "int8-static"
    for name in names:
        scale = attrs[name]
        if not (np.isfinite(scale) and (scale > 0 if static else scale == 0)):
            raise ShapeError(f"{name} is {scale} with the precision {attrs['precision']!r}; int8-static needs a number "
                             "above 0, all others 0")


def stored(precision: str, values: np.ndarray, scale: np.ndarray | None, shape: tuple[int, ...],
           factor: np.ndarray | None = None) -> np.ndarray | Stored:
    """A weight matrix, given its array in the graph: the array itself for float32, else what it stands for."""
    if precision == "float32":
        return values
    return Stored(precision, values, scale, (int(np.prod(shape[:-1], dtype=np.int64)), shape[-1]), factor)


def stored_table(precision: str, values: np.ndarray, scale: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray | Stored:
    """The table of an embedding (rows, width): the array itself for float32, else the Stored matrix (width, rows)."""
    if precision == "float32":
        return values
    return Stored(precision, values.T, None if scale is None else scale.T, shape[::-1])


def stored_parts(op: Op, ins: Sequence[Any]) -> list[np.ndarray | None]:
    """The arrays of an op's W, W_scale and W_factor. Raises UnsupportedError when one is computed from the model's input."""
    named = dict(zip(op.roles(len(ins)), ins, strict=True))
    return [None if named[name] is None else known(op.name, name, named[name]) for name in ("W", "W_scale", "W_factor")]


def known(op: str, name: str, value: Any) -> np.ndarray:
    """The array of a weight. Raises UnsupportedError when it is computed from the model's input."""
    if value.value is None:
        raise UnsupportedError(f"the {op} parameter {name} is computed from an input; only constants are supported")
    return value.value


def wide(precision: str, values: np.ndarray, scale: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The float64 weights of that shape that an array in the graph stands for; float32 ones come in widened already."""
    found = stored(precision, values, scale, shape)
    return found.widened(np.float64).reshape(shape) if isinstance(found, Stored) else found


class Rounding:
    """A matrix that rounds what it is multiplied with, as kernels do: `x @ self` makes whole numbers of each row of x.

    With m = max |x| these are x * (127 / m), rounded half to even, and count m / 127 each; a `scale` above 0 holds for all
    rows, and what then goes beyond 127 ends there. A `finer` one counts in 254ths of that. These steps are float32, as in
    kernels, so that ties fall to the same side. `factor` multiplies the rows beforehand.
    """

    __array_ufunc__ = None  # NumPy leaves the product to __rmatmul__

    def __init__(self, matrix: np.ndarray, scale: float, noise: Noise | None, finer: bool = False,
                 factor: np.ndarray | None = None) -> None:
        self.matrix, self.scale, self.noise, self.finer, self.factor = matrix, scale, noise, finer, factor
        self.shape = matrix.shape

    def __getitem__(self, key: Any) -> "Rounding":
        return Rounding(self.matrix[key], self.scale, self.noise, self.finer, self.factor)

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        x = x if self.noise is None else self.noise(x)
        x = x.astype(np.float32) if self.factor is None else x.astype(np.float32) * self.factor.astype(np.float32)
        if self.scale:
            scale = np.float32(self.scale)
            counted = np.clip(x * (np.float32(1) / scale), -MOST, MOST)
        else:
            most = np.max(np.abs(x), axis=-1, keepdims=True, initial=0)
            most = np.where(most < SMALLEST, np.float32(0), most)
            inverse = np.divide(np.float32(MOST), most, out=np.zeros_like(most), where=most != 0)
            counted, scale = x * inverse, most / np.float32(MOST)
        whole = np.rint(counted).astype(np.float64)
        if self.finer:
            whole += np.rint((counted - np.rint(counted)) * np.float32(FINER)).astype(np.float64) / FINER
        return (whole @ self.matrix) * np.float64(scale)


def rounding(precision: str, matrix: np.ndarray, scale: float, noise: Noise | None,
             factor: np.ndarray | None = None) -> np.ndarray | Rounding:
    """The matrix, which rounds its inputs where the precision makes kernels do so."""
    return Rounding(matrix, scale, noise, precision == "int8x16", factor) if precision in _SCALES else matrix
