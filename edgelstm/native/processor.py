"""What a processor says of itself: the words from which LLVM concludes its name and its features.

They name the description that LLVM gave of it, so that LLVM need not be asked again. On x86-64 they come from CPUID, which
needs machine code: an image that any such processor can run. On AArch64, LLVM reads what Linux says, and so does this module.
"""

import ctypes
import os
import sys

from edgelstm.native import cache, mapped
from edgelstm.native.target import Target

_READER = "edgelstm_processor"
_READING = Target("processor", "x86_64-unknown-linux-gnu", "x86-64", "", lanes=4)
# CPUID leaves that LLVM reads, their parts, and the registers that hold features: others differ from core to core.
_LEAVES = ((0, 0, "abcd"), (1, 0, "acd"), (7, 0, "abcd"), (7, 1, "abcd"), (0xD, 1, "a"), (0x14, 0, "b"), (0x19, 0, "b"),
           (0x1E, 1, "a"), (0x24, 0, "b"), (0x80000001, 0, "cd"), (0x80000008, 0, "b"))  # fmt: skip
_WORDS = 1 + sum(len(registers) for _, _, registers in _LEAVES)
_COUNTED = (b"processor", b"BogoMIPS")  # of a core or of the moment


def identity() -> bytes | None:
    """The words of this processor; None where they are not known, or not yet."""
    if sys.platform != "linux":
        return None
    machine = os.uname().machine
    return _cpuid() if machine == "x86_64" else _described_by_linux() if machine == "aarch64" else None


def teach(target: Target) -> None:
    """Puts the code that reads the words into the cache, where this machine needs it."""
    if sys.platform != "linux" or not target.triple.startswith("x86_64"):
        return
    import llvmlite.binding as llvm

    from edgelstm.native.cpuid import reader
    from edgelstm.native.linking import image
    from edgelstm.native.optimise import emit

    llvm.initialize_native_asmparser()
    found = image(emit(reader(_READER, _LEAVES), _READING))
    if found is not None:
        cache.keep_image(_READER, _READING, found)


def _cpuid() -> bytes | None:
    image = cache.find_image(_READER, _READING)
    addresses = None if image is None else mapped.addresses(image)
    if addresses is None:
        return None
    words = (ctypes.c_uint32 * _WORDS)()
    ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(addresses[_READER])(ctypes.addressof(words))
    return bytes(words)


def _described_by_linux() -> bytes | None:
    try:
        with open("/proc/cpuinfo", "rb") as file:
            return _kinds_of_cores(file.read())
    except OSError:
        return None


def _kinds_of_cores(text: bytes) -> bytes | None:
    """What Linux says of AArch64 cores, without which of them is which; None where it does not say it."""
    lines = {line for line in text.split(b"\n") if not line.startswith(_COUNTED)}
    return b"\n".join(sorted(lines)) if any(line.startswith(b"CPU implementer") for line in lines) else None
