"""Which values of a plan need no memory, because whoever reads them computes them: decided before memory is given to buffers.

A value is hidden where it is read element by element, or row by row, as a product reads what was gathered or copied. Its call
then is a part of those that read it, later than it stands: what it reads itself has to stay as it is until then.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm import kernels
from edgelstm.cuda.decode import DTYPES
from edgelstm.cuda.fused import elements
from edgelstm.cuda.fused.elements import COPY, FLOATS, FORMULA, GATHER, PRODUCT, Place
from edgelstm.cuda.fused.through import Calls, memory, write_through
from edgelstm.program.operands import Operand, Space

MOST = 16  # calls in one launch, each counted as often as it is written out
VALUE = 40  # bits of an address within a hidden value; those above number it
READ = ("x", "a", "b", "p", "mask", "indices", "lengths")  # parameters that no kernel writes
CHEAP = re.compile(r"cast_.*|clamp_.*|.*_(i64|i32|u8)")  # formulas that may be computed more than once

Readers = Sequence[tuple[int, str]]  # calls, and the parameters by which they read a value
Path = tuple[Place, ...]  # where one copy after the other takes all elements


def hide(calls: Calls) -> None:
    """Take the memory from the values that can do without, and leave out copies of what can be written where they take it."""
    write_through(calls)
    plan = _Plan(calls)
    for number in reversed(range(len(calls))):
        plan.decide(number)


class _Plan:
    """Decides call by call, the last first, so that it is known of which launches the readers of a value are parts."""

    def __init__(self, calls: Calls) -> None:
        self._names = [name for name, _ in calls]
        self._args = [dict(zip([param for param, _ in kernels.get(name).params], params, strict=True))
                      for name, params in calls]
        self._users: dict[Hashable, list[tuple[int, str]]] = defaultdict(list)
        for number, args in enumerate(self._args):
            for param, operand in _operands(args):
                self._users[memory(operand.buffer)].append((number, param))
        self._within: dict[int, dict[int, int]] = {}  # of which launches a call is a part, and how often of each
        self._path: dict[int, Path | None] = {}  # from a call to its launch, where each element has one place there
        self._elements: dict[int, int] = {}  # that a call computes, some of them again where it is a part of its launch
        self._calls: dict[int, int] = defaultdict(int)  # in a launch
        self._products: set[int] = set()  # launches that a product makes
        self._rows: dict[int, set[int]] = defaultdict(set)  # copies that products read, and how long their rows are

    def decide(self, number: int) -> None:
        """Hide what the call computes, or let it be a launch."""
        readers = self._readers(number)
        launches, path = self._launches(readers), self._path_of(number, readers)
        hidden = bool(readers) and self._may(number, readers, launches, path)
        if not hidden:
            launches, path = {number: 1}, ()
        self._within[number], self._path[number] = launches, path
        if self._kind(number) is not None:
            again = [self._elements.get(reader, 0) for reader, _ in readers]
            self._elements[number] = max(again) if hidden else self._count(number)
        for launch, times in launches.items():
            self._calls[launch] += times
        if self._kind(number) == PRODUCT:
            self._products |= launches.keys()
        if hidden:
            self._take_memory(number, max(launches))
            if self._kind(number) == COPY:
                self._rows[number] |= {self._args[reader]["n_in"] for reader, _ in readers if self._names[reader] in FLOATS}

    def _kind(self, number: int) -> str | None:
        return elements.kind(self._names[number])

    def _count(self, number: int) -> int:
        return elements.count(self._names[number], self._args[number])

    def _take_memory(self, number: int, last: int) -> None:
        buffer = self._args[number]["y"].buffer
        buffer.space, buffer.offset = Space.NOWHERE, number << VALUE
        for _, operand in _operands(self._args[number]):
            operand.buffer.use(last)

    def _readers(self, number: int) -> Readers:
        """Who reads what a call computes; nobody where it has to be written."""
        if self._kind(number) is None:
            return ()
        args, name = self._args[number], self._names[number]
        y, octets = args["y"], np.dtype(DTYPES[elements.arrays(name)["y"]]).itemsize
        whole = y.start == 0 and y.nbytes == y.buffer.nbytes == self._count(number) * octets
        if y.buffer.space is not None or not whole or not elements.written(name, args).dense:
            return ()
        readers = [user for user in self._users[memory(y.buffer)] if user != (number, "y")]
        return readers if all(user > number and self._takes(user, param, number) for user, param in readers) else ()

    def _takes(self, reader: int, param: str, number: int) -> bool:
        """Whether a call can compute what it reads."""
        name, args, kind = self._names[reader], self._args[reader], self._kind(reader)
        if param == "y" or elements.arrays(name)[param] != elements.arrays(self._names[number])["y"]:
            return False
        if kind in (PRODUCT, None):
            return param == "x" and name in FLOATS and args["x"].start == 0 and self._gives_rows(number, args)
        if kind == GATHER:
            return param == "indices" and elements.of_rows(args)
        return all(self._gives_rows_of(number, args, n) for n in self._rows[reader])

    def _gives_rows(self, number: int, product: Mapping[str, Any]) -> bool:
        """Whether a product can read the rows of a table, or of what was copied, where they lie."""
        args, n = self._args[number], product["n_in"]
        if product.get("x_stride", n) != n or self._count(number) != product.get("rows", 1) * n:
            return False
        if self._kind(number) == GATHER:
            return elements.of_rows(args) and elements.width(args) == n
        return self._kind(number) == COPY and elements.copied_rows(args, n) is not None

    def _gives_rows_of(self, number: int, copy: Mapping[str, Any], n: int) -> bool:
        """Whether a copy that a product reads in rows of n is one of whole rows of a table."""
        args, steps = self._args[number], (copy["x_start"], *elements.copied_rows(copy, n)[1:])
        of_table = self._kind(number) == GATHER and elements.width(args) == n
        return of_table and copy["x"].start == 0 and not any(step % n for step in steps)

    def _launches(self, readers: Readers) -> dict[int, int]:
        found: dict[int, int] = defaultdict(int)
        for reader, _ in readers:
            for launch, times in self._within[reader].items():
                found[launch] += times
        return dict(found)

    def _path_of(self, number: int, readers: Readers) -> Path | None:
        paths = {self._step(number, reader, param) for reader, param in readers}
        return paths.pop() if len(paths) == 1 else None

    def _step(self, number: int, reader: int, param: str) -> Path | None:
        """The path from a call by way of one that reads all its elements once."""
        name, args, path = self._names[reader], self._args[reader], self._path[reader]
        if path is None or self._kind(reader) not in (FORMULA, COPY) or self._count(reader) != self._count(number):
            return None
        if args[param].start == 0 and elements.read(name, args, param).dense:
            return path
        taken = elements.taken(args) if self._kind(reader) == COPY and args["x"].start == 0 else None
        return None if taken is None else (taken, *path)

    def _may(self, number: int, readers: Readers, launches: Mapping[int, int], path: Path | None) -> bool:
        kind, cheap = self._kind(number), CHEAP.fullmatch(self._names[number])
        if any(self._calls[launch] + times > MOST for launch, times in launches.items()):
            return False
        if kind == GATHER and not elements.of_rows(self._args[number]):
            return False
        if kind == PRODUCT and (path is None or len(launches) > 1 or self._products & launches.keys()):
            return False
        if kind == FORMULA and not cheap and not (len(launches) == 1 and self._computed_once(number, readers)):
            return False
        return self._stays(number, launches)

    def _computed_once(self, number: int, readers: Readers) -> bool:
        """Whether nobody computes more elements than there are."""
        most = self._count(number)
        return all(self._kind(reader) in (FORMULA, COPY) and self._elements[reader] <= most for reader, _ in readers)

    def _stays(self, number: int, launches: Mapping[int, int]) -> bool:
        """Whether nobody writes what a call reads before its launches are done, nor do they themselves."""
        read = {memory(operand.buffer) for param, operand in _operands(self._args[number]) if param != "y"}
        last = max(launches)
        if any(number < user < last and self._writes(user, param) for each in read for user, param in self._users[each]):
            return False
        written = {memory(operand.buffer) for launch in launches for param, operand in _operands(self._args[launch])
                   if self._writes(launch, param)}
        return not written & read

    def _writes(self, user: int, param: str) -> bool:
        return param == "y" or (self._kind(user) is None and param not in READ)


def _operands(args: Mapping[str, Any]) -> list[tuple[str, Operand]]:
    return [(param, value) for param, value in args.items() if isinstance(value, Operand)]
