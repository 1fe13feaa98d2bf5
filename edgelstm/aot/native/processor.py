"""Which instructions of its processor a native build needs, and the object that reads what a processor has.

A feature is a bit of one of the words that `<m>_processor(uint32_t words[7])` fills on x86-64, or of those that Linux gives
for AArch64. Only features that LLVM makes use of by itself are listed.
"""

from dataclasses import replace

import llvmlite.binding as llvm

from edgelstm.native import cpuid
from edgelstm.native.optimise import emit
from edgelstm.native.target import Target

Bit = tuple[int, int]  # of a word, its place

# Words: XCR0, which the system sets, and what these leaves of CPUID say.
_LEAVES = ((1, 0, "c"), (7, 0, "bcd"), (7, 1, "a"), (0x80000001, 0, "c"))
_X86: dict[str, Bit] = {
    "sse3": (1, 0), "ssse3": (1, 9), "fma": (1, 12), "sse4.1": (1, 19), "sse4.2": (1, 20), "movbe": (1, 22),
    "popcnt": (1, 23), "avx": (1, 28), "f16c": (1, 29), "bmi": (2, 3), "avx2": (2, 5), "bmi2": (2, 8), "avx512f": (2, 16),
    "avx512dq": (2, 17), "avx512ifma": (2, 21), "avx512cd": (2, 28), "avx512bw": (2, 30), "avx512vl": (2, 31),
    "avx512vbmi": (3, 1), "avx512vbmi2": (3, 6), "gfni": (3, 8), "avx512vnni": (3, 11), "avx512bitalg": (3, 12),
    "avx512vpopcntdq": (3, 14), "avx512fp16": (4, 23), "avxvnni": (5, 4), "avx512bf16": (5, 5), "avxifma": (5, 23),
    "lzcnt": (6, 5), "xop": (6, 11), "fma4": (6, 16), "tbm": (6, 21)}  # fmt: skip
_X86_SYSTEM: dict[str, tuple[str, Bit]] = {  # feature: what the operating system must keep for it
    "avx": ("AVX registers (operating system)", (0, 2)), "avx512f": ("AVX-512 registers (operating system)", (0, 7))}
_X86_LEVELS = {"x86-64-v2": ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")}
_X86_LEVELS["x86-64-v3"] = (*_X86_LEVELS["x86-64-v2"], "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")

# Words: AT_HWCAP and AT_HWCAP2.
_AARCH64: dict[str, Bit] = {"neon": (0, 1), "fullfp16": (0, 10), "rdm": (0, 12), "dotprod": (0, 20), "sve": (0, 22),
                            "sve2": (1, 1), "i8mm": (1, 13), "bf16": (1, 14)}


def needs(target: Target) -> dict[str, Bit]:
    """What a processor must have to run code made for this target: bits by name; none where nothing tells them."""
    known = _X86 if _is_x86(target) else _AARCH64 if target.triple.startswith("aarch64") and "linux" in target.triple else {}
    wanted = [name.removeprefix("+") for name in target.features.split(",") if name.startswith("+")]
    wanted += _X86_LEVELS.get(target.cpu, ())
    found = {name: known[name] for name in dict.fromkeys(wanted) if name in known}
    return found | (dict(_X86_SYSTEM[name] for name in found if name in _X86_SYSTEM) if _is_x86(target) else {})


def reader(prefix: str, target: Target) -> bytes | None:
    """The object of `<prefix>_processor`, which runs on any processor of the family; None where nothing need be read by it."""
    if not _is_x86(target):
        return None
    llvm.initialize_native_asmparser()
    return emit(cpuid.reader(f"{prefix}_processor", _LEAVES), replace(target, cpu="x86-64", features="", lanes=4))


def _is_x86(target: Target) -> bool:
    return target.triple.startswith("x86_64")
