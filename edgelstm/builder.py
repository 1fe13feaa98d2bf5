"""How an importer writes a Graph: one call for an input, a constant, an op or an output; shapes are checked as it goes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm import ops
from edgelstm.errors import FormatError
from edgelstm.facts import infer_node
from edgelstm.graph import Graph, Node, Port
from edgelstm.ops.op import DTYPES, Fact, check_attrs

_NARROWED = {"float64": "float32", "float16": "float32", "int16": "int32", "uint16": "int32", "uint32": "int64",
             "int8": "int32", "uint64": "int64"}


class GraphBuilder:
    """Collects the nodes of one Graph.

    Every dynamic axis gets a stand-in length while the graph is written, so that `fact` can tell the rank, dtype and fixed
    axes of any value; `dim` gives None for an axis that depends on a dynamic one.
    """

    def __init__(self) -> None:
        self._inputs: list[Port] = []
        self._outputs: list[Port] = []
        self._nodes: list[Node] = []
        self._constants: dict[str, np.ndarray] = {}
        self._facts: dict[str, Fact] = {}
        self._lengths: dict[str, int] = {}
        self._names: set[str] = set()

    def input(self, name: str, dtype: str, shape: Sequence[int | str], *, batch: int | None = None,
              time: int | None = None) -> str:
        """Declare a graph input; a str in `shape` is the symbol of a dynamic axis. Gives its value name."""
        dtype = _NARROWED.get(dtype, dtype)
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
            array = np.ascontiguousarray(array, dtype).reshape(array.shape)
        value = self._fresh(name)
        self._constants[value] = array
        self._facts[value] = Fact(array.shape, dtype, array)
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
        return self._lengths.setdefault(symbol, stand_in(len(self._lengths)))

    def _fresh(self, name: str) -> str:
        value, n = name, 1
        while value in self._names:
            value, n = f"{name}.{n}", n + 1
        self._names.add(value)
        return value

    def _fresh_node(self, name: str) -> str:
        taken = {node.name for node in self._nodes}
        unique, n = name, 1
        while unique in taken:
            unique, n = f"{name}.{n}", n + 1
        return unique


_PRIMES = (1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049, 1051, 1061, 1063, 1069, 1087, 1091, 1093, 1097)


def stand_in(number: int) -> int:
    """A prime, different for every number, that stands in for the length of a dynamic axis."""
    return _PRIMES[number % len(_PRIMES)]
