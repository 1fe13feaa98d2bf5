"""The integer-only dense layer, and the conversions between integers of different scales."""

from typing import Any

from edgelstm.kernels import integer
from edgelstm.kernels.declare import kernel
from edgelstm.kernels.integer import SUM_FRACTION, i32

LINEAR, RELU, SIGMOID, TANH = range(4)
PARAMS = "rows:int n_in:int n_out:int extra:int activation:int y_word:int limit:int table:u16*"


def _dense(v: Any) -> Any:
    """x (rows, n_in), w [n_out][n_in], columns [n_out][2] with the word of the weights and the bias, y (rows, n_out).

    Sums are in steps of y / 2**extra for the activations 0 linear and 1 relu, in Q12 for 2 sigmoid and 3 tanh, whose results
    y_word takes to steps of y. y is limited to -limit .. limit.
    """
    a = integer.arithmetic(v)
    dot, rescale, tanh, sigmoid, limited, shifted = a.dot, a.rescale, a.tanh, a.sigmoid, a.limited, a.shifted

    @v.inline
    def finished(total, extra, activation, y_word, table):
        if activation >= SIGMOID:
            value = sigmoid(table, total) if activation == SIGMOID else tanh(table, total, SUM_FRACTION)
            return rescale(value, y_word)
        value = shifted(total, extra)
        return i32(0 if activation == RELU and value < 0 else value)

    def integer_dense(x, w, columns, y, rows, n_in, n_out, extra, activation, y_word, limit, table):
        for row in range(rows):
            for n in range(n_out):
                total = i32(rescale(dot(x, row * n_in, w, n * n_in, n_in), columns[2 * n]) + columns[2 * n + 1])
                y[row * n_out + n] = limited(finished(total, extra, activation, y_word, table), limit)

    return integer_dense


def _requantize(v: Any) -> Any:
    """y[:n] = x[:n] times the factor of a word, limited to -limit .. limit."""
    a = integer.arithmetic(v)
    rescale, limited = a.rescale, a.limited

    def requantize(x, y, n, word, limit):
        for i in range(n):
            y[i] = limited(rescale(x[i], word), limit)

    return requantize


for _source in ("i8", "i16"):
    kernel(f"integer_dense_{_source}", f"x:i8* w:i8* columns:i32* y:{_source}* {PARAMS}")(_dense)
    for _target in ("i8", "i16"):
        kernel(f"integer_requantize_{_source}_{_target}", f"x:{_source}* y:{_target}* n:int word:int limit:int")(_requantize)


@kernel("integer_lookup", "x:i8* table:i8* y:i8* n:int")
def integer_lookup(v: Any) -> Any:
    """y[i] = table[x[i] + 128]."""

    def lookup(x, table, y, n):
        for i in range(n):
            y[i] = table[i32(x[i]) + 128]

    return lookup
