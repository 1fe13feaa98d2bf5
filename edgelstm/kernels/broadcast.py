"""Loops over two operands that broadcast: six axes, the last of them a row along which a step is 0 or 1.

Axes are right-aligned: d0 ... d5 are their lengths, a0 ... a5 and b0 ... b5 the strides of a and b in elements.
y is dense.
"""

from collections.abc import Callable
from typing import Any

from edgelstm.kernels.declare import kernel

AXES = " ".join(f"{prefix}{i}:int" for prefix in "dab" for i in range(6))
AXES_THREE = " ".join(f"{prefix}{i}:int" for prefix in "dcab" for i in range(6))

Formula = Callable[..., Any]


def declare_vector(name: str, formula: Callable[[Any], Formula]) -> None:
    """Declare `name`: y = formula(a, b) over float32 vectors."""

    @kernel(name, f"a:f32* b:f32* y:f32* {AXES}", formula)
    def factory(v: Any) -> Callable[..., None]:
        return _nest(v, vector_row(v, v.inline(formula(v))))


def declare_scalar(name: str, kinds: tuple[str, str, str], formula: Callable[[Any], Formula]) -> None:
    """Declare `name`: y = formula(a, b), one number at a time; `kinds` are the pointer kinds of a, b and y."""
    a, b, y = kinds

    @kernel(name, f"a:{a} b:{b} y:{y} {AXES}", formula, numbers=True)
    def factory(v: Any) -> Callable[..., None]:
        return _nest(v, scalar_row(v, v.inline(formula(v))))


def vector_row(v: Any, formula: Formula) -> Formula:
    """`row(a, i, a_step, b, j, b_step, y, k, n)`: one row in vectors, with the one-sided operand in a register."""
    load_part, store_part, splat, lanes = v.load_part, v.store_part, v.splat, v.lanes
    load, store = v.load, v.store

    @v.inline
    def row(a, i, a_step, b, j, b_step, y, k, n):
        whole = n - n % lanes
        rest = n - whole
        if a_step == 0:
            x = splat(a[i])
            for m in range(0, whole, lanes):
                store(y, k + m, formula(x, load(b, j + m)))
            store_part(y, k + whole, rest, formula(x, load_part(b, j + whole, rest)))
        elif b_step == 0:
            x = splat(b[j])
            for m in range(0, whole, lanes):
                store(y, k + m, formula(load(a, i + m), x))
            store_part(y, k + whole, rest, formula(load_part(a, i + whole, rest), x))
        else:
            for m in range(0, whole, lanes):
                store(y, k + m, formula(load(a, i + m), load(b, j + m)))
            store_part(y, k + whole, rest, formula(load_part(a, i + whole, rest), load_part(b, j + whole, rest)))

    return row


def scalar_row(v: Any, formula: Formula) -> Formula:
    """The same signature, one number at a time."""

    @v.inline
    def row(a, i, a_step, b, j, b_step, y, k, n):
        for m in range(n):
            y[k + m] = formula(a[i + m * a_step], b[j + m * b_step])

    return row


def _nest(v: Any, row: Formula) -> Callable[..., None]:
    def broadcast(a, b, y, d0, d1, d2, d3, d4, d5, a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5):
        k = 0
        for i0 in range(d0):
            for i1 in range(d1):
                for i2 in range(d2):
                    for i3 in range(d3):
                        i = i0 * a0 + i1 * a1 + i2 * a2 + i3 * a3
                        j = i0 * b0 + i1 * b1 + i2 * b2 + i3 * b3
                        for i4 in range(d4):
                            row(a, i + i4 * a4, a5, b, j + i4 * b4, b5, y, k, d5)
                            k += d5

    return broadcast
