"""Inputs and outputs of an ONNX model, with the symbols of their dynamic axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from edgelstm_converters.onnx.call import Blocked, Call, Scope
from edgelstm_converters.onnx.model import Model
from edgelstm_converters.onnx.symbols import Axis

from edgelstm.arrays import converted
from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError, ShapeError, UnsupportedError

_DTYPES = {
    "FLOAT": "float32",
    "DOUBLE": "float32",
    "FLOAT16": "float32",
    "BFLOAT16": "float32",
    "INT64": "int64",
    "INT32": "int32",
    "INT16": "int32",
    "INT8": "int32",
    "UINT8": "uint8",
    "UINT16": "int32",
    "UINT32": "int64",
    "UINT64": "int64",
    "BOOL": "bool",
}


class Ports:
    """Declares a model's inputs and outputs; inputs named in `fix` become constants, symbols of axes named in it lengths."""

    def __init__(self, model: Model, builder: GraphBuilder, fix: Mapping[str, Any], unify: Mapping[str, str | int]):
        self._model = model
        self._builder = builder
        self._fix = dict(fix)
        self._unify = unify
        self._lengths: dict[str, int] = {}

    def declare(self, scope: Scope) -> None:
        """Declare every input that is not an initializer. Raises UnsupportedError for inputs that are no tensors."""
        graph = self._model.proto.graph
        initialized = {tensor.name for tensor in graph.initializer}
        ports = [port for port in graph.input if port.name not in initialized]
        problems = [problem for port in ports for problem in self._problems(port)]
        if problems:
            raise UnsupportedError(f"{self._model.source} has inputs that are not supported:", problems)
        self._check_fix([port.name for port in ports], [d.dim_param for port in ports for d in port.type.tensor_type.shape.dim])
        for port in ports:
            scope.values[port.name] = self._declared(port)

    def show(self, scope: Scope) -> None:
        """Declare every output. Raises FormatError for an output that nothing computes, UnsupportedError for a sequence."""
        for port in self._model.proto.graph.output:
            if port.name not in scope:
                raise FormatError(f"nothing computes the output {port.name!r}")
            if isinstance(scope.get(port.name), list):
                raise UnsupportedError(
                    f"{self._model.source} has outputs that are not supported:",
                    [f"output {port.name!r} is a sequence; supported: tensors"],
                )
            self._builder.output(port.name, scope.use(port.name))

    def symbols_of(self, call: Call) -> list[list[Axis]]:
        """For each input of a node, the symbol or the fixed length of every axis; for constant lists, their numbers."""
        by_length = {length: symbol for symbol, length in self._builder.lengths.items()}
        found: list[list[Axis]] = [[call.parts]] if call.parts else []
        for i in range(call.n_inputs):
            try:
                value = call.raw(i) if call.has(i) else None
            except Blocked:
                continue
            numbers = call.builder.value(value) if isinstance(value, str) else None
            if numbers is not None and numbers.dtype.kind == "i" and numbers.ndim == 1:
                found.append([int(n) if n > 0 else None for n in numbers])
            elif isinstance(value, str):
                shape = call.builder.fact(value).shape
                found.append([by_length.get(n, call.builder.dim(value, axis)) for axis, n in enumerate(shape)])
        return found

    def _check_fix(self, inputs: Sequence[str], symbols: Sequence[str]) -> None:
        """Let `fix` name inputs, or symbols of dynamic axes with a length. Raises ShapeError for anything else."""
        for name, value in self._fix.items():
            if name in inputs:
                continue
            if not name or name not in symbols:
                named = sorted({symbol for symbol in symbols if symbol})
                raise ShapeError(f"fix names {name!r}; the model's inputs are {list(inputs)}, its dynamic axes {named}")
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise ShapeError(f"fix gives {value!r} for the dynamic axis {name!r}; a length is a whole number from 1 on")
            self._lengths[name] = int(value)

    def _problems(self, port: Any) -> list[str]:
        from onnx import TensorProto

        if not port.type.HasField("tensor_type"):
            return [
                f"input {port.name!r} is a {port.type.WhichOneof('value') or 'value without type'}; supported: tensors"
            ]
        tensor = port.type.tensor_type
        if tensor.elem_type not in TensorProto.DataType.values():
            raise FormatError(
                f"{self._model.source}: input {port.name!r} has the unknown element type {tensor.elem_type}"
            )
        name = TensorProto.DataType.Name(tensor.elem_type)
        if name not in _DTYPES:
            return [f"input {port.name!r} has the element type {name}; supported: {', '.join(_DTYPES)}"]
        if not tensor.HasField("shape"):
            return [f"input {port.name!r} has no shape; export it with its number of axes"]
        return []

    def _declared(self, port: Any) -> str:
        from onnx import TensorProto

        tensor = port.type.tensor_type
        dtype = _DTYPES[TensorProto.DataType.Name(tensor.elem_type)]
        shape = [self._axis(port.name, i, dim) for i, dim in enumerate(tensor.shape.dim)]
        if port.name in self._fix:
            return self._builder.constant(_fixed(port.name, self._fix[port.name], dtype, shape), port.name)
        return self._builder.input(port.name, dtype, shape)

    def _axis(self, name: str, i: int, dim: Any) -> int | str:
        if dim.HasField("dim_value") and dim.dim_value > 0:
            return dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value < -1:
            raise FormatError(f"{self._model.source}: input {name!r} has an axis of length {dim.dim_value}")
        axis: int | str = dim.dim_param or f"{name}.{i}"
        axis = self._lengths.get(axis, axis)
        while isinstance(axis, str) and axis in self._unify:
            axis = self._unify[axis]
        return axis


def _fixed(name: str, value: Any, dtype: str, shape: list[int | str]) -> np.ndarray:
    """The array that replaces an input. Raises ShapeError when it does not fit the input's shape."""
    array = converted(f"the value that fix gives for the input {name!r}", dtype, value)
    if array.size == 1 and all(d == 1 for d in shape if isinstance(d, int)):
        array = array.reshape([1] * len(shape))
    if array.ndim != len(shape) or any(isinstance(d, int) and d != n for d, n in zip(shape, array.shape, strict=True)):
        raise ShapeError(f"fix gives an array of shape {array.shape} for the input {name!r}, which has {tuple(shape)}")
    return array
