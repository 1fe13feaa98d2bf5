"""Products of rows with panels in tiles, whatever the format of the weights: a block of threads walks through the inputs, chunk
by chunk, which it keeps in shared memory, and every thread sums some rows and columns.

Words of x and w are loaded by threads that stay with their rows and their column, so that where those begin is found once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelstm.cuda.driver import SIMULATED, cuda, types
from edgelstm.cuda.launching import jit
from edgelstm.cuda.scalars import device


@dataclass(frozen=True)
class Tile:
    """A block computes `rows` by `columns`, `depth` words of x at a time; a thread `down` by `across` of them."""

    rows: int
    columns: int
    depth: int
    down: int
    across: int

    @property
    def threads(self) -> int:
        return self.rows // self.down * (self.columns // self.across)

    @property
    def stride(self) -> int:
        """From one word of x in shared memory to the next: more than the rows, because threads write many words of a row."""
        return self.rows + 1

    @property
    def high(self) -> int:
        """From one row of a thread to its next: they lie apart, so that neighbouring threads read neighbours."""
        return self.rows // self.down

    @property
    def wide(self) -> int:
        """From one column of a thread to its next."""
        return self.columns // self.across


TALL = Tile(8, 4, 4, 2, 2) if SIMULATED else Tile(64, 64, 16, 4, 4)
UNROLLED = 4  # words of x that are multiplied without counting; divides every depth
FLAT = Tile(4, 2, 4, 1, 1) if SIMULATED else Tile(8, 32, 32, 1, 1)  # for few rows


def _stored(y: Any, at: Any, value: Any, place: Any) -> None:
    y[at] = value


STORE = device(_stored)


@dataclass(frozen=True)
class Form:
    """How the weights of a format are multiplied. Device functions; sizes and place are those of `kernel`, at is where a row
    or a column begins, k a number of words from there.

    `kind`: of the words of a tile; `total`: of the sums; `depth`, `lines`: words of a row, and of a column, in a chunk.
    `words(sizes)`: the words of a row. `row_at(row, sizes, place)`, `column_at(column, sizes, width)`: where they begin.
    `x_word(x, at, k, sizes, place)`, `w_word(w, at, k, column, sizes, width)`: a word, k of w counting lines.
    `multiply(sums, x_tile, w_tile, row, column)`: adds a chunk to a thread's sums, `sums` of each row and column.
    `finished(sums, e, start, x, at, scale, sizes)`: the result of row and column e, `start` being the bias, and `scale` the
    word of the column that `scale_word(w, at, sizes, width)` gives, where there is one. `store(y, at, value, place)`: puts a
    result where it belongs.
    """

    kind: Any
    total: Any
    depth: int
    lines: int
    words: Any
    row_at: Any
    column_at: Any
    x_word: Any
    w_word: Any
    multiply: Any
    finished: Any
    scale_word: Any = None
    sums: int = 1
    store: Any = STORE


def kernel(form: Form, tile: Tile) -> Any:
    """y = bias + x @ W by tiles.

    sizes: rows, count, taps, n_in, n_out; place: x_start, x_batch, x_row, x_tap, y_start, y_row, and what else the form needs.
    """
    rows, columns, depth, count = tile.rows, tile.columns, form.depth, tile.down * tile.across * form.sums
    lines, total, kind, x_size, w_size = form.lines, form.total, form.kind, depth * tile.stride, form.lines * columns
    wide, of_rows, words_of, column_at = tile.wide, _loads(depth * rows, tile.threads), form.words, form.column_at
    multiply, place_rows, load_x, load_w = form.multiply, _place_rows(form, tile), _load_x(form, tile), _load_w(form, tile)
    scale, finish, i64 = _load_scale(form, tile), _finish(form, tile), types.int64

    def product(x, w, bias, y, sizes, place, width):
        thread = cuda.threadIdx.x
        first_row, first_column = cuda.blockIdx.x * rows, cuda.blockIdx.y * columns
        x_tile = cuda.shared.array(x_size, kind)  # a line each: by it the simulator tells them apart
        w_tile = cuda.shared.array(w_size, kind)
        sums, x_at = cuda.local.array(count, total), cuda.local.array(of_rows, i64)
        for e in range(count):
            sums[e] = 0
        place_rows(x_at, first_row + thread // depth, sizes, place)
        column = first_column + thread % columns
        w_at = column_at(column, sizes, width) if column < sizes[4] else -1
        words, line = words_of(sizes), 0
        for start in range(0, words, depth):
            load_x(x, x_tile, x_at, thread, start, words, sizes, place)
            load_w(w, w_tile, w_at, thread, line, words, column, sizes, width)
            cuda.syncthreads()
            multiply(sums, x_tile, w_tile, thread // wide, thread % wide)
            cuda.syncthreads()
            line += lines
        scale(w, w_tile, w_at, thread, sizes, width)
        results = cuda.local.array(count, total)  # sums stay in registers also where the next loop is not unrolled
        for e in range(count):
            results[e] = sums[e]
        finish((results, x, w_tile, bias, y), first_row + thread // wide, first_column, thread % wide, sizes, place)

    return jit(product)


def _loads(words: int, threads: int) -> int:
    """Words of a tile that a thread loads."""
    return -(-words // threads)


def _place_rows(form: Form, tile: Tile) -> Any:
    """Where the rows begin that a thread loads words of, -1 beyond the last."""
    loads, step, row_at = _loads(form.depth * tile.rows, tile.threads), tile.threads // form.depth, form.row_at

    def place_rows(x_at, row, sizes, place):
        for i in range(loads):
            x_at[i] = row_at(row + i * step, sizes, place) if row + i * step < sizes[0] else -1

    return device(place_rows)


def _load_x(form: Form, tile: Tile) -> Any:
    depth, rows, kind, x_word = form.depth, tile.rows, form.kind, form.x_word
    loads, step, stride = _loads(depth * rows, tile.threads), tile.threads // depth, tile.stride

    def load(x, to, x_at, thread, start, words, sizes, place):
        k, m = thread % depth, thread // depth
        for i in range(loads):
            if m + i * step < rows:
                inside = x_at[i] >= 0 and start + k < words
                to[k * stride + m + i * step] = x_word(x, x_at[i], start + k, sizes, place) if inside else kind(0)

    return device(load)


def _load_w(form: Form, tile: Tile) -> Any:
    lines, columns, kind, w_word = form.lines, tile.columns, form.kind, form.w_word
    loads, step = _loads(lines * columns, tile.threads), tile.threads // columns
    all_of_them = _whole_lines(form)

    def load(w, to, w_at, thread, line, words, column, sizes, width):
        k, j = thread // columns, thread % columns
        for i in range(loads):
            if k + i * step < lines:
                inside = w_at >= 0 and (all_of_them or line + k + i * step < words)
                found = w_word(w, w_at, line + k + i * step, column, sizes, width) if inside else kind(0)
                to[(k + i * step) * columns + j] = found

    return device(load)


def _whole_lines(form: Form) -> bool:
    """Whether panels hold whole chunks; else they have as many lines as rows have words."""
    return form.lines != form.depth


def _load_scale(form: Form, tile: Tile) -> Any:
    """The scales of the columns into the first line of w, if the format has any."""
    columns, scale_word = tile.columns, form.scale_word
    if scale_word is None:
        return device(_nothing)

    def load(w, to, w_at, thread, sizes, width):
        if thread < columns and w_at >= 0:
            to[thread] = scale_word(w, w_at, sizes, width)
        cuda.syncthreads()

    return device(load)


def _nothing(w: Any, to: Any, w_at: Any, thread: Any, sizes: Any, width: Any) -> None:
    """There are no scales."""


def _finish(form: Form, tile: Tile) -> Any:
    down, across, high, wide, finished, store = tile.down, tile.across, tile.high, tile.wide, form.finished, form.store

    def finish(arrays, first_row, first_column, column, sizes, place):
        sums, x, w_tile, bias, y = arrays
        for j in range(across):
            n = first_column + column + j * wide
            if n < sizes[4]:
                start, scale = bias[n] if bias.shape[0] > 0 else np.float32(0.0), w_tile[column + j * wide]
                for m in range(down):
                    row = first_row + m * high
                    if row < sizes[0]:
                        at = place[0] + row * place[2]
                        value = finished(sums, m * across + j, start, x, at, scale, sizes)
                        store(y, place[4] + row * place[5] + n, value, place)

    return device(finish)
