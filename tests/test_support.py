"""docs/support.md is current, and what it says of ONNX attributes is true of the handlers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import onnx
import pytest
from edgelstm_converters import support
from edgelstm_converters.onnx import registry
from edgelstm_converters.onnx.model import OPSETS

PAGE = Path(__file__).parents[1] / "docs" / "support.md"


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < OPSETS[1], reason="this onnx package is older than the newest opset")
def test_the_page_is_current():
    assert PAGE.read_text() == support.document(), "run `python -m edgelstm_converters.support > docs/support.md`"


def test_every_attribute_is_read_or_its_refusal_is_stated():
    registry.load_handlers()
    unread = []
    for (domain, op_type), entries in registry.entries().items():
        ends = [later.since - 1 for later in entries[1:]] + [OPSETS[1]]
        for entry, end in zip(entries, ends, strict=True):
            opsets = support.opset_range(domain, op_type, entry.since, end)
            names = set(support.schema_attributes(op_type, *opsets)) if opsets else set()
            looked_at = set(strings_of(entry.handler, set()))
            unread += [(op_type, name) for name in names - looked_at if name not in entry.limits]
    assert not unread


def strings_of(handler: Callable[..., Any], seen: set[Any]) -> Iterator[str]:
    """Every string that a handler, or a function of the importer that it calls, holds as a constant."""
    if handler in seen:
        return
    seen.add(handler)
    waiting: list[Any] = [handler.__code__]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, tuple):
            waiting += item
        elif isinstance(item, CodeType):
            waiting += item.co_consts
    for name in handler.__code__.co_names:
        value = handler.__globals__.get(name)
        if isinstance(value, FunctionType) and value.__module__.startswith("edgelstm_converters.onnx"):
            yield from strings_of(value, seen)
        elif isinstance(value, dict):
            yield from (key for key in value if isinstance(key, str))
