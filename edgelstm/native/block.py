"""Argument blocks: what a compiled kernel reads its parameters from."""

import numpy as np

from edgelstm import kernels

_DTYPES = {"f32*": np.float32, "i8*": np.int8, "i16*": np.int16, "i32*": np.int32, "i64*": np.int64, "u8*": np.uint8,
           "u16*": np.uint16}

Argument = np.ndarray | int | float | None


def block(name: str, **arguments: Argument) -> np.ndarray:
    """The argument block of a kernel: int64, one word for each parameter.

    A pointer is given as an array, which the caller keeps alive, as an address, or as None for null.
    """
    params = kernels.get(name).params
    if arguments.keys() != {param for param, _ in params}:
        wrong = sorted(arguments.keys() ^ {param for param, _ in params})
        raise TypeError(f"kernel {name!r}: missing or unknown arguments {', '.join(wrong)}")
    return np.array([_word(name, param, kind, arguments[param]) for param, kind in params], dtype=np.int64)


def _word(name: str, param: str, kind: str, value: Argument) -> int:
    if kind == "f32":
        return int(np.float32(value).view(np.int32)) & 0xFFFFFFFF
    if isinstance(value, np.ndarray):
        if value.dtype != _DTYPES.get(kind) or not value.flags.c_contiguous:
            raise TypeError(f"kernel {name!r}: {param} wants a contiguous {kind}, not {value.dtype}")
        return value.ctypes.data
    return 0 if value is None else int(value)
