"""Small ONNX models made for tests, run by ONNX Runtime and by the reference evaluator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from edgelstm_converters.onnx import read
from onnx import TensorProto, helper, numpy_helper

from edgelstm import reference
from edgelstm.graph import Graph

Shape = Sequence[int | str]


def make(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    **extra: Any,
) -> onnx.ModelProto:
    """A model. `inputs` gives a shape (float32), or (dtype, shape), by name."""
    ports = [_port(name, given) for name, given in inputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    results = [helper.make_value_info(name, onnx.TypeProto()) for name in outputs]
    graph = helper.make_graph(list(nodes), "test", ports, results, tensors)
    imports = [helper.make_opsetid("", opset), *extra.pop("imports", [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **extra)


def _port(name: str, given: Any) -> onnx.ValueInfoProto:
    dtype, shape = given if given and isinstance(given[0], type) else (np.float32, given)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def imported(model: onnx.ModelProto, folder: Path, **options: Any) -> Graph:
    """The Graph of a model, read from a file in `folder`."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    return read(path, **options)


def runtime_outputs(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    for port in typed.graph.output:
        port.type.Clear()
    inferred = onnx.shape_inference.infer_shapes(typed)
    known = {value.name: value for value in inferred.graph.value_info}
    for port, typed_port in zip(typed.graph.output, inferred.graph.output, strict=True):
        source = typed_port if typed_port.type.HasField("tensor_type") else known.get(port.name)
        if source is not None:
            port.type.CopyFrom(source.type)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(typed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in model.graph.output]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


def assert_agrees(model: onnx.ModelProto, feed: Mapping[str, np.ndarray], folder: Path, atol: float = 2e-5) -> Graph:
    """Check the imported graph against ONNX Runtime; gives the graph."""
    expected = runtime_outputs(model, feed)
    graph = imported(model, folder)
    found = reference.run(graph, feed)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        np.testing.assert_allclose(
            found[name].astype(np.float64), array.astype(np.float64), rtol=1e-4, atol=atol, err_msg=name
        )
    return graph


FLOAT = TensorProto.FLOAT
