"""The integer-only softmax; see edgelstm.ops.softmax_integer."""

from typing import Any

import numpy as np

from edgelstm.kernels import integer
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.integer import ONE, SUM_FRACTION, i32

u32 = np.uint32

STEP_BITS = 4  # the table of exp has 16 steps to 1, and 256 of them
SHIFT = SUM_FRACTION - STEP_BITS
FARTHEST = (256 << SHIFT) - 1


def _softmax(v: Any) -> Any:
    """y = softmax of x (rows, n) along n, in Q15; word takes differences of x to Q12."""
    a = integer.arithmetic(v)
    rescale, shifted = a.rescale, a.shifted

    @v.inline
    def exponential(table, below, word):
        d = rescale(below, word)
        d = i32(FARTHEST if d > FARTHEST else d)
        i = i32(d >> SHIFT)
        high = i32(table[i])
        return i32(high - shifted(i32(i32(high - i32(table[i + 1])) * i32(d & ((1 << SHIFT) - 1))), SHIFT))

    def softmax(x, y, rows, n, word, table):
        for row in range(rows):
            at = row * n
            most, total = i32(-ONE), i32(0)
            for k in range(n):
                most = i32(x[at + k] if x[at + k] > most else most)
            for k in range(n):
                total = i32(total + exponential(table, i32(most - i32(x[at + k])), word))
            for k in range(n):
                e = exponential(table, i32(most - i32(x[at + k])), word)
                share = i32(u32(i32(e * ONE) + i32(total >> 1)) // u32(total))
                y[at + k] = ONE - 1 if share > ONE - 1 else share

    return softmax


for _kind in ("i8", "i16"):
    kernel(f"integer_softmax_{_kind}", f"x:{_kind}* y:i16* rows:int n:int word:int table:u16*")(_softmax)
