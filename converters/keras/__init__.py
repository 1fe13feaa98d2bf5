"""Keras files to Graphs: .keras archives, whole-model HDF5, and JSON with weights, of Keras 1 to 3, without Keras."""

from contextlib import closing
from pathlib import Path
from typing import Any

from edgelstm_converters.keras import (  # noqa: F401  (each of them registers the handlers of its layers)
    attention,
    conv_lstm,
    convolution,
    core,
    merging,
    more_operations,
    multi_head,
    normalization,
    operations,
    pooling,
    rearranging,
    recurrent,
    reshaping,
    softmax,
    wrappers,
)
from edgelstm_converters.keras.architecture import LayerSpec, parse_model
from edgelstm_converters.keras.call import Context, Tensor
from edgelstm_converters.keras.check import problems_of
from edgelstm_converters.keras.container import Container, open_container
from edgelstm_converters.keras.inputs import InputSpec, Shape, candidates, input_specs
from edgelstm_converters.keras.network import run_model
from edgelstm_converters.keras.registry import register
from edgelstm_converters.keras.weights import assign_weights

from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError, ShapeError, UnsupportedError
from edgelstm.graph import Graph

__all__ = ["read", "register"]


def read(source: Path, weights: Path | None = None) -> Graph:
    """The Graph of a Keras file; `weights` is the weight file of a JSON architecture.

    Raises FormatError for a damaged file and UnsupportedError, with every problem at once, for what is not supported.
    """
    container = open_container(Path(source), None if weights is None else Path(weights))
    with closing(container.weights):
        return _graph(container)


def _graph(container: Container) -> Graph:
    major = _major(container)
    model = _in_file(container, parse_model, container.architecture, major)
    problems = problems_of(model)
    if problems:
        raise UnsupportedError(f"{container.label} cannot be converted", problems)
    assign_weights(model, container)
    specs = _in_file(container, input_specs, model)
    return _build(container, major, model, specs)


def _build(container: Container, major: int, model: LayerSpec, specs: list[InputSpec]) -> Graph:
    """The Graph with as many dynamic axes as the layers allow."""
    failure: ShapeError | None = None
    time_major = any(layer.config.get("time_major") is True for layer in model.walk())
    for shapes in candidates(specs, time_major):
        try:
            return _build_for(container, major, model, specs, shapes)
        except ShapeError as error:
            failure = error
    raise FormatError(f"{container.label}: the layers do not fit together: {failure}")


def _build_for(container: Container, major: int, model: LayerSpec, specs: list[InputSpec], shapes: list[Shape]) -> Graph:
    builder = GraphBuilder(avoid=_numbers(container.architecture))
    context = Context(builder, container.label, major, _minor(container), theano=container.backend == "theano")
    inputs = [
        Tensor(builder.input(spec.name, spec.dtype, shape, **_roles(spec, shape)))
        for spec, shape in zip(specs, shapes, strict=True)
    ]
    outputs = run_model(context, model, inputs)
    if outputs is None:
        raise UnsupportedError(f"{container.label} cannot be converted", context.problems)
    for name, tensor in zip(_output_names(model, len(outputs)), outputs, strict=True):
        builder.output(name, tensor.value)
    provenance = {"framework": "keras", "version": container.version, "format": container.form}
    stateful = any(layer.config.get("stateful") is True for layer in model.walk())
    return builder.build(stateful=stateful, provenance=provenance)


def _roles(spec: InputSpec, shape: Shape) -> dict[str, int | None]:
    batch = shape.index("batch")
    return {"batch": batch, "time": 1 - batch if spec.sequence else None}


def _numbers(part: Any) -> set[int]:
    """Every integer of an architecture."""
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list):
        return set().union(*map(_numbers, part))
    return {part} if type(part) is int else set()


def _output_names(model: LayerSpec, count: int) -> list[str]:
    """Names of the output layers; the second output of one layer gets the ending _1, and so on."""
    assert model.model is not None
    plain = [name for name, _ in model.model.outputs] or [model.model.layers[-1].name] * count
    names: list[str] = []
    for name in plain:
        unique, number = name, 1
        while unique in names:
            unique, number = f"{name}_{number}", number + 1
        names.append(unique)
    return names


def _major(container: Container) -> int:
    """The major version of the Keras that wrote a file, by its own word or else by its dialect."""
    head = container.version.partition(".")[0]
    if head.isdecimal() and len(head) < 5:
        return int(head)
    text = str(container.architecture)
    if "'output_dim'" in text and "'units'" not in text and "'class_name': 'Embedding'" not in text:
        return 1
    return 3 if "'batch_shape'" in text or "'__keras_tensor__'" in text else 2


def _minor(container: Container) -> int:
    minor = container.version.split(".")[1:2]
    return int(minor[0]) if minor and minor[0].isdecimal() and len(minor[0]) < 5 else 0


def _in_file(container: Container, function: Any, *args: Any) -> Any:
    """The result of a function whose FormatErrors do not know the name of the file yet."""
    try:
        return function(*args)
    except FormatError as error:
        raise FormatError(f"{container.label}: {error}") from None
