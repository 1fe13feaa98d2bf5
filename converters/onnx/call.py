"""What a handler sees of one ONNX node: its attributes, its inputs, and a way to emit ops."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError
from edgelstm.ops.op import MAX_RANK, Fact

REQUIRED = object()
BLOCKED = object()


class Refused(Exception):
    """The node holds something unsupported; its problems are in the call."""


class Blocked(Exception):
    """An input of the node comes from a node that was refused."""


class Scope:
    """The values that the nodes of one ONNX graph can name; a subgraph also sees those of the graphs around it.

    A value is the name of a builder value, an array that no op has used yet, a list (an ONNX sequence), or BLOCKED.
    """

    def __init__(self, builder: GraphBuilder, outer: "Scope | None" = None):
        self.builder = builder
        self.outer = outer
        self.values: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.values or (self.outer is not None and name in self.outer)

    def get(self, name: str) -> Any:
        """The value of that name. Raises FormatError when there is none, Blocked when its node was refused."""
        if name in self.values:
            if self.values[name] is BLOCKED:
                raise Blocked
            return self.values[name]
        if self.outer is None:
            raise FormatError(f"reads {name!r}, which nothing computes")
        return self.outer.get(name)

    def use(self, name: str) -> str:
        """The builder value of that name; an array becomes a constant the first time it is used."""
        value = self.get(name)
        if name not in self.values:
            return self.outer.use(name)
        if isinstance(value, np.ndarray):
            value = self.values[name] = self.builder.constant(value, name)
        if not isinstance(value, str):
            raise FormatError(f"{name!r} is a sequence where a tensor is expected")
        return value


class Call:
    """One ONNX node while its handler runs. Attributes that the handler does not read are refused afterwards.

    `inline(graph, values, builder)` writes a subgraph with that builder, its inputs bound to the values; `parts`
    is how many elements of its sequence the model takes.
    """

    def __init__(
        self,
        proto: Any,
        name: str,
        opset: int,
        scope: Scope,
        attributes: dict[str, Any],
        inline: Callable[[Any, Sequence[Any], GraphBuilder], list[Any]],
        parts: int | None = None,
    ):
        self.name = name
        self.op_type = proto.op_type
        self.opset = opset
        self.problems: list[str] = []
        self.inline = inline
        self.parts = parts
        self._inputs = list(proto.input)
        self._outputs = list(proto.output)
        self._scope = scope
        self._attributes = attributes
        self._unread = set(attributes)

    @property
    def builder(self) -> GraphBuilder:
        return self._scope.builder

    @property
    def unread(self) -> list[str]:
        """Attributes that the handler never looked at."""
        return sorted(self._unread)

    @property
    def n_inputs(self) -> int:
        return len(self._inputs)

    @property
    def used(self) -> list[bool]:
        """Which outputs the node names."""
        return [bool(name) for name in self._outputs]

    def attr(self, name: str, default: Any = REQUIRED) -> Any:
        """The value of an attribute: a number, str, list, array or subgraph. Raises FormatError when it is missing."""
        self._unread.discard(name)
        value = self._attributes.get(name, default)
        if value is REQUIRED:
            raise FormatError(f"lacks the attribute {name!r}")
        return value

    def only(self, name: str, *allowed: Any) -> Any:
        """The value of an attribute of which only some values are supported; the first is the default."""
        value = self.attr(name, allowed[0])
        if value not in allowed:
            self.complain(f"attribute {name}={value!r}; supported: {', '.join(repr(v) for v in allowed)}")
        return value

    def complain(self, problem: str) -> None:
        """Note something unsupported and go on, so that one conversion reports all of it."""
        self.problems.append(problem)

    def refuse(self, problem: str) -> None:
        """Note something unsupported and stop with this node."""
        self.complain(problem)
        raise Refused

    def check(self) -> None:
        """Stop with this node when anything was complained of."""
        if self.problems:
            raise Refused

    def has(self, i: int) -> bool:
        return i < len(self._inputs) and self._inputs[i] != ""

    def input(self, i: int) -> str:
        """The builder value of an input. Raises FormatError when it is absent."""
        if not self.has(i):
            raise FormatError(f"lacks its input number {i}")
        return self._scope.use(self._inputs[i])

    def maybe(self, i: int) -> str | None:
        """The builder value of an optional input."""
        return self.input(i) if self.has(i) else None

    def inputs(self) -> list[str]:
        """The builder values of all inputs."""
        return [self.input(i) for i in range(len(self._inputs))]

    def raw(self, i: int) -> Any:
        """An input as it is: a builder value, an array, or a list."""
        if not self.has(i):
            raise FormatError(f"lacks its input number {i}")
        return self._scope.get(self._inputs[i])

    def fact(self, i: int) -> Fact:
        return self.builder.fact(self.input(i))

    def constant(self, i: int) -> np.ndarray | None:
        """The array of an input that follows from constants alone, else None."""
        value = self.raw(i)
        return self.builder.value(value) if isinstance(value, str) else np.asarray(value)

    def array(self, i: int, role: str) -> np.ndarray:
        """The array of an input that must be constant; `role` names it in the refusal."""
        array = self.constant(i)
        if array is None:
            self.refuse(f"its {role} ({self._inputs[i]!r}) depends on the model's inputs; supported: a constant")
        return array

    def ints(self, name: str, i: int, moved: int) -> tuple[int, ...] | None:
        """Integers that were the attribute `name` before opset `moved` and are input `i` since; None when absent."""
        if self.opset < moved:
            value = self.attr(name, None)
            return None if value is None else tuple(value)
        array = self.array(i, name) if self.has(i) else None
        if array is not None and name == "axes" and array.size > MAX_RANK:
            raise FormatError(f"names {array.size} axes; arrays of at most {MAX_RANK} are supported")
        return None if array is None else tuple(int(v) for v in array.ravel())

    def add(self, op: str, *inputs: str | None, **attrs: Any) -> str:
        """Emit an op with one output, named after the node."""
        return self.builder.add(op, *inputs, name=self.name, **attrs)

    def add_many(
        self, op: str, *inputs: str | None, used: int | Sequence[bool], **attrs: Any
    ) -> tuple[str | None, ...]:
        """Emit an op with several outputs, named after the node."""
        return self.builder.add_many(op, *inputs, name=self.name, used=used, **attrs)

    def const(self, array: Any, role: str = "const") -> str:
        """A new constant that belongs to this node."""
        return self.builder.constant(array, f"{self.name}.{role}")
