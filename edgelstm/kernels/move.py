"""Strided copies and fills, the only kernels of all ops that just move elements."""

from typing import Any

from edgelstm.kernels.declare import kernel

_BOX = " ".join(f"{role}{axis}:int" for role in ("n", "xs", "ys") for axis in range(6))


def _nest(run: Any, v: Any) -> Any:
    """Six nested loops over a box; `run(x, y, i, j, n, x_stride, y_stride)` copies along the innermost axis."""

    @v.inline
    def plane(x, y, i, j, n3, n4, n5, xs3, xs4, xs5, ys3, ys4, ys5):
        for a in range(n3):
            for b in range(n4):
                run(x, y, i + a * xs3 + b * xs4, j + a * ys3 + b * ys4, n5, xs5, ys5)

    def copy(x, y, x_start, y_start, n0, n1, n2, n3, n4, n5,
             xs0, xs1, xs2, xs3, xs4, xs5, ys0, ys1, ys2, ys3, ys4, ys5):
        for a in range(n0):
            for b in range(n1):
                for c in range(n2):
                    i = x_start + a * xs0 + b * xs1 + c * xs2
                    j = y_start + a * ys0 + b * ys1 + c * ys2
                    plane(x, y, i, j, n3, n4, n5, xs3, xs4, xs5, ys3, ys4, ys5)

    return copy


@kernel("copy4", f"x:f32* y:f32* x_start:int y_start:int {_BOX}")
def copy4(v: Any) -> Any:
    """y[y_start + sum a_k ys_k] = x[x_start + sum a_k xs_k] for elements of 4 bytes, whatever they mean."""
    load, store, load_part, store_part, splat, lanes = v.load, v.store, v.load_part, v.store_part, v.splat, v.lanes

    @v.inline
    def run(x, y, i, j, n, x_stride, y_stride):
        if y_stride == 1 and x_stride == 1:
            whole = n - n % lanes
            for k in range(0, whole, lanes):
                store(y, j + k, load(x, i + k))
            if whole < n:
                store_part(y, j + whole, n - whole, load_part(x, i + whole, n - whole))
        elif y_stride == 1 and x_stride == 0:
            value = splat(x[i])
            for k in range(0, n, lanes):
                store_part(y, j + k, n - k, value)
        else:
            for k in range(n):
                y[j + k * y_stride] = x[i + k * x_stride]

    return _nest(run, v)


@kernel("copy1", f"x:u8* y:u8* x_start:int y_start:int {_BOX}")
def copy1(v: Any) -> Any:
    """The same for single bytes."""

    @v.inline
    def run(x, y, i, j, n, x_stride, y_stride):
        for k in range(n):
            y[j + k * y_stride] = x[i + k * x_stride]

    return _nest(run, v)


@kernel("fill_float32", "y:f32* n:int value:f32")
def fill_float32(v: Any) -> Any:
    """y[:n] = value."""
    splat, store_part, lanes = v.splat, v.store_part, v.lanes

    def fill(y, n, value):
        x = splat(value)
        for k in range(0, n, lanes):
            store_part(y, k, n - k, x)

    return fill


def _fill_scalar(v: Any) -> Any:
    """y[:n] = value, for an integer type."""

    def fill(y, n, value):
        for k in range(n):
            y[k] = value

    return fill


kernel("fill_int32", "y:i32* n:int value:int")(_fill_scalar)
kernel("fill_int64", "y:i64* n:int value:int")(_fill_scalar)
kernel("fill_uint8", "y:u8* n:int value:int")(_fill_scalar)
