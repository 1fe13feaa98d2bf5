"""`python -m edgelstm_converters.support` prints docs/support.md: what is supported, from the declarations themselves."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from edgelstm_converters.keras import registry as layers
from edgelstm_converters.onnx import registry as nodes
from edgelstm_converters.onnx.model import OPSETS

from edgelstm import ops
from edgelstm.ops.op import REQUIRED, Attr, Case, Fact, Op

_HEAD = """# What is supported

Written by `python -m edgelstm_converters.support > docs/support.md` from the declarations in the code; a test holds it current.
Whatever is not listed is refused at import, all of it at once: a layer, node, attribute or value is never ignored.
"""
_OPERATIONS = ("ops.", "tf.")


def document() -> str:
    """The whole page."""
    nodes.load_handlers()
    return "\n".join([_HEAD, _keras(), _onnx(), _ops()])


def _keras() -> str:
    """Layers that share a handler stand in one row; operation layers are named only."""
    found: dict[Any, list[str]] = {}
    operations = []
    for kind in layers.kinds():
        entry = layers.find(kind)
        if kind.startswith(_OPERATIONS):
            operations.append(kind)
        elif not entry.custom:
            key = (entry.honours, repr(entry.fixed), entry.keeps_mask, entry.arguments, entry.handler)
            found.setdefault(key, []).append(kind)
    rows = []
    for kinds in sorted(found.values()):
        entry = layers.find(kinds[0])
        fixed = "; ".join(f"{key}: {_values(values)}" for key, values in entry.fixed.items())
        keeps, computes = "yes" if entry.keeps_mask else "", _first_line(entry.handler)
        given = ", ".join(sorted({*entry.arguments} - {*layers.Entry.arguments}))
        rows.append([", ".join(kinds), ", ".join(sorted(entry.honours)), fixed, given, keeps, computes])
    return "\n".join([
        "## Keras layers\n",
        "Files of Keras 1.2, 2 and 3. Arguments that cannot change the result of inference are accepted everywhere, as are the",
        "activations listed in `converters/keras/activations.py`, by name or as an activation layer of Keras. A call may give",
        "a `mask` where a layer takes one. `constants` reach custom cells only, which are refused; no cell of Keras has any.\n",
        _table(["layer", "arguments", "only these values", "call arguments", "passes a mask on", "computes"], rows),
        f"\nOperation layers of functional models: {', '.join(f'`{name}`' for name in operations)}.\n",
    ])  # fmt: skip


def _onnx() -> str:
    rows = []
    for (domain, op_type), entries in nodes.entries().items():
        ends = [later.since - 1 for later in entries[1:]] + [OPSETS[1]]
        for entry, end in zip(entries, ends, strict=True):
            opsets = opset_range(domain, op_type, entry.since, end)
            if opsets:
                name = f"{domain}.{op_type}" if domain else op_type
                attributes = ", ".join(schema_attributes(op_type, *opsets))
                rows.append([name, f"{opsets[0]} to {opsets[-1]}" if not domain else "1", attributes, entry.limits])
    return "\n".join([
        "## ONNX nodes\n",
        f"Opsets {OPSETS[0]} to {OPSETS[1]}, local functions, external data in the model's folder.",
        "float16, bfloat16 and double become float32.\n",
        _table(["node", "opsets", "attributes", "limits"], rows),
        "",
    ])  # fmt: skip


def opset_range(domain: str, op_type: str, first: int, last: int) -> tuple[int, int] | None:
    """The opsets from `first` to `last` that are supported and know the node type; None when there are none."""
    if domain:
        return OPSETS
    known = [schema for schema in _schemas(op_type) if not schema.deprecated]
    ended = [schema.since_version - 1 for schema in _schemas(op_type) if schema.deprecated]
    first, last = max(first, OPSETS[0], known[0].since_version), min([last, *ended])
    return (first, last) if first <= last else None


def schema_attributes(op_type: str, first: int, last: int) -> list[str]:
    """The attributes that the specification gives a node type in a range of opsets; those of LSTM for its quantized twin."""
    schemas = _schemas({"DynamicQuantizeLSTM": "LSTM"}.get(op_type, op_type))
    ends = [later.since_version - 1 for later in schemas[1:]] + [last]
    effective = [schema for schema, end in zip(schemas, ends, strict=True) if schema.since_version <= last and end >= first]
    return sorted({name for schema in effective for name in schema.attributes})


def _schemas(op_type: str) -> list[Any]:
    """Every version of a node type's specification, oldest first."""
    from onnx import defs

    found = [schema for schema in defs.get_all_schemas_with_history() if not schema.domain and schema.name == op_type]
    return sorted(found, key=lambda schema: schema.since_version)


def _ops() -> str:
    rows = []
    for op in ops.all_ops().values():
        attrs = ", ".join(f"{name} {_default(attr)}" for name, attr in op.attrs.items())
        values = f"{', '.join(op.inputs)} -> {', '.join(op.outputs)}"
        rows.append([op.name, values, attrs, ", ".join(_dtypes(op)), _streams(op), _kernel(op)])
    return "\n".join([
        "## Ops\n",
        "What models are made of. `?` marks an optional value, `*` any number of them. Streaming: *always* works step",
        "by step, *with state* carries something from step to step, *other axes* works as long as it combines no time steps.\n",
        _table(["op", "inputs -> outputs", "attributes", "dtypes", "streams", "native kernel"], rows),
        "",
    ])  # fmt: skip


def _dtypes(op: Op) -> list[str]:
    """The dtypes of the first input over the op's test cases."""
    found = {str(array.dtype) for case in op.cases() for array in case.inputs[:1] if array is not None}
    return sorted(found, key=lambda name: (name != "float32", name))


def _streams(op: Op) -> str:
    if type(op).slots is not Op.slots:
        return "with state"
    case = next(iter(op.cases()), None)
    if case is not None and type(op).stream is Op.stream and not list(op.mixes(_complete(op, case), _facts(op, case))):
        return "always"
    return "other axes"


def _kernel(op: Op) -> str:
    return "yes" if type(op).lower is not Op.lower else "expanded before it runs"


def _complete(op: Op, case: Case) -> dict[str, Any]:
    return {name: case.attrs.get(name, attr.default) for name, attr in op.attrs.items()}


def _facts(op: Op, case: Case) -> list[Fact | None]:
    facts = [None if array is None else Fact(array.shape, str(array.dtype), array) for array in case.inputs]
    return facts + [None] * (len([name for name in op.inputs if not name.endswith("*")]) - len(facts))


def _default(attr: Attr) -> str:
    return "(required)" if attr.default is REQUIRED else f"= {_value(attr.default)}"


def _values(values: Iterable[Any]) -> str:
    return ", ".join(_value(value) for value in values)


def _value(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else f"`{value!r}`"


def _first_line(handler: Any) -> str:
    return (handler.__doc__ or "").partition("\n")[0]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {line} |" for line in lines)])


if __name__ == "__main__":
    sys.stdout.write(document())
