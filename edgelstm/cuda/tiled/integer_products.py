"""Prepared rows times int8 and int4 panels: dp4a, and exact sums of 32 bits.

Every column is summed by one thread in the order of the processors' kernels, so that results are theirs bit for bit. Panels:
kernels/formats/int8.py and int4.py; rows: rounding.py. A convolution's rows are whole windows.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import LANES, cuda, types
from edgelstm.cuda.scalars import device
from edgelstm.cuda.tiled.rounding import ROW_WORDS, number_words
from edgelstm.cuda.tiled.tiles import UNROLLED, Form, Tile

ROW_GROUP = 8  # words of a row in a group of int4: four of inputs that meet low nibbles, four that meet high ones
PANEL_GROUP = 5  # of a column: four, and a scale


def _int8(tile: Tile) -> Form:
    """A word is four inputs; two lines follow them in a panel, scales and what processors correct sums with."""
    words = device(number_words("int8"))
    count = device(lambda sizes: words(sizes[3]))

    def column_at(column, sizes, width):
        return column // width * (words(sizes[3]) + 1) * width + column

    def scale_word(w, at, sizes, width):
        return w[np.uint64(at + words(sizes[3]) * width)]

    return Form(types.int32, types.int32, tile.depth, tile.depth, count, device(_row_at), device(column_at), _x_word(),
                device(lambda w, at, k, column, sizes, width: w[np.uint64(at + k * width)]), _multiply_int8(tile, 1),
                _finished("int8"), device(scale_word))


def _int8x16(tile: Tile) -> Form:
    """The same with rows in two parts, one behind the other, of which a chunk takes as many words each."""
    one, words, depth, bits = _int8(tile), device(number_words("int8")), tile.depth, scalars.make().bits
    row_words, line = device(ROW_WORDS["int8"]), one.w_word

    def count(sizes):
        return (words(sizes[3]) + depth - 1) // depth * 2 * depth

    def x_word(x, at, k, sizes, place):
        chunk, part = k // (2 * depth), k // depth % 2
        word = chunk * depth + k % depth
        return bits(x[np.uint64(at + part * row_words(sizes[3]) + word)]) if word < words(sizes[3]) else np.int32(0)

    def w_word(w, at, k, column, sizes, width):
        return line(w, at, k, column, sizes, width) if k < words(sizes[3]) else np.int32(0)

    return replace(one, depth=2 * depth, words=device(count), x_word=device(x_word), w_word=device(w_word),
                   multiply=_multiply_int8(tile, 2), finished=_finished_twice(tile), sums=2)


def _int4(tile: Tile) -> Form:
    """A chunk is a group."""
    words = device(number_words("int4"))
    count = device(lambda sizes: words(sizes[3]))

    def column_at(column, sizes, width):
        block, vectors = column // width, width // LANES
        return block * (words(sizes[3]) // ROW_GROUP) * (4 * width + (vectors + 1) // 2 * LANES) + column - block * width

    return Form(types.int32, types.float32, ROW_GROUP, PANEL_GROUP, count, device(_row_at), device(column_at), _x_word(),
                _int4_word(), _multiply_int4(tile), _finished("int4"))


def _row_at(row: Any, sizes: Any, place: Any) -> Any:
    return place[0] + row * place[2]


def _x_word() -> Any:
    bits = scalars.make().bits
    return device(lambda x, at, k, sizes, place: bits(x[np.uint64(at + k)]))


def _int4_word() -> Any:
    """Line k of a column's groups: four words each, then the scale as float32, kept as bfloat16 with that of another vector."""
    def word(w, at, k, column, sizes, width):
        group, line, vectors = k // PANEL_GROUP, k % PANEL_GROUP, width // LANES
        start = at + group * (4 * width + (vectors + 1) // 2 * LANES)
        if line < PANEL_GROUP - 1:
            return w[np.uint64(start + line * width)]
        within = column % width
        vector = within // LANES
        both = w[np.uint64(start + 4 * width + (vector // 2 - vector) * LANES)]
        return np.int32(both & -65536 if vector % 2 == 1 else both << 16)

    return device(word)


def _multiply_int8(tile: Tile, parts: int) -> Any:
    """The sums of a second part of the rows lie behind those of the first."""
    depth, down, across, high, wide, dot4 = tile.depth, tile.down, tile.across, tile.high, tile.wide, scalars.make().dot4
    stride, columns, count = tile.stride, tile.columns, tile.down * tile.across

    def multiply(sums, x, w, row, column):
        for first in range(0, depth, UNROLLED):
            for k in range(UNROLLED):
                for part in range(parts):
                    for m in range(down):
                        value = x[np.uint64((part * depth + first + k) * stride + row + m * high)]
                        for j in range(across):
                            e = part * count + m * across + j
                            sums[e] = dot4(value, w[np.uint64((first + k) * columns + column + j * wide)], sums[e])

    return device(multiply)


def _multiply_int4(tile: Tile) -> Any:
    """Adds a group: its exact sums are 16 times too high, which is taken back without rounding."""
    v, down, across, high, wide, i32 = scalars.make(), tile.down, tile.across, tile.high, tile.wide, types.int32
    dot4, fma, number, count, lines = v.dot4, v.fma, v.number, tile.down * tile.across, PANEL_GROUP - 1
    stride, columns = tile.stride, tile.columns

    def multiply(sums, x, w, row, column):
        exact = cuda.local.array(count, i32)
        for e in range(count):
            exact[e] = 0
        for k in range(lines):
            for j in range(across):
                word = w[np.uint64(k * columns + column + j * wide)]
                low, upper = low_nibbles(word), high_nibbles(word)
                for m in range(down):
                    e, at = m * across + j, k * stride + row + m * high
                    exact[e] = dot4(x[np.uint64(at + lines * stride)], upper, dot4(x[np.uint64(at)], low, exact[e]))
        for j in range(across):
            scale = number(w[np.uint64(lines * columns + column + j * wide)])
            for m in range(down):
                e = m * across + j
                sums[e] = fma(np.float32(exact[e]) * np.float32(0.0625), scale, sums[e])

    return device(multiply)


@device
def low_nibbles(word):
    """Four bytes, each 16 times a number of the low half of a byte; they are stored 8 too high."""
    return word << 4 & -0x0F0F0F10 ^ -0x7F7F7F80


@device
def high_nibbles(word):
    """The same of the high halves."""
    return word & -0x0F0F0F10 ^ -0x7F7F7F80


def _finished(form: str) -> Any:
    """Sums times the scale of the column, int8 alone, and of the row, plus the bias."""
    v, row_words = scalars.make(), device(ROW_WORDS[form])
    number, fma = v.number, v.fma
    if form == "int4":
        return device(lambda sums, e, start, x, at, scale, sizes: fma(
            sums[e], x[np.uint64(at + row_words(sizes[3]) - 1)], start))

    def finished(sums, e, start, x, at, scale, sizes):
        return fma(np.float32(sums[e]) * number(scale), x[np.uint64(at + row_words(sizes[3]) - 1)], start)

    return device(finished)


def _finished_twice(tile: Tile) -> Any:
    """What the first part of the row gives, plus what the second gives, each with its scale."""
    v, row_words, count = scalars.make(), device(ROW_WORDS["int8"]), tile.down * tile.across
    number, fma = v.number, v.fma

    def finished(sums, e, start, x, at, scale, sizes):
        last, factor = at + row_words(sizes[3]) - 1, number(scale)
        rest = fma(np.float32(sums[count + e]) * factor, x[np.uint64(last + row_words(sizes[3]))], np.float32(0.0))
        return fma(np.float32(sums[e]) * factor, x[np.uint64(last)], start) + rest

    return device(finished)


FORMS = {"int8": _int8, "int8x16": _int8x16, "int4": _int4}
