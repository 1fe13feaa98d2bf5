"""Which instructions of its processor a native build needs, and the machine code that reads what a processor has.

A feature is a bit of one of the words that `<m>_processor(uint32_t words[7])` fills on x86-64, or of those that Linux gives
for AArch64. Only features that LLVM makes use of by itself are listed.
"""

from dataclasses import replace

import llvmlite.binding as llvm

from edgelstm.native.optimise import emit
from edgelstm.native.target import Target

Bit = tuple[int, int]  # of a word, its place

# Words: CPUID leaf 1 ecx, leaf 7 ebx, ecx and edx, leaf 7.1 eax, leaf 0x80000001 ecx, and XCR0, which the system sets.
_X86: dict[str, Bit] = {
    "sse3": (0, 0), "ssse3": (0, 9), "fma": (0, 12), "sse4.1": (0, 19), "sse4.2": (0, 20), "movbe": (0, 22),
    "popcnt": (0, 23), "avx": (0, 28), "f16c": (0, 29), "bmi": (1, 3), "avx2": (1, 5), "bmi2": (1, 8), "avx512f": (1, 16),
    "avx512dq": (1, 17), "avx512ifma": (1, 21), "avx512cd": (1, 28), "avx512bw": (1, 30), "avx512vl": (1, 31),
    "avx512vbmi": (2, 1), "avx512vbmi2": (2, 6), "gfni": (2, 8), "avx512vnni": (2, 11), "avx512bitalg": (2, 12),
    "avx512vpopcntdq": (2, 14), "avx512fp16": (3, 23), "avxvnni": (4, 4), "avx512bf16": (4, 5), "avxifma": (4, 23),
    "lzcnt": (5, 5), "xop": (5, 11), "fma4": (5, 16), "tbm": (5, 21)}  # fmt: skip
_X86_SYSTEM: dict[str, tuple[str, Bit]] = {  # feature: what the operating system must keep for it
    "avx": ("AVX registers (operating system)", (6, 2)), "avx512f": ("AVX-512 registers (operating system)", (6, 7))}
_X86_LEVELS = {"x86-64-v2": ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")}
_X86_LEVELS["x86-64-v3"] = (*_X86_LEVELS["x86-64-v2"], "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")

# Words: AT_HWCAP and AT_HWCAP2.
_AARCH64: dict[str, Bit] = {"neon": (0, 1), "fullfp16": (0, 10), "rdm": (0, 12), "dotprod": (0, 20), "sve": (0, 22),
                            "sve2": (1, 1), "i8mm": (1, 13), "bf16": (1, 14)}

_CPUID = """
define internal {i32, i32, i32, i32} @cpuid(i32 %leaf, i32 %part) {
  %found = call {i32, i32, i32, i32} asm sideeffect "cpuid", "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 %leaf, i32 %part)
  ret {i32, i32, i32, i32} %found
}
define internal i32 @word(i32 %leaf, i32 %part, i1 %known, i32 %register) {
  %all = call {i32, i32, i32, i32} @cpuid(i32 %leaf, i32 %part)
  %a = extractvalue {i32, i32, i32, i32} %all, 0
  %b = extractvalue {i32, i32, i32, i32} %all, 1
  %c = extractvalue {i32, i32, i32, i32} %all, 2
  %d = extractvalue {i32, i32, i32, i32} %all, 3
  %is_a = icmp eq i32 %register, 0
  %is_b = icmp eq i32 %register, 1
  %is_c = icmp eq i32 %register, 2
  %cd = select i1 %is_c, i32 %c, i32 %d
  %bcd = select i1 %is_b, i32 %b, i32 %cd
  %value = select i1 %is_a, i32 %a, i32 %bcd
  %shown = select i1 %known, i32 %value, i32 0
  ret i32 %shown
}
define void @NAME_processor(ptr %words) {
  %most = call i32 @word(i32 0, i32 0, i1 true, i32 0)
  %seven = icmp uge i32 %most, 7
  %parts = call i32 @word(i32 7, i32 0, i1 %seven, i32 0)
  %one = icmp uge i32 %parts, 1
  %ext = call i32 @word(i32 -2147483648, i32 0, i1 true, i32 0)
  %far = icmp uge i32 %ext, -2147483647
"""
_WORDS = ((1, 0, "true", 2), (7, 0, "%seven", 1), (7, 0, "%seven", 2), (7, 0, "%seven", 3), (7, 1, "%one", 0),
          (-2147483647, 0, "%far", 2))  # leaf, part, whether the processor has it, register
_XCR0 = """  %osxsave = and i32 %w0, 134217728
  %kept = icmp ne i32 %osxsave, 0
  br i1 %kept, label %read, label %done
read:
  %xcr0 = call {i32, i32} asm sideeffect "xgetbv", "={ax},={dx},{cx}"(i32 0)
  %low = extractvalue {i32, i32} %xcr0, 0
  br label %done
done:
  %w6 = phi i32 [ 0, %0 ], [ %low, %read ]
  %p6 = getelementptr i32, ptr %words, i32 6
  store i32 %w6, ptr %p6
  ret void
}
"""


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
    text = _CPUID.replace("NAME", prefix)
    for number, (leaf, part, known, register) in enumerate(_WORDS):
        text += (f"  %w{number} = call i32 @word(i32 {leaf}, i32 {part}, i1 {known}, i32 {register})\n"
                 f"  %p{number} = getelementptr i32, ptr %words, i32 {number}\n  store i32 %w{number}, ptr %p{number}\n")
    return emit(text + _XCR0, replace(target, cpu="x86-64", features="", lanes=4))


def _is_x86(target: Target) -> bool:
    return target.triple.startswith("x86_64")
