"""gemm and conv: rows times panels in tiles, and the formats whose weights multiply floats.

A convolution is the same product with rows that overlap: element k of row (b, t) is that of tap k // n_in. Panels are read as
they are, [block][taps * n_in][width], width being vectors * LANES; in bfloat16 each word holds two inputs of a tap.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, types
from edgelstm.cuda.fused import gathers
from edgelstm.cuda.fused.expressions import Row, Stored, function, given, storing
from edgelstm.cuda.launching import Args, Launch, Twin, launch
from edgelstm.cuda.scalars import device
from edgelstm.cuda.tiled import integer_products, tiles
from edgelstm.cuda.tiled.rounding import ROW_WORDS
from edgelstm.cuda.tiled.tiles import FLAT, TALL, UNROLLED, Form, Tile
from edgelstm.errors import UnsupportedError


@cache
def weight(form: str) -> Any:
    """`weight(w, at, width, k, n_in)`: input k of a column of a panel with n_in inputs a tap, the column beginning at w[at].

    Unsigned, because an index that may be negative costs a test.
    """
    if form == "float32":
        return device(lambda w, at, width, k, n_in: w[np.uint64(at + k * width)])
    number = scalars.make().number

    def widened(w, at, width, k, n_in):
        tap = k // n_in
        k -= tap * n_in
        word = w[np.uint64(at + (tap * ((n_in + 1) // 2) + k // 2) * width)]
        return number(word & -65536 if k % 2 == 1 or k + 1 == n_in else word << 16)

    return device(widened)


@cache
def panel_rows(form: str) -> Any:
    """`panel_rows(n_in)`: the rows of words that a tap with n_in inputs takes."""
    return device((lambda n_in: n_in) if form == "float32" else (lambda n_in: (n_in + 1) // 2))


def _floats(form: str, tile: Tile) -> Form:
    """Weights that multiply floats: a word is an input."""
    value, stored, f32 = weight(form), panel_rows(form), types.float32

    def column_at(column, sizes, width):
        block = column // width
        return block * sizes[2] * stored(sizes[3]) * width + column - block * width

    return Form(
        f32, f32, tile.depth, tile.depth, device(lambda sizes: sizes[2] * sizes[3]), device(_row_at), device(column_at),
        device(_x_word), device(lambda w, at, k, column, sizes, width: value(w, at, width, k, sizes[3])), _multiply(tile),
        device(lambda sums, e, start, x, at, scale, sizes: sums[e] + start))


def _row_at(row: Any, sizes: Any, place: Any) -> Any:
    b = row // sizes[1]
    return place[0] + b * place[1] + (row - b * sizes[1]) * place[2]


def _x_word(x: Any, at: Any, k: Any, sizes: Any, place: Any) -> Any:
    if sizes[2] > 1:
        tap = k // sizes[3]
        k += tap * (place[3] - sizes[3])
    return x[np.uint64(at + k)]


def _multiply(tile: Tile) -> Any:
    depth, down, across, high, wide = tile.depth, tile.down, tile.across, tile.high, tile.wide
    stride, columns = tile.stride, tile.columns

    def multiply(sums, x, w, row, column):
        for first in range(0, depth, UNROLLED):
            for k in range(UNROLLED):
                for m in range(down):
                    value = x[np.uint64((first + k) * stride + row + m * high)]
                    for j in range(across):
                        sums[m * across + j] += value * w[np.uint64((first + k) * columns + column + j * wide)]

    return device(multiply)


@cache
def kernel(form: str, tile: Tile, table: Row | None = None, stored: Stored | None = None) -> Any:
    """The kernel of a format, see tiles.kernel; it may read rows of a table, and store an expression of each result. What these
    need lies behind the numbers of place.
    """
    made = integer_products.FORMS[form](tile) if form in integer_products.FORMS else _floats(form, tile)
    if table is not None:
        made = _looked_up(made, table)
    if stored is not None:
        store = storing(stored)
        made = replace(made, store=device(lambda y, at, result, place: store(y, at, result, place[6])))
    return tiles.kernel(made, tile)


def _looked_up(form: Form, row: Row) -> Form:
    """The rows of x are rows of a table."""
    index, element, scale = function(row.index), gathers.element(row.form), row.at + 1

    if row.form == "plain":
        return replace(form, row_at=device(lambda number, sizes, place: index(place[6], number, np.float32(0.0)) * sizes[3]))

    def row_at(number, sizes, place):
        return index(place[6], number, np.float32(0.0))

    def x_word(x, found, k, sizes, place):
        return element(x, place[6][scale], found, k, sizes[3])

    return replace(form, row_at=device(row_at), x_word=device(x_word))


def _launches(form: str, vectors: int, args: Args, sizes: tuple[int, ...], place: tuple[int, ...]) -> list[Launch]:
    rows, n_out = sizes[0], sizes[4]
    if rows == 0 or n_out == 0:
        return []
    tile = FLAT if rows <= FLAT.rows * 2 else TALL
    blocks = (-(-rows // tile.rows), -(-n_out // tile.columns))
    table, stored = args.get("table"), args.get("stored")
    place = place if table is stored is None else (*place, given(args))
    chosen = kernel(form, tile, table, stored)
    return [launch(chosen, blocks, tile.threads, args["x"], args["w"], args["bias"], args["y"], sizes, place, vectors * LANES)]


def rows(args: Args) -> Args:
    """What a call is told of the rows that its product reads elsewhere."""
    return {name: value for name, value in args.items() if name in ("table", "rows_at") or name.startswith("given")}


def gemm(form: str, vectors: int) -> Twin:
    """The twin of gemm1, gemm3 and gemm4."""
    def bind(args: Args) -> list[Launch]:
        start, count, far, near = args.get("rows_at", (0, max(1, args["rows"]), 0, args["x_stride"]))
        sizes = args["rows"], count, 1, args["n_in"], args["n_out"]
        return _launches(form, vectors, args, sizes, (start, far, near, 0, 0, args["y_stride"]))

    return Twin(bind)


def conv(form: str, vectors: int) -> Twin:
    """The twin of conv1, conv3 and conv4."""
    def bind(args: Args) -> list[Launch]:
        if form in ROW_WORDS:
            return [each for part in _batches(args) for each in _launches(form, vectors, args, *part)]
        sizes = args["batch"] * args["count"], max(1, args["count"]), args["taps"], args["n_in"], args["n_out"]
        place = tuple(args[name] for name in ("x_start", "x_batch", "x_row", "x_tap", "y_start", "y_row"))
        return _launches(form, vectors, args, sizes, place)

    return Twin(bind)


def _batches(args: Args) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The sizes and places of each batch of prepared rows, which are whole windows, so that there is one batch as a rule."""
    if args["taps"] != 1:
        raise UnsupportedError(f"a convolution of {args['taps']} taps over prepared rows; windows of one tap are supported")
    for b in range(args["batch"]):
        sizes = args["count"], max(1, args["count"]), 1, args["n_in"], args["n_out"]
        start = args["y_start"] + b * args["count"] * args["y_row"]
        yield sizes, (args["x_start"] + b * args["x_batch"], 0, args["x_row"], 0, start, args["y_row"])
