"""Pointers for kernels that run as plain Python."""

from typing import Any

import numpy as np


class Pointer:
    """A pointer into a one-dimensional array, or null where the array is None. Access out of bounds is an error."""

    def __init__(self, array: np.ndarray | None) -> None:
        self.array = array

    def __getitem__(self, i: int) -> Any:
        return self.span(i, 1)[0]

    def __setitem__(self, i: int, value: Any) -> None:
        self.span(i, 1)[0] = value

    def span(self, i: int, n: int) -> np.ndarray:
        """A view of the n elements from i on."""
        return self._within(self._followed(), i, n)

    def octets(self, i: int, n: int, after: int = 0) -> np.ndarray:
        """A view of n bytes, the first of which lies `after` bytes beyond the start of element i."""
        array = self._followed()
        return self._within(array.view(np.uint8), i * array.itemsize + after, n)

    def _followed(self) -> np.ndarray:
        if self.array is None:
            raise IndexError("a null pointer is followed")
        return self.array

    @staticmethod
    def _within(array: np.ndarray, i: int, n: int) -> np.ndarray:
        if i < 0 or i + n > array.size:
            raise IndexError(f"elements {i} to {i + n} of {array.size}")
        return array[i : i + n]
