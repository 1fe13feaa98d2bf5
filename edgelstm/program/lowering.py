"""What an op sees while it appends its kernel calls: the `Lowering` of `edgelstm.ops.op`, for one node after another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm import kernels, ops
from edgelstm.graph import Node
from edgelstm.memory import address, weights_copy
from edgelstm.ops.op import StateSlot
from edgelstm.ops.stored import Stored
from edgelstm.program import packing
from edgelstm.program.operands import Buffer, Operand, Space


class PackedWeights:
    """The weights of one model in the layout of one machine, packed once and shared by all its programs."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, str], np.ndarray] = {}

    def get(self, node: str, tag: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of that node and tag, made at the first call."""
        key = (node, tag)
        found = self._arrays.get(key)
        return self._arrays.setdefault(key, weights_copy(make())) if found is None else found

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())


class PlanLowering:
    """Collects the kernel calls of a plan. `calls` holds (kernel name, its parameters in declared order)."""

    def __init__(self, lanes: int, packed: PackedWeights, offsets: Mapping[tuple[str, str], int] | None,
                 members: int = 1, in_parts: bool = True) -> None:
        self.lanes, self.members, self.in_parts = lanes, members, in_parts
        self.calls: list[tuple[str, list[Any]]] = []
        self._packed = self._shared = packed
        self._offsets = offsets
        self._slots: dict[str, StateSlot] = {}
        self._node = ""
        self._scope: list[Buffer] = []

    def lower(self, node: Node, ins: Sequence[Operand | None], outs: Sequence[Operand | None],
              slots: Mapping[str, StateSlot]) -> None:
        """Append the calls of one node. What is packed from values that follow from the shapes serves this plan alone."""
        self._node, self._slots = node.name, dict(slots)
        lasting = all(x is None or x.value is None or x.lasting for x in ins)
        self._packed = self._shared if lasting else PackedWeights()
        ops.get(node.op).lower(self, node.attrs, ins, outs)

    def call(self, kernel: str, **params: Any) -> None:
        declared = [name for name, _ in kernels.get(kernel).params]
        if set(declared) != set(params):
            raise TypeError(f"kernel {kernel} takes {declared}, not {sorted(params)}")
        number = len(self.calls)
        ordered = [params[name] for name in declared]
        for value in ordered:
            if isinstance(value, Operand):
                self.buffer(value)
        self.calls.append((kernel, ordered))
        self._note_use(ordered, number)

    def alias(self, out: Operand, source: Operand) -> None:
        if out.nbytes != source.nbytes:
            raise TypeError(f"node {self._node}: an alias of {source.shape} cannot have the shape {out.shape}")
        out.buffer, out.start = self.buffer(source), source.start

    def part(self, operand: Operand, start: int, size: int) -> Operand:
        begin = operand.start + start * np.dtype(operand.dtype).itemsize
        return Operand((size,), operand.dtype, None, self.buffer(operand), start=begin)

    def constant(self, tag: str, make: Callable[[], np.ndarray]) -> Operand:
        array = self._packed.get(self._node, tag, make)
        return Operand(array.shape, str(array.dtype), array, Buffer(array.nbytes, Space.ABSOLUTE, address(array), array))

    def panels(self, tag: str, matrix: np.ndarray | Stored, gates: int, vectors: int = 1, taps: int = 1) -> Operand:
        return self.constant(tag, lambda: packing.packed(matrix, gates, self.lanes, vectors, taps))

    def kernel(self, name: str, precision: str) -> str:
        return packing.kernel_name(name, precision)

    def row_words(self, precision: str, n: int) -> int:
        return packing.row_words(precision, n)

    def team(self) -> dict[str, Any]:
        member, barrier, idle = (Operand((), "int32", None, Buffer(0, space))
                                 for space in (Space.MEMBER, Space.BARRIER, Space.IDLE))
        return {"member": member, "members": self.members, "barrier": barrier, "idle": idle}

    def activation_code(self, name: str) -> int:
        return kernels.ACTIVATIONS[name]

    def scratch(self, shape: Sequence[int], dtype: str = "float32") -> Operand:
        operand = Operand(tuple(shape), dtype)
        operand.buffer = Buffer(operand.nbytes)
        return operand

    def state(self, slot: str) -> Operand | None:
        if self._offsets is None or (self._node, slot) not in self._offsets:
            return None
        declared = self._slots[slot]
        operand = Operand(declared.shape, declared.dtype)
        operand.buffer = Buffer(operand.nbytes, Space.STATE, self._offsets[self._node, slot])
        return operand

    def buffer(self, operand: Operand) -> Buffer:
        """The memory of an operand; a value known beforehand is read where it lies."""
        if operand.buffer is None:
            if operand.value is not None:
                array = np.ascontiguousarray(operand.value)
                operand.buffer = Buffer(array.nbytes, Space.ABSOLUTE, address(array), array)
            else:
                operand.buffer = Buffer(operand.nbytes)
        return operand.buffer

    def _note_use(self, params: Sequence[Any], number: int) -> None:
        for value in params:
            if isinstance(value, Operand):
                self.buffer(value).use(number)
