"""A Program's words as calls: kernel names with numbers, and with pointers that say where in which space they point."""

import bisect
import struct
from dataclasses import dataclass
from typing import Any

from edgelstm import kernels
from edgelstm.memory import address
from edgelstm.program.operands import Space
from edgelstm.program.plan import Program

DTYPES = {"f32*": "float32", "i8*": "int8", "i16*": "int16", "i32*": "int32", "i64*": "int64", "u8*": "uint8", "u16*": "uint16"}


@dataclass(frozen=True)
class Pointer:
    """`offset` bytes into the memory of a space; for constants, into that of number `constant`."""

    space: int
    offset: int
    dtype: str
    constant: int = -1


@dataclass(frozen=True)
class Call:
    """One kernel call; an argument is an int, a float, a Pointer, or None for a null pointer."""

    kernel: str
    args: dict[str, Any]


class _Constants:
    """Finds the constant that holds an address."""

    def __init__(self, program: Program) -> None:
        self._order = sorted(range(len(program.constants)), key=lambda k: address(program.constants[k]))
        self._arrays = program.constants
        self._starts = [address(program.constants[k]) for k in self._order]

    def find(self, at: int) -> tuple[int, int]:
        """Its number and the byte in it. An empty constant may share its address with the next."""
        k = self._order[bisect.bisect_right(self._starts, at) - 1]
        return k, at - address(self._arrays[k])


def calls(program: Program) -> list[Call]:
    """All calls in order."""
    constants, found = _Constants(program), []
    for number, name in enumerate(program.kernels):
        start = int(program.words[2 + 2 * number]) // 8
        params = kernels.get(name).params
        args = {param: _argument(program, constants, start + k, kind) for k, (param, kind) in enumerate(params)}
        found.append(Call(name, args))
    return found


def _argument(program: Program, constants: _Constants, at: int, kind: str) -> Any:
    word, space = int(program.words[at]), int(program.spaces[at])
    if kind == "f32":
        return struct.unpack("<f", struct.pack("<q", word)[:4])[0]
    if kind == "int":
        return word
    if space != Space.ABSOLUTE:
        return Pointer(space, word, DTYPES[kind])
    if word == 0:
        return None
    constant, offset = constants.find(word)
    return Pointer(space, offset, DTYPES[kind], constant)


def null_dtypes(call: Call) -> dict[str, str]:
    """The dtypes of the null pointers of a call."""
    if all(value is not None for value in call.args.values()):
        return {}
    return {name: DTYPES[kind] for name, kind in kernels.get(call.kernel).params if kind in DTYPES and call.args[name] is None}
