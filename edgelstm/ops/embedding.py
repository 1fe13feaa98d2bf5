"""The op that looks rows of a table up: embedding."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import ShapeError
from edgelstm.ops.gather import check_indices, check_range, clamped_indices, gather_rows, product
from edgelstm.ops.op import Attr, Case, Fact, Op
from edgelstm.ops.stored import (
    GROUPED,
    PRECISION,
    Stored,
    check_grouped,
    check_stored_table,
    full_shape,
    known,
    stored_table,
)


class Embedding(Op):
    """Rows of a table: indices (...), table (N, D) -> y (..., D). Indices are whole numbers 0 .. N-1, also as float32.

    With `wrap` a negative index counts from the end, as in gather.
    The reference refuses an index out of range; the kernel takes the nearest valid one.
    """

    name = "embedding"
    inputs = ("indices", "table", "table_scale?")
    narrow = ("table", "table_scale")
    attrs = {"precision": PRECISION, "grouped": GROUPED, "wrap": Attr("bool", False, since=1)}

    def weight_shapes(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        return {"table": full_shape(attrs, ins[1], axis=1)}

    def infer(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> list[Fact]:
        indices, table, scale = ins
        check_indices(indices, ("int64", "int32", "float32"))
        if table.rank != 2:
            raise ShapeError(f"its table has the shape {list(table.shape)}; (rows, width) is supported")
        check_range(indices.value, indices.size, self._first(attrs, table.shape[0]), table.shape[0])
        precision, shape = attrs["precision"], full_shape(attrs, table, axis=1)
        check_grouped(attrs, shape[1])
        if precision == "float32" and scale is None:
            return [Fact((*indices.shape, table.shape[1]), table.dtype)]
        check_stored_table("its table", precision, table, scale, shape)
        return [Fact((*indices.shape, shape[1]), "float32")]

    def _first(self, attrs: Mapping[str, Any], rows: int) -> int:
        """The least index."""
        return -rows if attrs["wrap"] else 0

    def table(self, attrs: Mapping[str, Any], ins: Sequence[Any]) -> np.ndarray | Stored:
        """The table (rows, width), or the Stored matrix (width, rows). Raises UnsupportedError when it is computed."""
        _, table, scale = ins
        return stored_table(attrs["precision"], known(self.name, "table", table),
                            None if scale is None else known(self.name, "table_scale", scale), full_shape(attrs, table, axis=1))

    def reference(self, attrs: Mapping[str, Any], ins: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        indices, table, scale = ins
        check_range(indices, indices.size, self._first(attrs, table.shape[0]), table.shape[0])
        found = stored_table(attrs["precision"], table, scale, full_shape(attrs, table, axis=1))
        table = found.widened(np.float64).T if isinstance(found, Stored) else found
        return [table[indices.astype(np.int64)]]

    def mixes(self, attrs: Mapping[str, Any], ins: Sequence[Fact | None]) -> Iterable[tuple[int, int]]:
        return [(1, 0)]

    def lower(self, low: Any, attrs: Mapping[str, Any], ins: Sequence[Any], outs: Sequence[Any]) -> None:
        indices, table, scale = ins
        count, (n, width) = product(indices.shape), full_shape(attrs, table, axis=1)
        if not count * width:
            return
        rows, precision = clamped_indices(low, indices, n, wrap=-self._first(attrs, n)), attrs["precision"]
        if precision == "float32":
            gather_rows(low, table, rows, outs[0], (1, n, count, width))
            return
        scales = {} if scale is None else {"scale": scale}
        form = "int8" if precision == "int8x16" else precision  # a table is multiplied with nothing
        low.call(low.kernel("gather", form), x=table, **scales, indices=rows, y=outs[0], count=count, width=width)

    def cases(self) -> Iterable[Case]:
        rng = np.random.default_rng(5)
        table = rng.standard_normal((65, 33)).astype(np.float32)
        tokens = rng.integers(0, 65, (3, 17))
        yield Case("tokens", [tokens, table])
        yield Case("int32", [tokens.astype(np.int32), table])
        yield Case("float tokens", [tokens.astype(np.float32), table])
        yield Case("from the end", [tokens - 33, table], {"wrap": True})
        yield Case("one", [np.array([[0]]), table[:1, :1]])
        yield Case("empty", [tokens[:0], table])


OPS = (Embedding(),)
