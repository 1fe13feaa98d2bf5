"""The programs of one model on a device: planned with the panels of a warp, their calls run by twins."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgelstm.arrays import check_names, check_shapes
from edgelstm.cuda import driver, twins
from edgelstm.cuda.driver import LANES, check, on, zeros
from edgelstm.cuda.fused.hiding import hide
from edgelstm.cuda.host import resident
from edgelstm.cuda.host.pool import DevicePool, poolable
from edgelstm.cuda.host.resident import View
from edgelstm.cuda.host.session import Constants, CudaPool, CudaSession
from edgelstm.cuda.host.stream import CudaStream
from edgelstm.errors import UnsupportedError
from edgelstm.graph import Graph
from edgelstm.memory import round_up
from edgelstm.ports import step_shapes
from edgelstm.program.lowering import PackedWeights
from edgelstm.program.plan import Program, StateLayout, plan
from edgelstm.programs import Programs, Shapes, StreamMemory
from edgelstm.stream import Stream
from edgelstm.stream_pool import Pool


class CudaPrograms(Programs):
    """Programs whose sessions run on one device, by default the current one. Raises DeviceError where there is none."""

    lanes = LANES

    def __init__(self, graph: Graph, number: int | None = None) -> None:
        self.number = check(number)
        super().__init__(graph)
        self._constants = Constants(self.number)

    def for_run(self, shapes: Shapes) -> CudaPool:
        return self._kept(self._runs, shapes, lambda: CudaPool(self._linked(shapes, None), self._constants))

    def for_team(self, shapes: Shapes, members: int) -> None:
        """Threads of the host have nothing to share."""

    def stream(self, batch: int) -> CudaStream:
        return CudaStream(self, batch)

    def pool(self, make: Callable[[], Stream], capacity: int) -> Pool:
        """A pool whose streams step together, where the rows of a batch are independent of each other."""
        return DevicePool(self, make, capacity) if poolable(self) else Pool(make, capacity)

    def session(self, program: Program, memory: StreamMemory) -> CudaSession:
        shown = {name for _, name in self.graph.states}
        hidden = [len(self.graph.inputs) + k for k, port in enumerate(self.graph.outputs) if port.name in shown]
        return CudaSession(program, self._constants, memory.block, hidden)

    def stream_memory(self, batch: int) -> StreamMemory:
        """All states on the device: those of nodes as the layout says, the explicit ones behind them in the same block."""
        layout, shapes = self.stream_layout(batch), step_shapes(self.graph, batch, 1)
        ports = [self.graph.input(name) for name, _ in self.graph.states]
        sizes = [int(np.prod(shapes[port.name], dtype=np.int64)) * np.dtype(port.dtype).itemsize for port in ports]
        with on(self.number):
            block = zeros(layout.nbytes + sum(map(round_up, sizes)))
            explicit, end = {}, round_up(layout.nbytes)
            for port, size in zip(ports, sizes, strict=True):
                explicit[port.name] = View(block[end : end + size], shapes[port.name], port.dtype, self.number)
                end += round_up(size)
            slots: dict[str, tuple[Any, np.ndarray | None]] = {name: (view, None) for name, view in explicit.items()}
            for (node, slot), declared in layout.slots.items():
                start = layout.offsets[node, slot]
                view = View(block[start : start + declared.nbytes], declared.shape, declared.dtype, self.number)
                name = f"{node}.{slot}"
                slots[f"{name} of the node" if name in slots else name] = (view, declared.initial)
        return StreamMemory(layout, block, explicit, slots)

    def takes(self, inputs: Any) -> bool:
        """Whether inputs lie on the device."""
        return isinstance(inputs, Mapping) and any(driver.resident(array) for array in inputs.values())

    def run_resident(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every output as a device array, from inputs of which none is copied. Raises ShapeError, DeviceError."""
        check_names(inputs, [port.name for port in self.graph.inputs])
        states = dict(self.graph.states)
        given = [port for port in self.graph.inputs if port.name in inputs or port.name not in states]
        with on(self.number):
            found = dict(zip((port.name for port in given), resident.given(given, inputs, self.number), strict=True))
            lengths = check_shapes(self.graph, {name: tuple(array.shape) for name, array in found.items()})
            arrays = [found[port.name] if port.name in found else resident.zeros(port, lengths) for port in self.graph.inputs]
            pool = self.for_run({port.name: tuple(array.shape) for port, array in zip(self.graph.inputs, arrays, strict=True)})
            outputs = [resident.made(shape, port.dtype)
                       for shape, port in zip(pool.program.outputs, self.graph.outputs, strict=True)]
            pool.run(arrays, outputs)
        return {port.name: array for port, array in zip(self.graph.outputs, outputs, strict=True)}

    def planned(self, shapes: Shapes, packed: PackedWeights, states: StateLayout | None = None, members: int = 1) -> Program:
        """Sequences as a whole, as a device has memory for, and values that need no memory computed where they are read."""
        return plan(self.graph, shapes, self.lanes, packed, states, in_parts=False, rework=hide)

    def _linked(self, shapes: Shapes, states: StateLayout | None, members: int = 1) -> Program:
        program = self.planned(shapes, self._packed, states)
        missing = sorted({name for name in program.kernels if twins.find(name) is None})
        if missing:
            raise UnsupportedError("this model needs kernels that device='cuda' does not have; use device='cpu'", missing)
        return program
