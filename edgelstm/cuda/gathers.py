"""Rows of tables of few bits by index: gather_bfloat16, gather_int8 and gather_int4, an element a thread at a time."""

from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.driver import cuda
from edgelstm.cuda.launching import THREADS, Args, Launch, Twin, blocks_for, jit, launch
from edgelstm.cuda.scalars import device


@cache
def _element(form: str) -> Any:
    """`element(x, scale, row, k, width)`: number k of a row of the table."""
    number = scalars.make().number

    def bfloat16(x, scale, row, k, width):
        return number(np.int32(x[row * width + k]) << 16)

    def int8(x, scale, row, k, width):
        return np.float32(x[row * width + k]) * scale[row]

    def int4(x, scale, row, k, width):
        group, within = row * ((width + 31) // 32) + k // 32, k % 32
        both = np.int32(x[16 * group + within % 16])
        stored = both >> 4 if within >= 16 else both & 15
        return np.float32(stored - 8) * number(np.int32(scale[group]) << 16)

    return device({"bfloat16": bfloat16, "int8": int8, "int4": int4}[form])


@cache
def kernel(form: str) -> Any:
    """All elements of all rows."""
    element = _element(form)

    def rows(x, scale, indices, y, size, width):
        for e in range(cuda.grid(1), size, cuda.gridsize(1)):
            y[e] = element(x, scale, indices[e // width], e % width, width)

    return jit(rows)


def gather(form: str) -> Twin:
    """The twin of a format's gather kernel."""
    def bind(args: Args) -> list[Launch]:
        size = args["count"] * args["width"]
        if size == 0:
            return []
        return [launch(kernel(form), blocks_for(size), THREADS, args["x"], args.get("scale", args["x"]), args["indices"],
                       args["y"], size, args["width"])]

    return Twin(bind)
