"""Calls that are one launch, so that what passes between them touches no memory: those of a plan whose values were hidden
(cuda/hiding.py) become expressions of the calls that read them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.cuda.decode import Call, Pointer
from edgelstm.cuda.fused import elements
from edgelstm.cuda.fused.elements import COPY, FLOATS, FORMULA, GATHER, PRODUCT, Place
from edgelstm.cuda.fused.expressions import KERNEL, Apply, Box, Expression, Load, Moved, Result, Row, Stored
from edgelstm.cuda.fused.hiding import VALUE
from edgelstm.program.operands import Space


def fused(calls: Sequence[Call]) -> list[Call]:
    """The launches of the calls. args["stored"] says what elements are stored, or what a product makes of its results,
    args["table"] of which table its rows are; args["given0"] and so on is what they need.
    """
    hidden, found = {}, []
    for call in calls:
        y = call.args.get("y")
        if isinstance(y, Pointer) and y.space == Space.NOWHERE:
            hidden[y.offset >> VALUE] = call
        else:
            found.append(_Launch(hidden).of(call))
    return found


class _Launch:
    """One launch, and the arrays and numbers that it has met."""

    def __init__(self, hidden: Mapping[int, Call]) -> None:
        self._hidden = hidden
        self._given: list[Any] = []
        self._loads: dict[tuple[Pointer, Place], Load] = {}
        self._path: list[Call] = []  # copies between the call that is looked at and the launch
        self._product: Call | None = None
        self._moved: tuple[Box, ...] = ()

    def of(self, call: Call) -> Call:
        """The launch that computes what a call writes."""
        kind = elements.kind(call.kernel)
        if kind == PRODUCT or call.kernel in FLOATS:
            return self._with_given(self._with_rows(call))
        if kind not in (FORMULA, COPY) and not (kind == GATHER and elements.of_rows(call.args)):
            return call
        expression = self._value(call)
        y, target = self._array(call.args["y"], elements.written(call.kernel, call.args))
        stored = {"y": y, "stored": Stored(expression, target, self._moved)}
        if self._product is None:
            return self._with_given(Call(KERNEL, stored | {"count": elements.count(call.kernel, call.args)}))
        product = self._with_rows(self._product)
        return self._with_given(replace(product, args=product.args | stored))

    def _with_given(self, call: Call) -> Call:
        return replace(call, args=call.args | {f"given{k}": value for k, value in enumerate(self._given)})

    def _value(self, call: Call) -> Expression:
        """Element i of what a call computes."""
        kind = elements.kind(call.kernel)
        if kind == COPY:
            return self._read(call, "x")
        if kind == GATHER:
            return self._row(call)
        if kind == PRODUCT:
            self._product = call
            self._moved = tuple(self._box(elements.taken(copy.args)) for copy in reversed(self._path))
            return Result()
        parts = tuple(self._read(call, param) for param in elements.sources(call.kernel))
        numbers = elements.numbers(call.kernel, call.args)
        return Apply(call.kernel, parts, self._given_at(*numbers) if numbers else 0, len(numbers))

    def _read(self, call: Call, param: str) -> Expression:
        """What a call reads for its element i."""
        pointer, place = call.args[param], elements.read(call.kernel, call.args, param)
        if pointer.space != Space.NOWHERE:
            return self._load(pointer, place)
        place = place._replace(start=place.start + (pointer.offset & (1 << VALUE) - 1) // _octets(pointer))
        if place.dense:
            return self._value(self._hidden[pointer.offset >> VALUE])
        self._path.append(call)
        part = self._value(self._hidden[pointer.offset >> VALUE])
        self._path.pop()
        return Moved(self._box(place), part)

    def _load(self, pointer: Pointer, place: Place) -> Load:
        if (pointer, place) not in self._loads:
            array, box = self._array(pointer, place)
            self._loads[pointer, place] = Load(self._given_at(array), box)
        return self._loads[pointer, place]

    def _array(self, pointer: Pointer, place: Place) -> tuple[Pointer, Box | None]:
        """An array that begins where a place does, or in a box, which may go back from there."""
        if place.lengths:
            return pointer, self._box(place)
        return replace(pointer, offset=pointer.offset + place.start * _octets(pointer)), None

    def _box(self, place: Place) -> Box:
        lengths, strides = (place.lengths, place.strides) if place.lengths else ((1,), (1,))
        return Box(self._given_at(place.start, lengths, strides), len(lengths))

    def _row(self, call: Call) -> Row:
        args = call.args
        at = self._given_at(args["x"], args.get("scale", args["x"]), elements.width(args))
        return Row(elements.table_form(call.kernel), at, self._read(call, "indices"))

    def _with_rows(self, product: Call) -> Call:
        """The product, reading its rows where they lie."""
        x, n = product.args["x"], product.args["n_in"]
        if x.space != Space.NOWHERE:
            return product
        source = self._hidden[x.offset >> VALUE]
        if elements.kind(source.kernel) == GATHER:
            return replace(product, args=product.args | {"x": source.args["x"], "table": self._row(source)})
        x, start, (count, far, near) = source.args["x"], source.args["x_start"], elements.copied_rows(source.args, n)
        if x.space != Space.NOWHERE:
            return replace(product, args=product.args | {"x": x, "rows_at": (start, count, far, near)})
        box = self._box(Place(start // n, (product.args.get("rows", 1) // max(1, count), count), (far // n, near // n)))
        gather = self._hidden[x.offset >> VALUE]
        row = self._row(gather)
        return replace(product, args=product.args | {"x": gather.args["x"], "table": replace(row, index=Moved(box, row.index))})

    def _given_at(self, *values: Any) -> int:
        self._given += values
        return len(self._given) - len(values)


def _octets(pointer: Pointer) -> int:
    return np.dtype(pointer.dtype).itemsize
