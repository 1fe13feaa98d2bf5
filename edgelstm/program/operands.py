"""Values while a program is planned: an Operand is a view of a Buffer, and a Buffer lies somewhere in a Space."""

from enum import IntEnum

import numpy as np

from edgelstm.record import record


class Space(IntEnum):
    """What an address is relative to; a session adds the base. Inputs and outputs follow, one space each."""

    NOWHERE = -1  # no memory: a value that whoever reads it computes; the address tells which and where in it
    ABSOLUTE = 0
    TABLE = 1
    ARENA = 2
    STATE = 3
    MEMBER = 4  # no memory: the number of the thread that runs the table
    BARRIER = 5
    IDLE = 6
    PORTS = 7


@record(eq=False, frozen=False)
class Buffer:
    """A run of bytes. `space` is None until the arena is planned; `array` keeps constants alive."""

    nbytes: int
    space: int | None = None
    offset: int = 0
    array: np.ndarray | None = None
    first: int = -1
    last: int = -1

    def use(self, call: int) -> None:
        """Note that kernel call number `call` reads or writes the buffer."""
        self.first = call if self.first < 0 else self.first
        self.last = max(self.last, call)


@record(eq=False, frozen=False)
class Operand:
    """A dense, C-ordered value.

    `value` is the array where it is known beforehand; `lasting` says that it is a constant of the graph, the same for all
    shapes. It begins `start` bytes behind the buffer's begin: 0 but for a part of another operand.
    """

    shape: tuple[int, ...]
    dtype: str
    value: np.ndarray | None = None
    buffer: Buffer | None = None
    lasting: bool = False
    start: int = 0

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def rank(self) -> int:
        return len(self.shape)
