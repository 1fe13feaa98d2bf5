"""Activations that overwrite what they are applied to, where nothing else reads it: a device can make one launch of both."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from edgelstm import kernels
from edgelstm.program.operands import Buffer, Operand

Calls = Sequence[tuple[str, list[Any]]]


def overwrite(calls: Calls) -> None:
    """Let the call before an activation write where the activation does. The buffers are not placed yet."""
    users: dict[int, set[int]] = defaultdict(set)
    for number, (_, params) in enumerate(calls):
        for operand in _operands(params):
            users[id(operand.buffer)].add(number)
    for number in range(1, len(calls)):
        name, params = calls[number]
        if name.removesuffix("_f32") in kernels.ACTIVATIONS:
            x, y = params[:2]
            own = users[id(x.buffer)] == {number - 1, number} and x.buffer.space is None
            if own and _alike(x, y) and not _uses(calls[number - 1][1], y.buffer):
                _replace([*calls[number - 1][1], *params], x.buffer, y.buffer)
                y.buffer.first = min(y.buffer.first, number - 1)
                users[id(y.buffer)].add(number - 1)


def _operands(params: Sequence[Any]) -> list[Operand]:
    return [value for value in params if isinstance(value, Operand)]


def _uses(params: Sequence[Any], buffer: Buffer) -> bool:
    return any(operand.buffer is buffer for operand in _operands(params))


def _alike(x: Operand, y: Operand) -> bool:
    return x.nbytes == y.nbytes == x.buffer.nbytes == y.buffer.nbytes and x.start == y.start == 0


def _replace(params: Sequence[Any], old: Buffer, new: Buffer) -> None:
    for operand in _operands(params):
        if operand.buffer is old:
            operand.buffer = new
