"""Walks an ONNX graph in an order in which it can run, and lets one handler a node write the Graph."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelstm_converters.onnx import registry
from edgelstm_converters.onnx.call import BLOCKED, Blocked, Call, Refused, Scope
from edgelstm_converters.onnx.exporters import exporter_notes
from edgelstm_converters.onnx.model import Model, load
from edgelstm_converters.onnx.order import sequence_lengths, sorted_nodes
from edgelstm_converters.onnx.ports import Ports
from edgelstm_converters.onnx.states import pair_states
from edgelstm_converters.onnx.symbols import Mismatch, with_unified_symbols

from edgelstm.builder import GraphBuilder
from edgelstm.errors import FormatError, ShapeError, UnsupportedError
from edgelstm.graph import Graph

_DEEPEST = 50  # functions that call each other
_LARGEST_EXPANSION = 20_000  # nodes of functions written in place
_LARGEST = 1 << 34  # bytes of one value whose shape is fixed


def read(source: Path, fix: Mapping[str, Any] | None = None, state: Mapping[str, str] | None = None) -> Graph:
    """The Graph of an ONNX file.

    `fix` replaces inputs by constants; `state` gives the (input, output) pairs that a stream carries, where they do not
    follow from the graph. Raises FormatError for a damaged file, UnsupportedError listing everything not implemented.
    """
    registry.load_handlers()
    model = load(source)
    graph = with_unified_symbols(lambda unify, scale: Importer(model, fix or {}, unify, scale).graph())
    return pair_states(graph, state or {})


class Importer:
    """One attempt at writing the Graph of a model.

    `unify` maps symbols of axes onto those they turned out to equal; `scale` is the size of the lengths that stand in for them.
    """

    def __init__(self, model: Model, fix: Mapping[str, Any], unify: Mapping[str, str | int], scale: int):
        self._model = model
        self._builder = GraphBuilder(scale, {d for tensor in model.proto.graph.initializer for d in tensor.dims})
        self._ports = Ports(model, self._builder, fix, unify)
        self._problems: list[str] = []
        self._active: list[tuple[str, str]] = []
        self._parts = sequence_lengths(model)
        self._visited = 0
        self._allowed = len(model.proto.graph.node) + _LARGEST_EXPANSION
        self._branches: list[str] = []

    def graph(self) -> Graph:
        """The whole Graph. Raises UnsupportedError with every problem found, Mismatch where two symbols meet."""
        proto = self._model.proto
        scope = Scope(self._builder)
        self._ports.declare(scope)
        try:
            self._run(proto.graph, scope, self._model.opsets)
        except Mismatch:
            raise
        except FormatError as error:
            raise FormatError(f"{self._model.source}: {error}") from None
        if self._problems:
            raise UnsupportedError(f"{self._model.source} holds what is not supported:", self._problems)
        version = self._model.opsets.get("", 0)
        provenance = {"framework": proto.producer_name or "onnx", "version": proto.producer_version, "opset": version}
        try:
            self._ports.show(scope)
            return self._builder.build(provenance=provenance, notes=exporter_notes(self._model))
        except FormatError as error:
            raise FormatError(f"{self._model.source}: {error}") from None

    def _run(self, graph: Any, scope: Scope, opsets: Mapping[str, int]) -> None:
        for tensor in graph.initializer:
            scope.values.setdefault(tensor.name, self._initializer(tensor))
        for sparse in graph.sparse_initializer:
            self._problems.append(f"the sparse initializer {sparse.values.name!r}; supported: dense ones")
            scope.values[sparse.values.name] = BLOCKED
        self._run_nodes(graph.node, scope, opsets)

    def _initializer(self, tensor: Any) -> Any:
        try:
            return self._model.array(tensor)
        except UnsupportedError as error:
            self._problems.append(str(error))
            return BLOCKED

    def _run_nodes(self, nodes: Sequence[Any], scope: Scope, opsets: Mapping[str, int]) -> None:
        for node in sorted_nodes(nodes, scope):
            outputs = self._outputs(node, scope, opsets)
            for i, name in enumerate(node.output):
                if name in scope.values:
                    raise FormatError(f"two nodes compute the value {name!r}")
                if name:
                    scope.values[name] = BLOCKED if outputs is None else outputs[i] if i < len(outputs) else None

    def _outputs(self, node: Any, scope: Scope, opsets: Mapping[str, int]) -> list[Any] | None:
        """The values of a node's outputs, None when it was refused."""
        name = node.name or node.op_type
        self._visited += 1
        where = f"node {name!r} ({node.op_type})"
        domain = "" if node.domain == "ai.onnx" else node.domain
        function = self._model.functions.get((node.domain, node.op_type))
        if function is not None:
            return self._call_function(function, node, scope)
        handler = registry.find(domain, node.op_type, opsets.get(domain, 1))
        if handler is None:
            self._problems.append(
                f"{where}: the node type {node.op_type} of {domain or 'ai.onnx'} "
                f"(opset {opsets.get(domain, 'not imported')}) is not supported"
            )
            return None
        try:
            attributes = {attribute.name: self._attribute(attribute) for attribute in node.attribute}
        except UnsupportedError as error:
            self._problems.append(f"{where}: {error}")
            return None
        call = Call(
            node,
            name,
            opsets.get(domain, 1),
            scope,
            attributes,
            lambda graph, values, builder: self._inline(graph, values, Scope(builder, scope), opsets),
            self._parts.get(node.output[0]) if node.output else None,
        )
        outputs = self._handled(handler, call, where)
        self._problems += [f"{where}: {problem}" for problem in call.problems]
        return outputs

    def _handled(self, handler: registry.Handler, call: Call, where: str) -> list[Any] | None:
        try:
            result = handler(call)
        except (Refused, Blocked):
            return None
        except Mismatch:
            raise
        except ShapeError as error:
            raise Mismatch(
                f"{self._model.source}: {where}: {error}", self._visited, self._ports.symbols_of(call), self._branches
            ) from None
        except UnsupportedError as error:
            call.complain(str(error))
            return None
        except FormatError as error:
            raise FormatError(f"{where}: {error}") from None
        if call.op_type == "If" and isinstance(call.raw(0), str):
            self._branches.append(call.name)
        for attribute in call.unread:
            call.complain(f"the attribute {attribute!r} is not known")
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        for value in outputs:
            self._check_size(call.builder, value, where)
        return outputs

    def _check_size(self, builder: GraphBuilder, value: Any, where: str) -> None:
        if not isinstance(value, str):
            return
        lengths = [builder.dim(value, axis) for axis in range(builder.rank(value))]
        if None not in lengths and 4 * math.prod(lengths) > _LARGEST:
            raise FormatError(f"{where}: its result has the shape {lengths}, more than {_LARGEST >> 30} GiB")

    def _attribute(self, attribute: Any) -> Any:
        from onnx import AttributeProto, helper

        if attribute.type == AttributeProto.TENSOR:
            return self._model.array(attribute.t)
        try:
            value = helper.get_attribute_value(attribute)
        except ValueError as error:
            raise FormatError(f"attribute {attribute.name!r} is damaged: {error}") from None
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if attribute.type == AttributeProto.GRAPH:
            return value
        if attribute.type == AttributeProto.STRINGS:
            return [text.decode("utf-8", "replace") for text in value]
        return list(value) if isinstance(value, Sequence) else value

    def _inline(self, graph: Any, values: Sequence[Any], inner: Scope, opsets: Mapping[str, int]) -> list[Any]:
        """Write a subgraph in place, its inputs bound to `values`. Gives the values of its outputs."""
        inner.values.update(zip((port.name for port in graph.input), values, strict=True))
        self._run(graph, inner, opsets)
        return [inner.get(port.name) for port in graph.output]

    def _call_function(self, function: Any, node: Any, scope: Scope) -> list[Any] | None:
        """Write one of the model's own functions in place."""
        key = (function.domain, function.name)
        if key in self._active:
            raise FormatError(f"the function {function.domain}.{function.name} calls itself")
        if len(self._active) >= _DEEPEST or self._visited > self._allowed:
            raise FormatError(
                f"its functions call each other more than {_DEEPEST} deep, or have more than {_LARGEST_EXPANSION} nodes "
                "when written out"
            )
        inner = Scope(scope.builder)
        for name, given in zip(function.input, node.input, strict=False):
            try:
                inner.values[name] = scope.get(given) if given else None
            except Blocked:
                inner.values[name] = BLOCKED
        opsets = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in function.opset_import}
        self._active.append(key)
        self._run_nodes(_bound(function, node), inner, self._model.opsets | opsets)
        self._active.pop()
        return [inner.values.get(name, BLOCKED) for name in function.output]


def _bound(function: Any, node: Any) -> list[Any]:
    """Copies of a function's nodes with the attributes of the calling node in place of references."""
    given = {attribute.name: attribute for attribute in (*function.attribute_proto, *node.attribute)}
    unknown = {a.name for a in node.attribute} - set(function.attribute) - {a.name for a in function.attribute_proto}
    if unknown:
        raise FormatError(f"the function {function.name} has no attribute {sorted(unknown)[0]!r}")
    return [_bound_node(inner, given, node.name or function.name) for inner in function.node]


def _bound_node(inner: Any, given: Mapping[str, Any], prefix: str) -> Any:
    copy = type(inner)()
    copy.CopyFrom(inner)
    copy.name = f"{prefix}/{inner.name or inner.op_type}"
    del copy.attribute[:]
    for attribute in inner.attribute:
        if not attribute.ref_attr_name:
            copy.attribute.add().CopyFrom(attribute)
        elif attribute.ref_attr_name in given:
            bound = copy.attribute.add()
            bound.CopyFrom(given[attribute.ref_attr_name])
            bound.name = attribute.name
    return copy
