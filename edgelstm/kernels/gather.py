"""Rows by index: indices are first made safe (clamp_*), then used (gather, one_hot, sequence_mask)."""

from typing import Any

import numpy as np

from edgelstm.kernels.declare import Factory, kernel


def _clamped(v: Any) -> Any:
    """The index, plus wrap where it is negative, then limited to low .. high."""

    def clamped(x, wrap, low, high):
        index = np.int64(x)
        if index < 0:
            index += wrap
        return low if index < low else high if index > high else index

    return clamped


def _clamped_float(v: Any) -> Any:
    """The same for a float, truncated; not a number counts as the lowest."""
    f32, clamped = v.f32, v.inline(_clamped(v))

    def of_float(x, wrap, low, high):
        index = np.int32(-2147483648)
        if x >= f32(2147483520.0):
            index = np.int32(2147483647)
        elif x >= f32(-2147483648.0):
            index = np.int32(x)
        return clamped(index, wrap, low, high)

    return of_float


def _clamp(formula: Factory) -> Factory:
    """y[i] = formula(x[i], wrap, low, high)."""

    def factory(v: Any) -> Any:
        safe = v.inline(formula(v))

        def clamp(x, y, count, wrap, low, high):
            for i in range(count):
                y[i] = safe(x[i], wrap, low, high)

        return clamp

    return factory


for _tag, _formula in (("i64", _clamped), ("i32", _clamped), ("f32", _clamped_float)):
    kernel(f"clamp_{_tag}", f"x:{_tag}* y:i64* count:int wrap:int low:int high:int", _formula, numbers=True)(_clamp(_formula))


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


@kernel("gather_bfloat16", "x:u16* indices:i64* y:f32* count:int width:int")
def gather_bfloat16(v: Any) -> Any:
    """y[i, :] = x[indices[i], :] for rows of `width` bfloat16."""
    load_bfloat16, load_bfloat16_part, store, store_part, lanes = (
        v.load_bfloat16, v.load_bfloat16_part, v.store, v.store_part, v.lanes)

    def gather(x, indices, y, count, width):
        whole = width - width % lanes
        for i in range(count):
            source, target = indices[i] * width, i * width
            for k in range(0, whole, lanes):
                store(y, target + k, load_bfloat16(x, source + k))
            rest = width - whole
            store_part(y, target + whole, rest, load_bfloat16_part(x, source + whole, rest))

    return gather


@kernel("gather_int8", "x:i8* scale:f32* indices:i64* y:f32* count:int width:int")
def gather_int8(v: Any) -> Any:
    """y[i, :] = x[indices[i], :] * scale[indices[i]] for rows of `width` bytes."""
    load_s8, load_s8_part, store, store_part, lanes = v.load_s8, v.load_s8_part, v.store, v.store_part, v.lanes

    def gather(x, scale, indices, y, count, width):
        whole = width - width % lanes
        for i in range(count):
            source, target, factor = indices[i] * width, i * width, scale[indices[i]]
            for k in range(0, whole, lanes):
                store(y, target + k, load_s8(x, source + k) * factor)
            rest = width - whole
            store_part(y, target + whole, rest, load_s8_part(x, source + whole, rest) * factor)

    return gather


@kernel("gather_int4", "x:u8* scale:u16* indices:i64* y:f32* count:int width:int")
def gather_int4(v: Any) -> Any:
    """y[i, :] = row indices[i], kept in groups of 32 numbers: 16 bytes, low halves first, and a bfloat16 scale each."""
    load_u8, load_bfloat16_part, total = v.load_u8, v.load_bfloat16_part, v.sum
    floor, fma, store_part, lanes = v.floor, v.fma, v.store_part, v.lanes

    def gather(x, scale, indices, y, count, width):
        groups = (width + 31) // 32
        for i in range(count):
            for g in range(indices[i] * groups, (indices[i] + 1) * groups):
                first = (g - indices[i] * groups) * 32
                factor = total(load_bfloat16_part(scale, g, 1))
                for r in range(0, 16, lanes):
                    both, column = load_u8(x, 16 * g + r), first + r
                    high = floor(both * 0.0625)
                    store_part(y, i * width + column, width - column, (fma(high, -16.0, both) - 8.0) * factor)
                    store_part(y, i * width + column + 16, width - column - 16, (high - 8.0) * factor)

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
