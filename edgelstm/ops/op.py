"""What an op is: its attributes, shape rule, streaming rule, float64 reference, cases and lowering, all in one class.

Every file beside this one declares the ops of one kind. A declaration imports NumPy only: kernels are named, never imported.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from edgelstm.errors import FormatError, ShapeError
from edgelstm.record import fresh, record

ARITHMETIC = ("float32", "int64", "int32", "uint8", "bool")
NARROW = ("int8", "int16", "uint16")  # only for inputs that an op declares as narrow; the last are the bits of bfloat16 weights
DTYPES = (*ARITHMETIC, *NARROW)
PORT_DTYPES = (*ARITHMETIC, "int8", "int16")
MAX_RANK = 32  # axes of a value
MAX_SIZE = 2**31 - 1  # elements of a value
REQUIRED = object()
LARGEST = float(np.finfo(np.float32).max)


@record()
class Fact:
    """What is known of a value before anything runs.

    `value` is set when it follows from constants and shapes alone; `sources` names the graph inputs whose data it depends on.
    """

    shape: tuple[int, ...]
    dtype: str
    value: np.ndarray | None = None
    sources: frozenset[str] = frozenset()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@record()
class Body:
    """The subgraph of a control-flow node: nodes that read its inputs and each other.

    It holds no constants and sees no value around it: whatever it uses comes in as an input. `nodes` are graph nodes.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Any, ...]

    @cached_property
    def trips(self) -> dict[Any, int]:
        """Counts found so far."""
        return {}


@record()
class Attr:
    """An attribute of an op: its kind, its default (`REQUIRED` when there is none) and, for names, the allowed ones.

    Kinds: int, float, bool, str, ints, floats, activation (a name, or [name, alpha, beta]), graph (a Body).
    `since` is the minor version of the file format that added it; files leave such an attribute out where it has its default.
    """

    kind: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    since: int = 0


@record()
class StateSlot:
    """A state that a stream carries for one node; starts at `initial`, or at zero."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    initial: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@record()
class Case:
    """One test case of an op: attributes, input arrays (None = absent) and the documented tolerance of the kernels."""

    name: str
    inputs: Sequence[np.ndarray | None]
    attrs: Mapping[str, Any] = fresh(dict)
    atol: float = 2e-6
    rtol: float = 2e-6


class NeedsFuture(Exception):
    """Raised by a streaming rule: the node cannot work one time step at a time. The text says why."""


class Operand:
    """A value while it is lowered: where it lies is the plan's business, its shape and dtype are known."""

    shape: tuple[int, ...]
    dtype: str
    value: np.ndarray | None


class Lowering:
    """What `Op.lower` may ask of the plan.

    `lanes` is the vector width in float32 elements.
    `call(kernel, **params)` appends a kernel call; a parameter is an Operand, an int, a float or None (a null pointer).
    `alias(out, source)` makes an output share the memory of an operand of the same size.
    `part(operand, start, size)` gives `size` elements of an operand from element `start` on.
    `in_parts` says whether a long sequence is to be worked on part by part, so that what lies between two kernels is cached.
    `panels(tag, matrix, gates, vectors, taps)` gives a (n_in, gates * units) matrix, an array or a stored one, packed for the
    vector width, `vectors` per panel; with `taps` as the panels of so many equal parts of the inputs, in every block.
    `kernel(name, precision)` gives the name of the kernel that multiplies by weights of this precision.
    `row_words(precision, n)` gives the 32-bit words of a row of n numbers that such kernels can read, 0 where they read floats.
    `activation_code(name)` gives the number under which kernels know an activation.
    `constant(tag, make)` gives an operand for the array that `make()` returns; it is packed once per model, under node and tag.
    `scratch(shape, dtype)` gives memory that lives for this node alone.
    `members` is how many threads run the plan together; `team()` gives what a kernel ending in `_team` takes beside its own.
    `state(slot)` gives the node's state in a stream, and None in a stateless run.
    """

    lanes: int
    members: int
    in_parts: bool

    def team(self) -> dict[str, Any]: ...
    def call(self, kernel: str, **params: Any) -> None: ...
    def alias(self, out: Operand, source: Operand) -> None: ...
    def part(self, operand: Operand, start: int, size: int) -> Operand: ...
    def constant(self, tag: str, make: Any) -> Operand: ...
    def panels(self, tag: str, matrix: Any, gates: int, vectors: int = 1, taps: int = 1) -> Operand: ...
    def kernel(self, name: str, precision: str) -> str: ...
    def row_words(self, precision: str, n: int) -> int: ...
    def activation_code(self, name: str) -> int: ...
    def scratch(self, shape: Sequence[int], dtype: str = "float32") -> Operand: ...
    def state(self, slot: str) -> Operand | None: ...


Noise = Callable[[np.ndarray], np.ndarray]  # activations with errors such as float32 arithmetic makes


class Op:
    """Base of every op.

    A trailing `?` marks an input or output that may be absent, a trailing `*` any number of inputs. `parameters` names the
    inputs that must be known before anything runs (weights, target shapes), `selectors` those that only say which places of the
    first input are taken, `narrow` those that may be int8, int16 or uint16 (`*` for any
    that is int8 or int16).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)
    attrs: ClassVar[Mapping[str, Attr]] = {}
    foldable: ClassVar[bool] = True
    controls: ClassVar[bool] = False  # whether it runs subgraphs, and is replaced by them before anything is planned
    parameters: ClassVar[tuple[str, ...]] = ()
    selectors: ClassVar[tuple[str, ...]] = ()
    narrow: ClassVar[tuple[str, ...]] = ()

    def padded(self, ins: Sequence[Any]) -> list[Any]:
        """The inputs of a node with None for the declared ones that it leaves out."""
        return _padded(self.inputs, ins)

    def padded_outs(self, outs: Sequence[Any]) -> list[Any]:
        """The outputs of a node with None for the declared ones that it leaves out."""
        return _padded(self.outputs, outs)

    def roles(self, count: int) -> list[str]:
        """The declared name of each of `count` inputs, without marks."""
        names = [name.rstrip("?*") for name in self.inputs]
        return (names + names[-1:] * count)[:count]

    def weight_shapes(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights that inputs stand for, by input name, for inputs whose precision the node chooses.

        `ins` are anything with a shape; inputs that are no weights may be None.
        """
        return {}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        """Facts of the outputs. Raises ShapeError where the inputs do not fit together."""
        raise TypeError(f"op {self.name} declares no shape rule")

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        """The outputs, computed in float64 straight from the equations (floats arrive as float64)."""
        raise TypeError(f"op {self.name} declares no reference")

    def rounded(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None], noise: Noise | None) -> list[np.ndarray]:
        """The reference with activations rounded where the kernels round them, after a little `noise`."""
        return self.reference(attrs, ins)

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        """(input, axis) pairs along which an output element depends on more than its own position. Default: all of them."""
        return [(i, axis) for i, fact in enumerate(ins) if fact is not None for axis in range(fact.rank)]

    def sequence_axes(self, attrs: Mapping[str, Any]) -> tuple[int, int] | None:
        """(time, batch) axes of the first input of a recurrent op; None for every other op."""
        return None

    def stream(
        self, attrs: Mapping[str, Any], ins: Sequence[Fact | None], outs: Sequence[Fact], time: int
    ) -> dict[str, StateSlot]:
        """The states a stream carries for this node; raises NeedsFuture when it can't work step by step.

        `time` is a prime; an axis carries time where its length is a multiple of it.
        """
        for i, axis in self.mixes(attrs, ins):
            if carries_time(ins[i], axis, time):
                raise NeedsFuture("it combines values of different time steps")
        return {}

    def slots(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> dict[str, StateSlot]:
        """The states that a stream carries, for concrete shapes."""
        return {}

    def lower(self, low: Lowering, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        """Append the kernel calls that compute the outputs. An unused output is None."""
        raise TypeError(f"op {self.name} has no kernel")

    def cases(self) -> Iterable[Case]:
        """Small, odd and large inputs that drive tests and benchmarks."""
        return ()


def _padded(declared: Sequence[str], given: Sequence[Any]) -> list[Any]:
    fixed = len([name for name in declared if not name.endswith("*")])
    return [*given, *([None] * (fixed - len(given)))]


def carries_time(fact: Fact | None, axis: int, time: int) -> bool:
    """Whether an axis of a value was seen to grow with the number of time steps."""
    return fact is not None and fact.shape[axis] > 0 and fact.shape[axis] % time == 0


def time_axes(fact: Fact | None, time: int) -> list[int]:
    """Every axis of a value that grows with the number of time steps."""
    return [] if fact is None else [axis for axis in range(fact.rank) if carries_time(fact, axis, time)]


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises ShapeError when there is no such axis."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of a value with {rank} axes")
    return axis % rank if rank else 0


def check_attrs(op: Op, given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete attributes of a node: defaults filled in, kinds checked. Raises FormatError."""
    unknown = set(given) - set(op.attrs)
    if unknown:
        raise FormatError(f"op {op.name} has no attribute {sorted(unknown)[0]!r}; it knows {sorted(op.attrs)}")
    return {name: _check_attr(op, name, attr, given.get(name, attr.default)) for name, attr in op.attrs.items()}


def _check_attr(op: Op, name: str, attr: Attr, value: Any) -> Any:
    if value is REQUIRED:
        raise FormatError(f"op {op.name} needs the attribute {name!r}")
    try:
        checked = _CHECKS[attr.kind](value)
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"attribute {name!r} of op {op.name} is {value!r}, not of kind {attr.kind}") from None
    if attr.choices and checked not in attr.choices:
        raise FormatError(f"attribute {name!r} of op {op.name} is {value!r}; it may be one of {list(attr.choices)}")
    return checked


def _integer(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool | str):
        raise TypeError(value)
    number = float(value)
    if np.isfinite(number) and abs(number) > LARGEST:
        raise OverflowError(value)
    return number


def _activation(value: Any) -> str | tuple[str, float, float]:
    if isinstance(value, str):
        return value
    name, alpha, beta = value
    return _string(name), _number(alpha), _number(beta)


def _body(value: Any) -> Body:
    if not isinstance(value, Body):
        raise TypeError(value)
    return value


_CHECKS = {
    "int": _integer,
    "float": _number,
    "bool": _boolean,
    "str": _string,
    "ints": lambda value: tuple(_integer(v) for v in value),
    "floats": lambda value: tuple(_number(v) for v in value),
    "activation": _activation,
    "graph": _body,
}
