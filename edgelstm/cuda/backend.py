"""The programs of one model on a device: planned with the panels of a warp, their calls run by twins."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelstm.cuda import twins
from edgelstm.cuda.driver import LANES, adopted, check, cuda, device_errors, resident, zeros
from edgelstm.cuda.session import Constants, CudaPool, CudaSession, View
from edgelstm.errors import DeviceError, ShapeError, UnsupportedError
from edgelstm.graph import Graph
from edgelstm.memory import aligned_zeros
from edgelstm.ports import step_shapes
from edgelstm.program.plan import Program, StateLayout, plan
from edgelstm.programs import Programs, Shapes, StreamMemory


class CudaPrograms(Programs):
    """Programs whose sessions run on the device. Raises DeviceError where there is none."""

    lanes = LANES

    def __init__(self, graph: Graph) -> None:
        check()
        super().__init__(graph)
        self._constants = Constants()

    def for_run(self, shapes: Shapes) -> CudaPool:
        return self._kept(self._runs, shapes, lambda: CudaPool(self._linked(shapes, None), self._constants))

    def for_team(self, shapes: Shapes, members: int) -> None:
        """Threads of the host have nothing to share."""

    def session(self, program: Program, memory: StreamMemory) -> CudaSession:
        sources = [source for source, _ in self.graph.states]
        carried = [k for k, port in enumerate(self.graph.inputs) if port.name in sources]
        return CudaSession(program, self._constants, memory.block, carried)

    def stream_memory(self, batch: int) -> StreamMemory:
        """States of nodes lie on the device; explicit ones are inputs and outputs, and are copied with them."""
        layout, shapes = self.stream_layout(batch), step_shapes(self.graph, batch, 1)
        block = zeros(layout.nbytes)
        explicit = {name: aligned_zeros(shapes[name], self.graph.input(name).dtype) for name, _ in self.graph.states}
        slots: dict[str, tuple[Any, np.ndarray | None]] = {name: (array, None) for name, array in explicit.items()}
        for (node, slot), declared in layout.slots.items():
            view = View(block, layout.offsets[node, slot], declared.shape, declared.dtype)
            name = f"{node}.{slot}"
            slots[f"{name} of the node" if name in slots else name] = (view, declared.initial)
        return StreamMemory(layout, block, explicit, slots)

    def takes(self, inputs: Any) -> bool:
        """Whether inputs lie on the device."""
        return isinstance(inputs, Mapping) and any(resident(array) for array in inputs.values())

    def run_resident(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every output as a device array, from inputs of which none is copied. Raises ShapeError, DeviceError."""
        with device_errors():
            arrays = [_device_array(port, inputs) for port in self.graph.inputs]
            pool = self.for_run({port.name: tuple(array.shape) for port, array in zip(self.graph.inputs, arrays, strict=True)})
            outputs = [cuda.device_array(shape, np.dtype(port.dtype))
                       for shape, port in zip(pool.program.outputs, self.graph.outputs, strict=True)]
            pool.run(arrays, outputs)
        return {port.name: array for port, array in zip(self.graph.outputs, outputs, strict=True)}

    def _linked(self, shapes: Shapes, states: StateLayout | None, members: int = 1) -> Program:
        program = plan(self.graph, shapes, self.lanes, self._packed, states)
        missing = sorted({name for name in program.kernels if twins.find(name) is None})
        if missing:
            raise UnsupportedError("this model needs kernels that device='cuda' does not have; use device='cpu'", missing)
        return program


def _device_array(port: Any, inputs: Mapping[str, Any]) -> Any:
    if port.name not in inputs:
        raise ShapeError(f"the input {port.name!r} is missing; with arrays on the device all inputs are given")
    given = inputs[port.name]
    if not resident(given):
        raise DeviceError(f"input {port.name!r} is an array of the host, others lie on the device; give all on one side")
    array = adopted(given)
    if array.dtype != port.dtype or not array.is_c_contiguous():
        raise ShapeError(f"input {port.name!r} on the device is {array.dtype}; give a C-contiguous array of {port.dtype}")
    return array

