"""Elements of rows of tables, whatever they are stored in."""

from functools import cache
from typing import Any

import numpy as np

from edgelstm.cuda import scalars
from edgelstm.cuda.scalars import device


@cache
def element(form: str) -> Any:
    """`element(x, scale, row, k, width)`: number k of a row of the table; `plain` ones are stored as they are."""
    number = scalars.make().number

    def plain(x, scale, row, k, width):
        return x[np.uint64(row * width + k)]

    def bfloat16(x, scale, row, k, width):
        return number(np.int32(x[np.uint64(row * width + k)]) << 16)

    def int8(x, scale, row, k, width):
        return np.float32(x[np.uint64(row * width + k)]) * scale[np.uint64(row)]

    def int4(x, scale, row, k, width):
        group, within = row * ((width + 31) // 32) + k // 32, k % 32
        both = np.int32(x[16 * group + within % 16])
        stored = both >> 4 if within >= 16 else both & 15
        return np.float32(stored - 8) * number(np.int32(scale[group]) << 16)

    return device({"plain": plain, "bfloat16": bfloat16, "int8": int8, "int4": int4}[form])
