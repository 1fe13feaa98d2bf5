"""The machines that kernels are compiled for. Vector width, instruction choice and panel layout are decided here."""

import functools
import os
from dataclasses import dataclass

import llvmlite.binding as llvm

from edgelstm.errors import DeviceError


@dataclass(frozen=True)
class Target:
    """A machine: its LLVM names, and the float32 lanes of a vector register."""

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int
    abi: str = ""

    @property
    def vector_bits(self) -> int:
        """The width of a vector register in bits."""
        return 32 * self.lanes


CROSS_TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("x86-64-v2", "x86_64-unknown-linux-gnu", "x86-64-v2", "", lanes=4),
        Target("x86-64-v3", "x86_64-unknown-linux-gnu", "x86-64-v3", "", lanes=8),
        Target("x86-64-v4", "x86_64-unknown-linux-gnu", "x86-64-v4", "", lanes=16),
        Target("aarch64", "aarch64-unknown-linux-gnu", "cortex-a72", "", lanes=4),
        Target("cortex-m7", "thumbv7em-none-eabihf", "cortex-m7", "+fp-armv8d16", lanes=1),
        Target("riscv64", "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c", lanes=1, abi="lp64d"),
        Target("wasm32", "wasm32-unknown-unknown", "generic", "+simd128", lanes=4),
    )
}


def host() -> Target:
    """This machine, or the narrower form of it that the environment variable EDGELSTM_TARGET asks for."""
    return _host(os.environ.get("EDGELSTM_TARGET", ""))


@functools.cache
def _host(wanted: str) -> Target:
    widest = _detect()
    if not wanted:
        return widest
    forms = {target.name: target for target in host_forms()}
    if wanted not in forms:
        raise DeviceError(f"EDGELSTM_TARGET={wanted!r} is not a form of this machine; there are {', '.join(forms)}")
    return forms[wanted]


@functools.cache
def host_forms() -> tuple[Target, ...]:
    """The targets that this machine can run, widest vectors first."""
    widest = _detect()
    triple = widest.triple
    narrower = [Target("scalar", triple, "generic" if _is_arm(triple) else "x86-64-v2", "", lanes=1)]
    if widest.name in ("avx512", "avx2"):
        narrower.insert(0, Target("sse", triple, "x86-64-v2", "", lanes=4))
    if widest.name == "avx512":
        narrower.insert(0, Target("avx2", triple, "x86-64-v3", "", lanes=8))
    return (widest, *(target for target in narrower if target.name != widest.name))


@functools.cache
def _detect() -> Target:
    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    features = llvm.get_host_cpu_features()
    text = features.flatten()
    if _is_arm(triple):
        return Target("neon", triple, cpu, text, lanes=4)
    if not triple.startswith("x86_64"):
        return Target("scalar", triple, cpu, text, lanes=1)
    if all(features.get(name) for name in ("avx512f", "avx512bw", "avx512dq", "avx512vl")):
        return Target("avx512", triple, cpu, text, lanes=16)
    if features.get("avx2") and features.get("fma"):
        return Target("avx2", triple, cpu, text, lanes=8)
    return Target("sse", triple, cpu, text, lanes=4)


def _is_arm(triple: str) -> bool:
    return triple.startswith(("aarch64", "arm64"))
