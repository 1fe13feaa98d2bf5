"""Rows by index: indices are first made safe (clamp_*), then used (gather, one_hot, sequence_mask)."""

from typing import Any

import numpy as np

from edgelstm.kernels.declare import kernel

_CLAMP = "y:i64* count:int wrap:int low:int high:int"


def _clamp_integers(v: Any) -> Any:
    """y[i] = x[i], plus wrap where negative, then limited to low .. high."""

    def clamp(x, y, count, wrap, low, high):
        for i in range(count):
            index = np.int64(x[i])
            if index < 0:
                index += wrap
            y[i] = low if index < low else high if index > high else index

    return clamp


kernel("clamp_i64", f"x:i64* {_CLAMP}")(_clamp_integers)
kernel("clamp_i32", f"x:i32* {_CLAMP}")(_clamp_integers)


@kernel("clamp_f32", f"x:f32* {_CLAMP}")
def clamp_f32(v: Any) -> Any:
    """The same for floats, truncated; not a number counts as the lowest."""
    f32 = v.f32

    def clamp(x, y, count, wrap, low, high):
        for i in range(count):
            value, index = x[i], np.int32(-2147483648)
            if value >= f32(2147483520.0):
                index = np.int32(2147483647)
            elif value >= f32(-2147483648.0):
                index = np.int32(value)
            wide = np.int64(index)
            if wide < 0:
                wide += wrap
            y[i] = low if wide < low else high if wide > high else wide

    return clamp


@kernel("gather4", "x:f32* indices:i64* y:f32* outer:int n:int count:int inner:int")
def gather4(v: Any) -> Any:
    """y[o, i, :] = x[o, indices[i], :], for rows of `inner` elements of 4 bytes.

    x (outer, n, inner), indices (count,), y (outer, count, inner).
    """
    load, store, load_part, store_part, lanes = v.load, v.store, v.load_part, v.store_part, v.lanes

    def gather(x, indices, y, outer, n, count, inner):
        whole = inner - inner % lanes
        for o in range(outer):
            for i in range(count):
                source = (o * n + indices[i]) * inner
                target = (o * count + i) * inner
                for k in range(0, whole, lanes):
                    store(y, target + k, load(x, source + k))
                if whole < inner:
                    rest = inner - whole
                    store_part(y, target + whole, rest, load_part(x, source + whole, rest))

    return gather


@kernel("gather1", "x:u8* indices:i64* y:u8* outer:int n:int count:int inner:int")
def gather1(v: Any) -> Any:
    """The same for rows of single bytes."""

    def gather(x, indices, y, outer, n, count, inner):
        for o in range(outer):
            for i in range(count):
                for k in range(inner):
                    y[(o * count + i) * inner + k] = x[(o * n + indices[i]) * inner + k]

    return gather


@kernel("one_hot", "indices:i64* y:f32* outer:int depth:int inner:int on:f32")
def one_hot(v: Any) -> Any:
    """y[o, indices[o, i], i] = on, where that index is one of 0 .. depth-1; y (outer, depth, inner)."""

    def one_hot(indices, y, outer, depth, inner, on):
        for o in range(outer):
            for i in range(inner):
                index = indices[o * inner + i]
                if 0 <= index < depth:
                    y[(o * depth + index) * inner + i] = on

    return one_hot


@kernel("sequence_mask", "lengths:i64* y:u8* batch:int steps:int")
def sequence_mask(v: Any) -> Any:
    """y[b, t] = t < lengths[b]."""

    def sequence_mask(lengths, y, batch, steps):
        for b in range(batch):
            end = lengths[b]
            for t in range(steps):
                y[b * steps + t] = 1 if t < end else 0

    return sequence_mask
