"""Rows times panels, the inner product that every other kernel is built on, for float rows."""

import functools
from typing import Any


@functools.cache
def make(v: Any, vectors: int, rows: int) -> Any:
    """`product(block, x, i, stride, w, j, n_in)`: the block of `rows` by `vectors` vectors plus rows times a panel.

    Row m is x[i + m * stride : ... + n_in]; the panel starts at w[j] and holds [n_in][vectors * lanes].
    """
    if rows > 1:
        return _several_rows(v, vectors)
    return of_parts(v, vectors, chained(v, vectors, chains(v, vectors), v.fma_block))


@functools.cache
def make_pair(v: Any, vectors: int) -> Any:
    """`product(block, x, i, w, j, n_in, h, k, r, l, units)`: the block plus x[i:] times the panel at w[j] and h[k:] by r[l]."""
    return pair_of_parts(v, vectors, chained(v, vectors, chains(v, vectors), v.fma_block))


@functools.cache
def make_twin(v: Any, vectors: int) -> Any:
    """`product(block, x, i, w, j, dj, n_in)`: two times `vectors` vectors plus a row times the panels at w[j] and w[j + dj]."""
    fma_block, width = v.fma_block, vectors * v.lanes

    @v.inline
    def product(block, x, i, w, j, dj, n_in):
        for k in range(n_in):
            block = fma_block(block, x, i + k, 0, w, j + k * width, dj, vectors)
        return block

    return product


def row_block(v: Any, vectors: int) -> int:
    """How many rows are summed at once, a power of two that leaves room for the weights in the machine's registers."""
    return 4 if v.lanes == 16 or vectors <= 2 else 2


def chains(v: Any, vectors: int) -> int:
    """A single row is summed in several independent parts, to keep the multipliers busy: about eight vectors in all.

    They take half the registers at most. Where a vector is a single number there are twice as many, so that fewer instructions
    only count.
    """
    wanted = {1: 8, 2: 4}.get(vectors, 2) * (2 if v.lanes == 1 else 1)
    room = v.registers // (2 * vectors)
    return max(1, min(wanted, 1 << room.bit_length() - 1 if room else 1))


def of_parts(v: Any, vectors: int, more: Any) -> Any:
    """The product of one row from `more(parts, x, i, w, j, n_in)`, which adds a row times a panel to the parts."""
    fold_block, parts = v.fold_block, in_parts(v, vectors, chains(v, vectors), v.zero_block)

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        return fold_block(more(parts(block), x, i, w, j, n_in), vectors)

    return product


def pair_of_parts(v: Any, vectors: int, more: Any) -> Any:
    """The same for two rows with a panel each."""
    fold_block, parts = v.fold_block, in_parts(v, vectors, chains(v, vectors), v.zero_block)

    @v.inline
    def product(block, x, i, w, j, n_in, h, k, r, l, units):  # noqa: E741
        return fold_block(more(more(parts(block), x, i, w, j, n_in), h, k, r, l, units), vectors)

    return product


def pair_of_rows(v: Any, vectors: int, one: Any) -> Any:
    """The same from the product `one` of a row, summed as in a sequence: if `one` is exact, steps and runs agree."""
    fold_block, zero_block = v.fold_block, v.zero_block

    @v.inline
    def product(block, x, i, w, j, n_in, h, k, r, l, units):  # noqa: E741
        inputs = one(block, x, i, 0, w, j, n_in)
        return fold_block(inputs + one(zero_block(vectors), h, k, 0, r, l, units), vectors)

    return product


def _several_rows(v: Any, vectors: int) -> Any:
    fma_block = v.fma_block
    width = vectors * v.lanes

    @v.inline
    def product(block, x, i, stride, w, j, n_in):
        for k in range(n_in):
            block = fma_block(block, x, i + k, stride, w, j + k * width, 0, vectors)
        return block

    return product


@functools.cache
def in_parts(v: Any, vectors: int, parallel: int, zeros: Any) -> Any:
    """`parts(block)`: a block of `vectors` and zeros for the other parts."""
    spare = (parallel - 1) * vectors
    return v.inline(lambda block: block + zeros(spare)) if spare else v.inline(lambda block: block)


@functools.cache
def chained(v: Any, vectors: int, parallel: int, multiply: Any, inputs: int = 1) -> Any:
    """`more(parts, x, i, w, j, n)`: adds n factors of a row, from x[i] on, times rows of a panel to `parallel` parts.

    `multiply` takes what fma_block takes; a factor is `inputs` elements of x.
    """
    width, times = vectors * v.lanes, _times(v, parallel)
    stride, several = parallel * times, _repeated(v, vectors, parallel, multiply, inputs, times)

    @v.inline
    def one(parts, x, i, w, j):
        return multiply(parts[:vectors], x, i, 0, w, j, 0, vectors) + parts[vectors:]

    single = _repeated(v, vectors, 1, multiply, inputs, 1) if parallel == 1 else one

    @v.inline
    def more(parts, x, i, w, j, n):
        whole = n - n % stride
        for k in range(0, whole, stride):
            parts = several(parts, x, i + inputs * k, w, j + k * width)
        for k in range(whole, n):
            parts = single(parts, x, i + inputs * k, w, j + k * width)
        return parts

    return more


def _times(v: Any, parallel: int) -> int:
    """How often the body of a loop is written out. Where vectors are short, counting weighs as much as what is counted."""
    if v.lanes > 4 or v.registers < 16:
        return 1
    if v.lanes == 1 and parallel == 1:
        return 8 if v.dot == "smlad" else 1
    return 2


def _repeated(v: Any, vectors: int, parallel: int, multiply: Any, inputs: int, times: int) -> Any:
    """`add(parts, x, i, w, j)`: `times` times `parallel` factors."""
    if times == 1:
        row, panel = (inputs, vectors * v.lanes) if parallel > 1 else (0, 0)
        return v.inline(lambda parts, x, i, w, j: multiply(parts, x, i, row, w, j, panel, vectors))
    half, count = _repeated(v, vectors, parallel, multiply, inputs, times // 2), times // 2 * parallel
    further, beyond = count * inputs, count * vectors * v.lanes
    return v.inline(lambda parts, x, i, w, j: half(half(parts, x, i, w, j), x, i + further, w, j + beyond))
