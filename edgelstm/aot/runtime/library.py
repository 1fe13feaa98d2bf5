"""The shared library of a native build."""

import ctypes
import os

import numpy as np

from edgelstm.aot.runtime import processor
from edgelstm.aot.runtime.interface import Interface
from edgelstm.errors import FormatError
from edgelstm.memory import address, weights_copy

BRIEF_NBYTES = 1 << 20  # a step over fewer bytes of weights ends before another thread could make use of the interpreter


class Library:
    """The machine code. Threads may share it; addresses are plain integers.

    `init(state)`, `run(state, arena, steps, *frames)`, and `call(table)`: one step, its pointers in a table that `table` makes.
    """

    def __init__(self, interface: Interface) -> None:
        path = interface.folder / interface.library
        try:
            long, brief = ctypes.CDLL(os.fspath(path)), ctypes.PyDLL(os.fspath(path))
        except OSError as error:
            raise FormatError(f"{path}: cannot be loaded ({error}); build the model on this machine") from None
        processor.check(interface, long)
        self._weights = self._read_weights(interface)
        first = [] if self._weights is None else [address(self._weights)]
        count = len(interface.input_frames) + len(interface.output_frames)
        pointer = ctypes.c_void_p
        self.init = self._function(long, f"{interface.name}_init", [pointer])
        run = self._function(long, f"{interface.name}_run", [*[pointer] * (len(first) + 2), ctypes.c_int32, *[pointer] * count])
        self.run = run if not first else lambda *args: run(*first, *args)
        door = brief if interface.weights_nbytes <= BRIEF_NBYTES else long
        self.call = self._function(door, f"{interface.name}_call", [pointer])
        self._first = first

    def table(self, *pointers: int) -> np.ndarray:
        """What `call` takes the address of: state, arena and frames."""
        return np.array([*self._first, *pointers], np.uintp)

    @staticmethod
    def _read_weights(interface: Interface) -> np.ndarray | None:
        if not interface.weights:
            return None
        path = interface.folder / interface.weights
        try:
            found = np.fromfile(path, np.uint8)
        except OSError as error:
            raise FormatError(f"{path}: cannot read the weights: {error.strerror}") from None
        if found.nbytes != interface.weights_nbytes:
            raise FormatError(f"{path}: has {found.nbytes} bytes, not {interface.weights_nbytes}; build the model again")
        return weights_copy(found)

    @staticmethod
    def _function(library: ctypes.CDLL, name: str, argtypes: list[type]) -> "ctypes._FuncPtr":
        function = library[name]
        function.argtypes, function.restype = argtypes, None
        return function
