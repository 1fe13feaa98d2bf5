"""lookup_integer: any function of one int8 number, as a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.op import Case, Fact, Op
from edgelstm.ops.pointwise import check_dtype, elements
from edgelstm.ops.stored import known


class LookupInteger(Op):
    """y = table[x + 128], element by element: x int8, table (256,) int8."""

    name = "lookup_integer"
    narrow = ("*",)
    inputs = ("x", "table")
    parameters = ("table",)

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        x, table = ins
        check_dtype("x", x.dtype, ("int8",))
        if (table.shape, table.dtype) != ((256,), "int8"):
            raise ShapeError(f"its table is {table.dtype}{list(table.shape)}, expected int8[256]")
        return [Fact(x.shape, "int8")]

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        x, table = ins
        return [table[x.astype(np.int64) + 128]]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return ()

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        x, table = ins
        array = known(self.name, "table", table)
        low.call("integer_lookup", x=x, table=low.constant("table", lambda: array), y=outs[0], n=elements(x.shape))

    def cases(self) -> Iterable[Case]:
        table = np.random.default_rng(11).integers(-127, 128, 256).astype(np.int8)
        x = np.arange(-128, 128).astype(np.int8)
        return [Case("all", [x.reshape(4, 64), table], {}, 0, 0), Case("none", [x[:0], table], {}, 0, 0)]


OPS = (LookupInteger(),)
