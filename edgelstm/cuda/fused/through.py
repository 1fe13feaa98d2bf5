"""Recurrent layers that write their outputs where a copy would take them: into a joined value, or in another order of axes."""

from collections import defaultdict
from collections.abc import Hashable
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from edgelstm import kernels
from edgelstm.cuda.fused import elements
from edgelstm.cuda.fused.elements import Place
from edgelstm.program.operands import Buffer, Operand, Space

Calls = list[tuple[str, list[Any]]]


class Target(NamedTuple):
    """Where outputs begin in an operand, and how far from step to step and from row to row."""

    start: int
    y_t: int
    y_b: int


def write_through(calls: Calls) -> None:
    """Leave out the copies that move all outputs of a layer which nobody else reads."""
    args = [dict(zip([param for param, _ in kernels.get(name).params], params, strict=True)) for name, params in calls]
    users: dict[Hashable, list[int]] = defaultdict(list)
    for number, each in enumerate(args):
        for operand in each.values():
            if isinstance(operand, Operand):
                users[memory(operand.buffer)].append(number)
    dropped: set[int] = set()
    for number, each in enumerate(args):
        copy = _copy_of(number, calls, args, users)
        y, target = (None, None) if copy is None else (args[copy]["y"], _target(each, args[copy]))
        if target is None or not all(user in dropped or _apart(calls[user][0], args[user], args[copy])
                                     for user in users[memory(y.buffer)] if number <= user < copy):
            continue
        part = Operand((y.size,), y.dtype, None, y.buffer, start=y.start + 4 * target.start)
        each |= {"y": part, "y_t": target.y_t, "y_b": target.y_b}
        calls[number] = calls[number][0], list(each.values())
        users[memory(y.buffer)].append(number)
        dropped.add(copy)
    if dropped:
        calls[:] = [call for number, call in enumerate(calls) if number not in dropped]
        _renumber(calls)


def memory(buffer: Buffer) -> Hashable:
    """What tells the memory of one buffer from that of others; a state or a port has several."""
    return id(buffer) if buffer.space in (None, Space.NOWHERE) else (buffer.space, buffer.offset)


def _copy_of(number: int, calls: Calls, args: list[dict[str, Any]], users: dict[Hashable, list[int]]) -> int | None:
    """The copy that alone reads the outputs of a layer, and all of them."""
    layer, name = args[number], calls[number][0]
    y = layer.get("y")
    if name.startswith("integer") or not {"y_t", "y_b", "units"} <= layer.keys() or y is None or y.buffer.space is not None:
        return None
    size = layer["steps"] * layer["batch"] * layer["units"]
    readers = users[memory(y.buffer)][1:]
    if len(readers) != 1 or y.start or not 4 * size == y.nbytes == y.buffer.nbytes or size == 0:
        return None
    copy = args[readers[0]]
    whole = calls[readers[0]][0] == "copy4" and copy["x"].buffer is y.buffer and copy["x"].start == 0
    return readers[0] if whole and elements.count("copy4", copy) == size and copy["y"].buffer.space != Space.STATE else None


def _target(layer: dict[str, Any], copy: dict[str, Any]) -> Target | None:
    """Where a copy takes the outputs, if it keeps what one row of one step gives together and all of them evenly apart."""
    taken, written, units = elements.taken(copy), elements.written("copy4", copy), layer["units"]
    if taken is None or not _keeps_rows(copy, units):
        return None
    t, b = np.ogrid[: layer["steps"], : layer["batch"]]
    found = _offset(written, _offset(taken, t * layer["y_t"] + b * layer["y_b"]))
    start, y_t, y_b = int(found[0, 0]), int(found[1 % len(found), 0]), int(found[0, 1 % len(found[0])])
    y_t, y_b = y_t - start, y_b - start
    return Target(start, y_t, y_b) if np.array_equal(found, start + t * y_t + b * y_b) else None


def _keeps_rows(copy: dict[str, Any], units: int) -> bool:
    axes = [tuple(copy[f"{prefix}{axis}"] for prefix in ("n", "xs", "ys")) for axis in range(6)]
    return units == 1 or any(n % units == 0 and x_step == y_step == 1 for n, x_step, y_step in axes)


def _apart(name: str, args: dict[str, Any], copy: dict[str, Any]) -> bool:
    """Whether a call is one that copies rows of other columns to where another copy takes rows."""
    if name != "copy4" or memory(args["x"].buffer) == memory(copy["y"].buffer):
        return False
    rows = [_rows(each) for each in (args, copy)]
    between = gcd(*(step for _, _, steps in rows for step in steps))
    (first, width), (second, other) = sorted((start % between if between else start, width) for start, width, _ in rows)
    return first + width <= second and (not between or second + other <= between)


def _rows(copy: dict[str, Any]) -> tuple[int, int, list[int]]:
    """Where the first row begins that a copy writes, its length, and the strides between rows."""
    axes = [(copy[f"n{axis}"], copy[f"ys{axis}"]) for axis in range(6) if copy[f"n{axis}"] > 1]
    width = next((n for n, step in axes if step == 1), 1)
    return copy["y_start"] + copy["y"].start // 4, width, [step for _, step in axes if step != 1]


def _offset(place: Place, i: np.ndarray) -> np.ndarray:
    """Where elements of a place are."""
    if not place.lengths:
        return i + place.start
    at = np.full(i.shape, place.start)
    for length, stride in zip(place.lengths[::-1], place.strides[::-1], strict=True):
        at, i = at + i % length * stride, i // length
    return at


def _renumber(calls: Calls) -> None:
    """Tell all buffers anew from which call to which they are used."""
    operands = [(number, value) for number, (_, params) in enumerate(calls) for value in params if isinstance(value, Operand)]
    for _, operand in operands:
        operand.buffer.first = operand.buffer.last = -1
    for number, operand in operands:
        operand.buffer.use(number)
