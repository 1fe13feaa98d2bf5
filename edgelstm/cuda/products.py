"""gemm and conv: rows times panels, in tiles that a block of threads keeps in shared memory.

A convolution is the same product with rows that overlap: element k of row (b, t) is that of tap k // n_in. Panels are read as
they are, [block][taps * n_in][width], width being vectors * LANES; in bfloat16 each word holds two inputs of a tap.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, SIMULATED, cuda, types
from edgelstm.cuda.launching import Args, Launch, Twin, jit, launch
from edgelstm.cuda.scalars import device


@dataclass(frozen=True)
class Tile:
    """A block computes `rows` by `columns`, `depth` inputs at a time; a thread `down` by `across` of them."""

    rows: int
    columns: int
    depth: int
    down: int
    across: int

    @property
    def threads(self) -> int:
        return self.rows // self.down * (self.columns // self.across)


TALL = Tile(4, 4, 4, 2, 2) if SIMULATED else Tile(64, 64, 16, 4, 4)
FLAT = Tile(2, 2, 4, 1, 1) if SIMULATED else Tile(8, 32, 32, 1, 1)  # for few rows


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


@cache
def kernel(form: str, tile: Tile) -> Any:
    """y = bias + x @ W by tiles; see _load_x for sizes and place."""
    rows, columns, depth, down, across = tile.rows, tile.columns, tile.depth, tile.down, tile.across
    threads, wide = tile.threads, tile.columns // tile.across
    f32, count = types.float32, down * across
    load_x, load_w = _load_x(tile), _load_w(form, tile)
    multiply, finish = _multiply(tile), _finish(tile)

    def product(x, w, bias, y, sizes, place, width):
        thread = cuda.threadIdx.x
        first_row, first_column = cuda.blockIdx.x * rows, cuda.blockIdx.y * columns
        x_tile = cuda.shared.array((depth, rows), f32)
        w_tile = cuda.shared.array((depth, columns), f32)
        sums = cuda.local.array(count, f32)
        for e in range(count):
            sums[e] = 0.0
        inner = sizes[2] * sizes[3]
        for start in range(0, inner, depth):
            for e in range(thread, depth * rows, threads):
                load_x(x, x_tile, e, first_row, start, sizes, place)
            for e in range(thread, depth * columns, threads):
                load_w(w, w_tile, e, first_column, start, sizes, width)
            cuda.syncthreads()
            multiply(sums, x_tile, w_tile, thread // wide, thread % wide)
            cuda.syncthreads()
        finish(sums, bias, y, first_row + thread // wide, first_column + thread % wide, sizes, place)

    return jit(product)


def _load_x(tile: Tile) -> Any:
    """Element e of the tile of x. sizes: rows, count, taps, n_in, n_out; place: x_start, x_batch, x_row, x_tap, y_start,
    y_row.
    """
    depth = tile.depth

    def load(x, to, e, first_row, start, sizes, place):
        k, m = e % depth, e // depth
        row, inner = first_row + m, start + k
        if row < sizes[0] and inner < sizes[2] * sizes[3]:
            b, tap = row // sizes[1], inner // sizes[3]
            at = place[0] + b * place[1] + (row - b * sizes[1]) * place[2] + tap * place[3] + inner - tap * sizes[3]
            to[k, m] = x[at]
        else:
            to[k, m] = 0.0

    return device(load)


def _load_w(form: str, tile: Tile) -> Any:
    columns, value, stored = tile.columns, weight(form), panel_rows(form)

    def load(w, to, e, first_column, start, sizes, width):
        k, j = e // columns, e % columns
        column, inner = first_column + j, start + k
        if column < sizes[4] and inner < sizes[2] * sizes[3]:
            block = column // width
            at = block * sizes[2] * stored(sizes[3]) * width + column - block * width
            to[k, j] = value(w, at, width, inner, sizes[3])
        else:
            to[k, j] = 0.0

    return device(load)


def _multiply(tile: Tile) -> Any:
    """Adds the product of the tiles to a thread's sums; its rows and columns lie apart, so that neighbours read neighbours."""
    depth, down, across = tile.depth, tile.down, tile.across
    high, wide = tile.rows // tile.down, tile.columns // tile.across

    def multiply(sums, x, w, row, column):
        for k in range(depth):
            for m in range(down):
                value = x[k, row + m * high]
                for j in range(across):
                    sums[m * across + j] += value * w[k, column + j * wide]

    return device(multiply)


def _finish(tile: Tile) -> Any:
    down, across = tile.down, tile.across
    high, wide = tile.rows // tile.down, tile.columns // tile.across

    def finish(sums, bias, y, first_row, first_column, sizes, place):
        for m in range(down):
            row = first_row + m * high
            for j in range(across):
                column = first_column + j * wide
                if row < sizes[0] and column < sizes[4]:
                    start = sums[m * across + j]
                    if bias.shape[0] > 0:
                        start += bias[column]
                    y[place[4] + row * place[5] + column] = start

    return device(finish)


def _launches(form: str, vectors: int, args: Args, sizes: tuple[int, ...], place: tuple[int, ...]) -> list[Launch]:
    rows, n_out = sizes[0], sizes[4]
    if rows == 0 or n_out == 0:
        return []
    tile = FLAT if rows <= FLAT.rows * 2 else TALL
    blocks = (-(-rows // tile.rows), -(-n_out // tile.columns))
    return [launch(kernel(form, tile), blocks, tile.threads, args["x"], args["w"], args["bias"], args["y"], sizes, place,
                   vectors * LANES)]


def gemm(form: str, vectors: int) -> Twin:
    """The twin of gemm1, gemm3 and gemm4."""
    def bind(args: Args) -> list[Launch]:
        sizes = args["rows"], max(1, args["rows"]), 1, args["n_in"], args["n_out"]
        return _launches(form, vectors, args, sizes, (0, 0, args["x_stride"], 0, 0, args["y_stride"]))

    return Twin(bind)


def conv(form: str, vectors: int) -> Twin:
    """The twin of conv1, conv3 and conv4."""
    def bind(args: Args) -> list[Launch]:
        sizes = args["batch"] * args["count"], max(1, args["count"]), args["taps"], args["n_in"], args["n_out"]
        place = tuple(args[name] for name in ("x_start", "x_batch", "x_row", "x_tap", "y_start", "y_row"))
        return _launches(form, vectors, args, sizes, place)

    return Twin(bind)
