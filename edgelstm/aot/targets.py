"""What `edgelstm build` compiles for: machines, and the C compiler that takes the object from there."""

import dataclasses
import functools
import re
import subprocess
import sys
from dataclasses import dataclass

import llvmlite.binding as llvm

from edgelstm.errors import BuildError
from edgelstm.native import Target, host
from edgelstm.native.optimise import target_machine
from edgelstm.native.target import CROSS_TARGETS

# The names under which a compiler's own runtime (libgcc, compiler-rt) has float32 and 64-bit arithmetic for cores without it.
_WIDE = frozenset("__divdi3 __moddi3 __udivdi3 __umoddi3 __ashldi3 __ashrdi3 __lshrdi3 __muldi3".split())
_CONVERSIONS = frozenset("__fixsfdi __floatdisf __floatundisf __fixdfdi __floatdidf".split())
_SINGLE = frozenset(
    "__addsf3 __subsf3 __mulsf3 __divsf3 __eqsf2 __nesf2 __ltsf2 __lesf2 __gtsf2 __gesf2 __unordsf2 __fixsfsi __fixunssfsi "
    "__floatsisf __floatunsisf __divsi3 __modsi3 __udivsi3 __umodsi3 __mulsi3".split())
_DOUBLE = frozenset(name.replace("sf", "df") for name in _SINGLE if "sf" in name) | {"__extendsfdf2", "__truncdfsf2"}

# The same by the names of the ARM run-time ABI.
_ARM = frozenset(
    f"__aeabi_{name}" for name in (
        "idiv uidiv idivmod uidivmod lmul ldivmod uldivmod llsl llsr lasr f2d d2f "
        + " ".join(f"{t}add {t}sub {t}mul {t}div {t}cmpeq {t}cmplt {t}cmple {t}cmpge {t}cmpgt {t}cmpun "
                   f"{t}2iz {t}2uiz {t}2lz {t}2ulz i2{t} ui2{t} l2{t} ul2{t}" for t in "fd")).split())  # fmt: skip
_ARM_SINGLE = frozenset(name for name in _ARM if re.fullmatch(r"__aeabi_(f(add|sub|mul|div|cmp..|2u?iz)|u?i2f)", name))


@dataclass(frozen=True)
class BuildTarget:
    """A target of `edgelstm build`.

    `optimize` is its default, `compiler` with `flags` the C compiler that takes the object (none for WebAssembly) and `package`
    the Debian package it comes in. `fpu` says whether the hardware computes with float32, `runtime` which functions of the
    compiler's own runtime an object may call. `any_cpu` allows another CPU of the same family.
    """

    name: str
    machine: Target
    summary: str
    optimize: str = "speed"
    compiler: str = ""
    flags: tuple[str, ...] = ()
    package: str = ""
    fpu: bool = True
    runtime: frozenset[str] = frozenset()
    any_cpu: bool = False


def _microcontroller(name: str, summary: str, *flags: str, fpu: bool = True) -> BuildTarget:
    hardware = _ARM_SINGLE | _SINGLE if fpu else frozenset()
    runtime = (_WIDE | _CONVERSIONS | _DOUBLE | _SINGLE | _ARM) - hardware
    return BuildTarget(name, CROSS_TARGETS[name], summary, "size", "arm-none-eabi-gcc", (f"-mcpu={name}", "-mthumb", *flags),
                       "gcc-arm-none-eabi", fpu, runtime)


@functools.cache
def _targets() -> dict[str, BuildTarget]:
    runtime = _WIDE | _CONVERSIONS
    bare = ("-nostdlib", "-ffreestanding")
    found = (
        BuildTarget("native", host(), "this machine; also a shared library and a Python folder", compiler="cc", package="gcc"),
        BuildTarget("x86_64-linux", CROSS_TARGETS["x86-64-v3"], "64-bit PC, AVX2 and FMA unless --cpu says otherwise",
                    compiler="x86_64-linux-gnu-gcc", package="gcc", any_cpu=True),
        BuildTarget("aarch64-linux", CROSS_TARGETS["aarch64"], "64-bit ARM, Raspberry Pi 4; --cpu cortex-a76 for the Pi 5",
                    compiler="aarch64-linux-gnu-gcc", package="gcc-aarch64-linux-gnu", any_cpu=True),
        BuildTarget("armv7-linux", CROSS_TARGETS["armv7"], "32-bit ARM with NEON, Raspberry Pi 2; flushes denormal numbers",
                    compiler="arm-linux-gnueabihf-gcc", package="gcc-arm-linux-gnueabihf", runtime=runtime, any_cpu=True),
        BuildTarget("riscv64-linux", CROSS_TARGETS["riscv64"], "64-bit RISC-V, RV64GC",
                    compiler="riscv64-linux-gnu-gcc", package="gcc-riscv64-linux-gnu", any_cpu=True),
        _microcontroller("cortex-m0", "no FPU: integer models, float32 with --soft-float", fpu=False),
        _microcontroller("cortex-m4", "single-precision FPU, DSP instructions", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        _microcontroller("cortex-m7", "FPU, DSP instructions", "-mfloat-abi=hard", "-mfpu=fpv5-d16"),
        _microcontroller("cortex-m55", "Helium vectors", "-mfloat-abi=hard"),
        BuildTarget("riscv32-none", CROSS_TARGETS["riscv32"], "RV32IMAC, no FPU: integers, float32 with --soft-float", "size",
                    "riscv64-unknown-elf-gcc", ("-march=rv32imac", "-mabi=ilp32", *bare), "gcc-riscv64-unknown-elf", False,
                    runtime | _DOUBLE | _SINGLE),
        BuildTarget("riscv32f-none", CROSS_TARGETS["riscv32f"], "RV32IMAFC, single-precision FPU", "size",
                    "riscv64-unknown-elf-gcc", ("-march=rv32imafc", "-mabi=ilp32f", *bare), "gcc-riscv64-unknown-elf", True,
                    runtime | _DOUBLE),
        BuildTarget("wasm32", CROSS_TARGETS["wasm32"], "WebAssembly with simd128, for browsers and Node", package="lld"),
    )
    return {target.name: target for target in found}


def names() -> tuple[str, ...]:
    """The targets' names."""
    return tuple(_targets())


def find(name: str, cpu: str | None = None) -> BuildTarget:
    """The target of this name, for another CPU of its family where one is given. Raises BuildError where there is none."""
    if name not in _targets():
        raise BuildError(f"there is no build target {name!r}; there are {', '.join(names())}", exit_code=2)
    target = _targets()[name]
    if cpu is None or cpu == target.machine.cpu:
        return target
    if not target.any_cpu:
        able = ", ".join(key for key, other in _targets().items() if other.any_cpu)
        raise BuildError(f"the target {name} is for {target.machine.cpu} alone; --cpu is for {able}", exit_code=2)
    known = cpus(target.machine.triple)
    if cpu not in known:
        raise BuildError(f"LLVM knows no CPU {cpu!r} for the target {name}; it knows {', '.join(known)}", exit_code=2)
    return dataclasses.replace(target, machine=_for_cpu(target.machine, cpu))


@functools.cache
def cpus(triple: str) -> tuple[str, ...]:
    """The CPUs that LLVM knows for a triple. It only prints them, to its error stream, so a process of its own asks."""
    code = ("import sys; import llvmlite.binding as llvm; llvm.initialize_all_targets(); "
            "llvm.Target.from_triple(sys.argv[1]).create_target_machine(cpu='help')")
    printed = subprocess.run([sys.executable, "-c", code, triple], capture_output=True, text=True, check=True).stderr
    listed = printed.partition("Available CPUs")[2].partition("Available features")[0]
    return tuple(re.findall(r"^  (\S+) +- Select the", listed, re.MULTILINE))


def _for_cpu(machine: Target, cpu: str) -> Target:
    """The machine with another CPU: its vectors and its way of multiplying bytes are seen in the code LLVM makes for it."""
    other = dataclasses.replace(machine, name=cpu, cpu=cpu, features="")
    if machine.triple.startswith("x86_64"):
        return _x86(other)
    if machine.triple.startswith("aarch64"):
        return dataclasses.replace(other, dot="sdot" if "sdot" in _assembly(other, _BYTES) else "neon")
    return other


_FLOATS = """define void @sum(ptr %p) {
  %x = load <16 x float>, ptr %p, align 4
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p, align 4
  ret void
}"""

_BYTES = """define <4 x i32> @dot(<4 x i32> %sum, <16 x i8> %x, <16 x i8> %y) {
  %a = sext <16 x i8> %x to <16 x i32>
  %b = sext <16 x i8> %y to <16 x i32>
  %p = mul <16 x i32> %a, %b
  %s = call <4 x i32> @llvm.vector.partial.reduce.add(<4 x i32> %sum, <16 x i32> %p)
  ret <4 x i32> %s
}
declare <4 x i32> @llvm.vector.partial.reduce.add(<4 x i32>, <16 x i32>)"""

# LLVM's names of AVX-512 machines without byte products, and of AVX2 machines with them.
_PLAIN_AVX512 = ("x86-64-v4", "skylake-avx512", "skx", "cannonlake", "knl", "knm")
_AVX_VNNI = ("alderlake", "raptorlake", "meteorlake", "gracemont", "sierraforest", "grandridge", "arrowlake", "arrowlake-s",
             "arrowlake_s", "lunarlake", "pantherlake", "clearwaterforest")  # fmt: skip


def _x86(machine: Target) -> Target:
    code = _assembly(machine, _FLOATS)
    if "%zmm" in code:
        return dataclasses.replace(machine, lanes=16, dot="madd" if machine.cpu in _PLAIN_AVX512 else "vnni")
    if "%ymm" in code:
        return dataclasses.replace(machine, lanes=8, dot="vnni" if machine.cpu in _AVX_VNNI else "sign")
    return dataclasses.replace(machine, lanes=4, dot="madd" if machine.cpu == "x86-64" else "sign")


def _assembly(machine: Target, ir: str) -> str:
    return target_machine(machine).emit_assembly(llvm.parse_assembly(ir))
