"""Rows prepared for products with weights of few bits, by the threads of a block; see kernels/rounding.py for the numbers.

A prepared row: words of four signed bytes, zeros up to the last, and the row's scale. Rows of int8 and int4 are alike: what
int4 rows hold besides on processors corrects products with nibbles that lie 8 too high, and here nibbles are signed. A finer
row has a second part behind the scale, what rounding left, and its scale.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import SIMULATED, cuda, types
from edgelstm.cuda.launching import Args, Launch, Twin, jit, launch
from edgelstm.cuda.scalars import device
from edgelstm.kernels import panels_int4, panels_int8, rounding

WARP = 1 if SIMULATED else 32  # threads that find the largest of their numbers without shared memory
THREADS = 2 if SIMULATED else 256
BLOCKS = 2 if SIMULATED else 1 << 16

ROW_WORDS = {"int8": panels_int8.row_words, "int8x16": panels_int8.two_row_words, "int4": panels_int4.row_words}
FINER = 254.0  # steps of the second part of a row to one of the first


class Floats(NamedTuple):
    """`rows` rows of n floats: row m begins at x[at + m * stride]."""

    rows: int
    x: Any
    at: int
    stride: int
    n: int


class Prepared(NamedTuple):
    """Where prepared rows go: `count` words of row m from words[at + m * stride] on, and its scale `last` further."""

    words: Any
    at: int
    stride: int
    count: int
    last: int


@cache
def number_words(form: str) -> Any:
    """`words(n)`: the words of bytes of n numbers, whole groups in int4; for kernels and for the host."""
    return (lambda n: (n + 31) >> 5 << 3) if form == "int4" else (lambda n: (n + 3) >> 2)


@cache
def prepare(finer: bool = False) -> Any:
    """`prepare(thread, threads, source, target, tops, scale)`: all rows of Floats to Prepared, by whole warps.

    `tops` is shared memory, rows * threads / WARP floats; `scale` the fixed scale, or 0. Threads must meet before they read.
    """
    v, largest, factors, write = scalars.make(), _largest(), _factors(), _write_row(finer)
    bits, number = v.bits, v.number

    def run(thread, threads, source, target, tops, scale):
        largest(thread, threads, source, tops)
        cuda.syncthreads()
        m, e, end = 0, 0, threads // WARP
        while m < source.rows:
            top = np.int32(0)
            while e < end:
                top, e = max(top, bits(tops[np.uint64(e)])), e + 1
            inverse, found = factors(number(top), scale)
            write(thread, threads, source, m, target, inverse, found)
            m, end = m + 1, end + threads // WARP

    return device(run)


def _write_row(finer: bool) -> Any:
    """`write(thread, threads, source, m, target, inverse, scale)`: row m with what it is multiplied with, and its scale."""
    v, pack, rest = scalars.make(), _pack(_rounded()), _pack(_left())
    number, infinite, steps = v.number, np.float32(np.inf), np.float32(FINER)

    def write(thread, threads, source, m, target, inverse, scale):
        at, to, word = source.at + m * source.stride, target.at + m * target.stride, thread
        while word < target.count:
            target.words[np.uint64(to + word)] = number(pack(source.x, at, 4 * word, source.n, inverse))
            word += threads
        if thread == 0:
            target.words[np.uint64(to + target.last)] = scale

    if not finer:
        return device(write)
    write = device(write)

    def write_both(thread, threads, source, m, target, inverse, scale):
        write(thread, threads, source, m, target, inverse, scale)
        at, to, word = source.at + m * source.stride, target.at + m * target.stride + target.last + 1, thread
        while word < target.count:
            target.words[np.uint64(to + word)] = number(rest(source.x, at, 4 * word, source.n, inverse))
            word += threads
        if thread == 0:
            target.words[np.uint64(to + target.last)] = scale / steps if scale < infinite else np.float32(0.0)

    return device(write_both)


def _largest() -> Any:
    """`largest(thread, threads, source, tops)`: the largest |x| of each row and warp into tops. NaN is the largest of all."""
    v, of_warp = scalars.make(), _of_warp()
    bits, number = v.bits, v.number

    def largest(thread, threads, source, tops):
        m, at, to = 0, source.at, thread // WARP
        while m < source.rows:
            top, first = np.int32(0), 0
            while first < source.n:
                if first + thread < source.n:
                    top = max(top, np.int32(bits(source.x[np.uint64(at + first + thread)]) & 0x7FFFFFFF))
                first += threads
            top = of_warp(top)
            if thread % WARP == 0:
                tops[np.uint64(to)] = number(top)
            m, at, to = m + 1, at + source.stride, to + threads // WARP

    return device(largest)


def _of_warp() -> Any:
    """`of_warp(top)`: the largest of a warp's integers, none negative."""
    if SIMULATED:
        return device(lambda top: top)

    def of_warp(top):
        for bit in range(5):
            top = max(top, cuda.shfl_xor_sync(0xFFFFFFFF, top, 1 << bit))
        return top

    return device(of_warp)


def _factors() -> Any:
    """`factors(top, scale)`: what numbers are multiplied with, and the scale of the row."""
    v = scalars.make()
    of_row, f32 = rounding.factors_of(v), v.f32

    def factors(top, scale):
        if scale > 0.0:
            return f32(1.0) / scale, scale if top == top else top
        return of_row(top)

    return device(scalars.narrowed(factors))


def _rounded() -> Any:
    """`rounded(x, inverse)`: the number of x."""
    v = scalars.make()
    nearest, least, most = v.nearest, v.max, v.min
    return v.inline(lambda x, inverse: nearest(least(most(x * inverse, 127.0), -127.0)))


def _left() -> Any:
    """`left(x, inverse)`: what is left of x, in steps of the second part."""
    v = scalars.make()
    nearest, least, most = v.nearest, v.max, v.min

    @v.inline
    def left(x, inverse):
        value = least(most(x * inverse, 127.0), -127.0)
        return nearest((value - nearest(value)) * FINER)

    return left


def _pack(of: Any) -> Any:
    """`pack(x, at, k, n, inverse)`: `of` numbers k to k + 3 of the row at x[at], zeros from n on, as bytes of a word."""
    def octet(x, at, k, n, inverse):
        return np.int32(of(x[np.uint64(at + k)], inverse)) & np.int32(255) if k < n else np.int32(0)

    octet = device(octet)

    def pack(x, at, k, n, inverse):
        low = octet(x, at, k, n, inverse) | octet(x, at, k + 1, n, inverse) << 8
        return low | octet(x, at, k + 2, n, inverse) << 16 | octet(x, at, k + 3, n, inverse) << 24

    return device(pack)


@cache
def kernel(form: str, threads: int) -> Any:
    """Prepared rows, a block for each: those of kernels/quantize.py."""
    finer = form == "int8x16"
    ready, row_words, words = prepare(finer), device(ROW_WORDS[form]), device(number_words(form))
    warps, f32, parts = threads // WARP, types.float32, 2 if finer else 1

    def rows(x, y, total, count, n, x_start, x_batch, x_row, scale):
        tops = cuda.shared.array(warps, f32)
        for row in range(cuda.blockIdx.x, total, cuda.gridDim.x):
            b = row // count
            at = x_start + b * x_batch + (row - b * count) * x_row
            target = Prepared(y, row * row_words(n), 0, words(n), row_words(n) // parts - 1)
            ready(cuda.threadIdx.x, threads, Floats(1, x, at, 0, n), target, tops, scale)
            cuda.syncthreads()

    return jit(rows)


def quantize(form: str) -> Twin:
    """The twin of quantize_int8 and quantize_int4."""
    def bind(args: Args) -> list[Launch]:
        total, n = args["batch"] * args["count"], args["n"]
        if total == 0:
            return []
        threads = min(THREADS, -(-max(1, n // 4) // WARP) * WARP)
        return [launch(kernel(form, threads), min(total, BLOCKS), threads, args["x"], args["y"], total, args["count"], n,
                       args["x_start"], args["x_batch"], args["x_row"], args["scale"])]

    return Twin(bind)
