"""This machine as a target: its own form and the narrower ones."""

import functools
import os

from edgelstm.errors import DeviceError
from edgelstm.native import cache, processor
from edgelstm.native.target import Target


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
        narrower.insert(0, Target("sse", triple, "x86-64-v2", "", lanes=4, dot="sign"))
    if widest.name == "avx512":
        narrower.insert(0, Target("avx2", triple, "x86-64-v3", "", lanes=8, dot="sign"))
    return (widest, *(target for target in narrower if target.name != widest.name))


@functools.cache
def _detect() -> Target:
    """This machine as LLVM describes it; a processor that it described before is not described again."""
    known = processor.identity()
    found = None if known is None else cache.find_host(known)
    if found is None:
        found = _ask()
        _keep(found)
    return found


def keep_host() -> None:
    """Puts what is known of this machine into the cache, even where another directory of it has it."""
    _keep(_detect())


def _keep(target: Target) -> None:
    processor.teach(target)
    known = processor.identity()
    if known is not None:
        cache.keep_host(known, target)


def _ask() -> Target:
    import llvmlite.binding as llvm

    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    features = llvm.get_host_cpu_features()
    text = features.flatten()
    if _is_arm(triple):
        return Target("neon", triple, cpu, text, lanes=4, dot="sdot" if features.get("dotprod") else "neon")
    if not triple.startswith("x86_64"):
        return Target("scalar", triple, cpu, text, lanes=1)
    if all(features.get(name) for name in ("avx512f", "avx512bw", "avx512dq", "avx512vl")):
        return Target("avx512", triple, cpu, text, lanes=16, dot="vnni" if features.get("avx512vnni") else "madd")
    if features.get("avx2") and features.get("fma"):
        return Target("avx2", triple, cpu, text, lanes=8, dot="vnni" if features.get("avxvnni") else "sign")
    return Target("sse", triple, cpu, text, lanes=4, dot="sign" if features.get("ssse3") else "madd")


def _is_arm(triple: str) -> bool:
    return triple.startswith(("aarch64", "arm64"))
