"""Weight formats: how the weights of a product lie in panels, and how a row is multiplied with them.

A kernel that multiplies by weights is declared once, by `each_format`, and exists in every format: `lstm`, `lstm_int8`, ...
(of a team: `lstm_int8_team`). Its factory is given a `Format` beside the vectors, and asks it for the product. All formats
of a kernel have the same parameters; weights marked `panels*` are f32* in float32 and i32*, counted in 32-bit words, in others.

Panels lie one after the other, one for every block of `lanes` units (or of vectors * lanes columns), `vectors` being the
gates. All that a block needs is in its panel: also scales, and whatever corrects the sums. Formats that can't multiply float
rows `prepare` them first, once a step: a row becomes `row_words(n_in)` 32-bit words of scratch memory with all that the
product needs of it (numbers, their scale, sums), and the product reads that in place of the floats. So the x of `gemm` is a
prepared row there: the kernels `prepare_<format>` make such rows. The recurrent kernels and the kernels of a single step
prepare h and x themselves, in `work`.

A format is a module of this folder with `FORMAT`. What packs its panels is in `kernels/panels.py`.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from edgelstm.kernels.declare import kernel

READING_FLOATS = ("float32", "bfloat16")
PREPARING = ("int8", "int8x16", "int4")  # those that multiply prepared rows
FORMATS = (*READING_FLOATS, *PREPARING)


class Format(NamedTuple):
    """The functions of a format; each makes a function for kernels, for a vector set v and `vectors` gates.

    `panel(v, vectors)(unit, n_in)`: where the panel of the block of units from `unit` on begins, in 32-bit words.
    `row_block(v, vectors)`: how many rows are best multiplied at once, a power of two (a number, not a function).
    `product(v, vectors, rows)(block, x, i, stride, w, j, n_in)`: the block of `rows` by `vectors` vectors plus the product of
    the rows with the panel at w[j]. Row m begins at x[i + m * stride]: n_in floats, or a prepared row.
    `pair(v, vectors)(block, x, i, w, j, n_in, h, k, r, l, units)`: one row each: the block plus the row at x[i] times the panel
    at w[j], plus the one at h[k] times the panel at r[l].
    `prepare(v)(to, at, x, i, n, scale)`: the prepared row of x[i : i + n] into to[at:], both f32*; `scale` is the fixed scale
    of the activations, or 0 where the row has its own.
    `row_words(v)(n)`: the words of a prepared row of n numbers, whole cache lines.
    `twin(v, vectors)(block, x, i, w, j, dj, n_in)`: twice as many vectors: one row with the panels at w[j] and at w[j + dj].
    `near(v)`: the words of weights up to which a step gains by twins, which hide the latency of a cell (a number).
    `halves`: whether all that it needs is in `v.half`.
    """

    panel: Callable[..., Any]
    row_block: Callable[..., int]
    product: Callable[..., Any]
    pair: Callable[..., Any]
    prepare: Callable[..., Any] | None = None
    row_words: Callable[..., Any] | None = None
    twin: Callable[..., Any] | None = None
    near: Callable[..., int] | None = None
    halves: bool = False


def get(name: str) -> Format:
    """The format of that name, one of FORMATS."""
    return importlib.import_module(f"{__name__}.{name}").FORMAT


def named(kernel_name: str, name: str) -> str:
    """What a kernel is called in a format."""
    if name == "float32":
        return kernel_name
    stem, team = kernel_name.removesuffix("_team"), "_team" * kernel_name.endswith("_team")
    return f"{stem}_{name}{team}"


def each_format(kernel_name: str, params: str, among: tuple[str, ...] = FORMATS) -> Callable[..., Any]:
    """A decorator that declares a factory `(v, form)` as a kernel of every format; see declare.kernel for `params`."""

    def declare(factory: Callable[..., Any]) -> Callable[..., Any]:
        for name in among:
            pointer = "f32*" if name == "float32" else "i32*"
            kernel(named(kernel_name, name), params.replace("panels*", pointer))(partial(_written, factory, name))
        return factory

    return declare


def _written(factory: Callable[..., Any], name: str, v: Any) -> Callable[..., None]:
    return factory(v, get(name))
