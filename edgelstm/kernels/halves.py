"""Layers whose units fill half a vector at most, computed with half vectors where those are faster."""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels.formats import Format


def fitting(v: Any, form: Format, make: Callable[[Any, Format], Any]) -> Any:
    """`run(q, ...)` that `make` gives for a vector set and a format: of half vectors where q.units fit them.

    The layout of weights, inputs and states is the same. With half vectors a single block is worked on, row by row.
    """
    whole = make(v, form)
    if v.half is None or not form.halves:
        return whole
    half, most = make(v.half, form._replace(twin=None, near=None, row_block=lambda v, vectors: 1)), v.lanes // 2

    @v.inline
    def run(q, *rest):
        if q.units <= most:
            half(q, *rest)
        else:
            whole(q, *rest)

    return run
