"""The IR of a function that reads what an x86-64 processor says of itself, which any of them can run."""

from collections.abc import Iterable

Leaf = tuple[int, int, str]  # of CPUID: its number, its part, and those of the registers abcd that are read

# Leaves that a processor does not have are zeros, and so, by CPUID itself, are parts of leaf 7 that it does not have.
_READ = """
define internal {i32, i32, i32, i32} @cpuid(i32 %leaf, i32 %part) {
  %first = and i32 %leaf, -2147483648
  %bounds = call {i32, i32, i32, i32} asm sideeffect "cpuid", "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 %first, i32 0)
  %last = extractvalue {i32, i32, i32, i32} %bounds, 0
  %known = icmp ule i32 %leaf, %last
  %found = call {i32, i32, i32, i32} asm sideeffect "cpuid", "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 %leaf, i32 %part)
  %shown = select i1 %known, {i32, i32, i32, i32} %found, {i32, i32, i32, i32} zeroinitializer
  ret {i32, i32, i32, i32} %shown
}
define void @NAME(ptr %words) {
  %one = call {i32, i32, i32, i32} @cpuid(i32 1, i32 0)
  %features = extractvalue {i32, i32, i32, i32} %one, 2
  %osxsave = and i32 %features, 134217728
  %kept = icmp ne i32 %osxsave, 0
  br i1 %kept, label %read, label %rest
read:
  %xcr0 = call {i32, i32} asm sideeffect "xgetbv", "={ax},={dx},{cx}"(i32 0)
  %low = extractvalue {i32, i32} %xcr0, 0
  br label %rest
rest:
  %system = phi i32 [ 0, %0 ], [ %low, %read ]
  store i32 %system, ptr %words
"""


def reader(name: str, leaves: Iterable[Leaf]) -> str:
    """A function of a pointer to 32-bit words: XCR0, which says what the system keeps, then the registers of the leaves."""
    text, at = _READ.replace("NAME", name), 1
    for leaf, part, registers in leaves:
        text += f"  %l{at} = call {{i32, i32, i32, i32}} @cpuid(i32 {leaf}, i32 {part})\n"
        call = at
        for register in registers:
            text += (f"  %w{at} = extractvalue {{i32, i32, i32, i32}} %l{call}, {'abcd'.index(register)}\n"
                     f"  %p{at} = getelementptr i32, ptr %words, i32 {at}\n  store i32 %w{at}, ptr %p{at}\n")
            at += 1
    return text + "  ret void\n}\n"
