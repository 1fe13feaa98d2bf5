"""Whether this processor can run the machine code of a native build: told before an instruction that it does not have."""

import ctypes
import os
import platform
from collections.abc import Sequence

from edgelstm.aot.runtime.interface import Interface
from edgelstm.errors import DeviceError

_WORDS = 7  # that the library's own function gives
_AUXILIARY = (16, 26)  # AT_HWCAP and AT_HWCAP2 of Linux


def check(interface: Interface, library: ctypes.CDLL) -> None:
    """Raise DeviceError where this processor lacks what the code was made for. What cannot be read here is not checked."""
    words = read(interface.name, library)
    lacking = [name for name, (word, bit) in interface.needs.items() if word < len(words) and not words[word] >> bit & 1]
    if lacking:
        raise DeviceError(f"{os.fspath(interface.folder)}: this build was made for {interface.cpu}, and this processor lacks "
                          f"{', '.join(lacking)}; build the model on this machine")


def read(name: str, library: ctypes.CDLL) -> Sequence[int]:
    """The words that say what this processor can do; none where they cannot be read."""
    if hasattr(library, f"{name}_processor"):
        words = (ctypes.c_uint32 * _WORDS)()
        library[f"{name}_processor"](ctypes.byref(words))
        return list(words)
    if platform.system() == "Linux" and platform.machine() == "aarch64":
        auxiliary = ctypes.CDLL(None).getauxval
        auxiliary.argtypes, auxiliary.restype = [ctypes.c_ulong], ctypes.c_ulong
        return [auxiliary(kind) for kind in _AUXILIARY]
    return []
