"""Weights and rows of reduced precision for kernel tests, written from the contract of the formats alone."""

import numpy as np

from edgelstm.ops.stored import Stored, pack_nibbles

FORMATS = ("bfloat16", "int8", "int8x16", "int4")


def bfloat16_bits(x):
    """The upper halves of float32 numbers, rounded half to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)


def stored(weights, precision):
    """A matrix in a precision, scales by the largest weight."""
    weights = np.asarray(weights, np.float32)
    if precision == "bfloat16":
        return Stored(precision, bfloat16_bits(weights), None, weights.shape)
    if precision != "int4":
        scale = np.maximum(abs(weights).max(0, initial=0) / 127, 1e-12).astype(np.float32)
        return Stored(precision, np.rint(weights / scale).astype(np.int8), scale, weights.shape)
    groups = -(-weights.shape[0] // 32)
    padded = np.zeros((groups, 32, weights.shape[1]), np.float32)
    padded.reshape(-1, weights.shape[1])[: weights.shape[0]] = weights
    bits = bfloat16_bits(np.maximum(abs(padded).max(1) / 7, 1e-12))
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    numbers = np.clip(np.rint(padded / wide[:, None]), -8, 7).astype(np.int8).reshape(-1, weights.shape[1])
    return Stored(precision, pack_nibbles(numbers[: weights.shape[0]]), bits, weights.shape)


def rows_as_read(precision, scale=0.0):
    """What products of a precision read of the rows (..., n) of an array."""
    if precision in ("float32", "bfloat16"):
        return lambda x: x

    def rounded(x):
        x = np.asarray(x, np.float32)
        if scale:
            inverse, step = np.float32(1) / np.float32(scale), np.float64(np.float32(scale))
        else:
            top = abs(x).max(-1, keepdims=True, initial=0)
            small = top < 2.0**-100
            inverse = np.where(small, 0, np.float32(127) / np.where(small, 1, top)).astype(np.float32)
            step = np.where(small, 0, top / np.float32(127)).astype(np.float64)
        counted = np.clip(x * inverse, -127, 127)
        left = np.rint((counted - np.rint(counted)) * np.float32(254)) / 254 if precision == "int8x16" else 0.0
        return (np.rint(counted).astype(np.float64) + left) * step

    return rounded
