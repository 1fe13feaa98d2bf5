"""How an importer writes a Graph: one call for an input, a constant, an op or an output; shapes are checked as it goes."""

from collections import ChainMap
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.errors import EdgeLSTMError, FormatError
from edgelstm.facts import infer_node
from edgelstm.graph import Graph, Node, Port
from edgelstm.ops.op import DTYPES, Body, Fact, check_attrs
from edgelstm.stand_ins import SCALES, stand_in

_NARROWED = {"float64": "float32", "float16": "float32", "int16": "int32", "uint16": "int32", "uint32": "int64",
             "int8": "int32", "uint64": "int64"}


class GraphBuilder:
    """Collects the nodes of one Graph.

    Every dynamic axis gets a stand-in length while the graph is written, so that `fact` can tell the rank, dtype and fixed
    axes of any value; `dim` gives None for an axis that depends on a dynamic one. `avoid` holds the lengths that the source
    mentions, so that no stand-in is mistaken for one of them.
    """

    def __init__(self, scale: int = 0, avoid: Collection[int] = ()) -> None:
        self._scale = scale
        self._avoid = frozenset(n for n in map(abs, avoid) if n)
        self._inputs: list[Port] = []
        self._outputs: list[Port] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, np.ndarray] = {}
        self._facts: MutableMapping[str, Fact] = {}
        self._lengths: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._node_names: dict[str, int] = {}

    def input(self, name: str, dtype: str, shape: Sequence[int | str], *, batch: int | None = None,
              time: int | None = None, exact: bool = False) -> str:
        """Declare a graph input; a str in `shape` is the symbol of a dynamic axis. Gives its value name.

        With `exact` the dtype stays as it is; without, it becomes the nearest one that all ops take.
        """
        dtype = dtype if exact else _NARROWED.get(dtype, dtype)
        value = self._fresh(name)
        self._inputs.append(Port(name, dtype, tuple(shape), value, batch, time))
        lengths = tuple(self._stand_in(d) if isinstance(d, str) else d for d in shape)
        self._facts[value] = Fact(lengths, dtype, None, frozenset({name}))
        return value

    def constant(self, array: Any, name: str = "const") -> str:
        """A constant; floats become float32 and other dtypes the nearest supported one. Gives its value name."""
        array = np.asarray(array)
        dtype = _NARROWED.get(str(array.dtype), str(array.dtype))
        if dtype not in DTYPES:
            raise FormatError(f"constant {name!r} has the dtype {array.dtype}; supported are {list(DTYPES)}")
        with np.errstate(over="ignore"):
            array = np.array(array, dtype, order="C", copy=True if array.flags.writeable else None)
        return self._add_constant(array, name)

    def stored(self, array: np.ndarray, name: str = "const") -> str:
        """A constant of exactly this dtype, such as quantized weights. Gives its value name."""
        if str(array.dtype) not in DTYPES:
            raise FormatError(f"constant {name!r} has the dtype {array.dtype}; supported are {list(DTYPES)}")
        return self._add_constant(array, name)

    def _add_constant(self, array: np.ndarray, name: str) -> str:
        value = self._fresh(name)
        self._constants[value] = array
        self._facts[value] = Fact(array.shape, str(array.dtype), array)
        return value

    def add(self, op: str, *inputs: str | None, name: str | None = None, **attrs: Any) -> str:
        """Append a node with one used output. Gives the value name of that output."""
        return self.add_many(op, *inputs, name=name, used=1, **attrs)[0]

    def add_many(self, op: str, *inputs: str | None, name: str | None = None, used: int | Sequence[bool] = 0,
                 **attrs: Any) -> tuple[str | None, ...]:
        """Append a node. `used` says how many leading outputs are wanted, or which ones; the others are None."""
        declared = ops.get(op)
        attrs = check_attrs(declared, attrs)
        node_name = self._fresh_node(name or op)
        wanted = [True] * used if isinstance(used, int) else list(used)
        outputs = tuple(self._fresh(node_name if i == 0 else f"{node_name}:{i}") if want else None
                        for i, want in enumerate(wanted))
        node = Node(node_name, op, tuple(inputs), outputs, attrs)
        self._facts.update(infer_node(node, self._facts))
        self._nodes.append(node)
        return outputs

    def output(self, name: str, value: str) -> None:
        """Declare that the graph shows a value as an output of that name."""
        fact = self._facts[value]
        self._outputs.append(Port(name, fact.dtype, tuple(self._symbol(value)), value))

    @property
    def lengths(self) -> Mapping[str, int]:
        """The stand-in length of every symbol."""
        return self._lengths

    def fact(self, value: str) -> Fact:
        """What is known of a value; dynamic axes have their stand-in lengths."""
        return self._facts[value]

    def rank(self, value: str) -> int:
        return self._facts[value].rank

    def dim(self, value: str, axis: int) -> int | None:
        """Length of an axis, or None when it depends on a dynamic one."""
        length = self._facts[value].shape[axis]
        return None if any(length and length % stand_in == 0 for stand_in in self._lengths.values()) else length

    def value(self, value: str) -> np.ndarray | None:
        """The array of a value that follows from constants alone (never from a dynamic axis), else None."""
        array = self._facts[value].value
        if array is None or array.dtype == np.float32 or not array.size:
            return array
        dynamic = any(np.any((array != 0) & (array % length == 0)) for length in self._lengths.values())
        return None if dynamic and array.dtype != bool else array

    def is_settled(self, value: str) -> bool:
        """Whether a known value is the same for other lengths of the dynamic axes, as far as the model accepts them."""
        wanted, cone = {value}, []
        for node in reversed(self._nodes):
            if not wanted.isdisjoint(node.outputs):
                cone.append(node)
                wanted.update(name for name in node.inputs if name is not None)
        trials = [{symbol: stand_in(i, scale, self._avoid) for i, symbol in enumerate(self._lengths)}
                  for scale in SCALES if scale != self._scale]
        trials += [{**self._lengths, symbol: 1} for symbol in self._lengths]
        return all(self._same_at(value, cone[::-1], lengths) for lengths in trials)

    def _same_at(self, value: str, cone: Sequence[Node], lengths: Mapping[str, int]) -> bool:
        facts = {port.value: replace(self._facts[port.value], shape=tuple(lengths.get(d, d) for d in port.shape))
                 for port in self._inputs}
        facts = ChainMap(facts, {name: self._facts[name] for name in self._constants})
        try:
            for node in cone:
                facts.update(infer_node(node, facts))
        except EdgeLSTMError:
            return True
        found = facts[value].value
        return found is not None and np.array_equal(found, self._facts[value].value)

    def body(self) -> "BodyBuilder":
        """A builder for a subgraph of a control-flow node that this builder is about to write."""
        return BodyBuilder(self)

    def build(self, *, states: Sequence[tuple[str, str]] = (), stateful: bool = False,
              provenance: Mapping[str, Any] | None = None, notes: Sequence[str] = ()) -> Graph:
        """The finished Graph. Raises FormatError when it is not well formed."""
        return Graph(tuple(self._inputs), tuple(self._outputs), tuple(self._nodes), self._constants, tuple(states),
                     stateful, dict(provenance or {}), tuple(notes))

    def _symbol(self, value: str) -> list[int | str]:
        by_length = {length: symbol for symbol, length in self._lengths.items()}
        shape = self._facts[value].shape
        return [by_length.get(n, f"{value}.{axis}" if self.dim(value, axis) is None else n) for axis, n in enumerate(shape)]

    def _stand_in(self, symbol: str) -> int:
        return self._lengths.setdefault(symbol, stand_in(len(self._lengths), self._scale, self._avoid))

    def _fresh(self, name: str) -> str:
        return _unique(name, self._names)

    def _fresh_node(self, name: str) -> str:
        return _unique(name, self._node_names)


def _unique(name: str, taken: dict[str, int]) -> str:
    """The name, with a number behind it when it is taken; taken from then on, with the number to try next."""
    unique, n = name, taken.get(name, 0)
    while unique in taken:
        n += 1
        unique = f"{name}.{n}"
    taken[name] = n
    taken.setdefault(unique, 0)
    return unique


class BodyBuilder(GraphBuilder):
    """Writes the subgraph of a control-flow node.

    Values of the graph around it can be used by name: they become inputs of the subgraph, `captured` lists them. Constants
    are kept in that graph too. `given` declares an input of the subgraph itself, with what is known of it in the first
    iteration; what depends on such an input has no constant `value`.
    """

    def __init__(self, outer: GraphBuilder) -> None:
        super().__init__(outer._scale, outer._avoid)
        self._outer = outer
        self._facts = ChainMap({}, outer._facts)
        self._lengths, self._names = outer._lengths, outer._names
        self._given: list[str] = []
        self._varying: set[str] = set()
        self.captured: list[str] = []

    def given(self, name: str, fact: Fact) -> str:
        """Declare an input of the subgraph. Gives its value name."""
        value = self._fresh(name)
        self._given.append(value)
        self._varying.add(value)
        self._facts[value] = fact
        return value

    def constant(self, array: Any, name: str = "const") -> str:
        return self._outer.constant(array, name)

    def add_many(self, op: str, *inputs: str | None, name: str | None = None, used: int | Sequence[bool] = 0,
                 **attrs: Any) -> tuple[str | None, ...]:
        self._capture(inputs)
        outputs = super().add_many(op, *inputs, name=name, used=used, **attrs)
        if not self._varying.isdisjoint(inputs):
            self._varying.update(out for out in outputs if out is not None)
        return outputs

    def is_settled(self, value: str) -> bool:
        inner = value in self._facts.maps[0]
        return not inner and self._outer.is_settled(value)

    def value(self, value: str) -> np.ndarray | None:
        return None if value in self._varying else super().value(value)

    def taken(self, outputs: Sequence[str]) -> list[str]:
        """The values from around it that the subgraph uses when it gives these outputs."""
        self._capture(outputs)
        return list(self.captured)

    def finished(self, outputs: Sequence[str], captured: Sequence[str]) -> Body:
        """The subgraph that gives these values; `captured` has all that it takes from around it, in the order of its inputs."""
        return Body((*self._given, *captured), tuple(outputs), tuple(self._nodes))

    def _capture(self, values: Sequence[str | None]) -> None:
        inner = self._facts.maps[0]
        for value in values:
            if value is not None and value not in inner and value not in self.captured:
                self.captured.append(value)
