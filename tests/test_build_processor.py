"""A native build knows which instructions it needs, and refuses a processor without them instead of crashing on it."""

import ctypes
import json
import sys
from dataclasses import replace

import llvmlite.binding as llvm
import pytest

import edgelstm
from edgelstm.aot.native import processor as made
from edgelstm.aot.runtime import processor
from edgelstm.native import host
from edgelstm.native.target import CROSS_TARGETS
from tests.built import cell

# What Linux calls some features in /proc/cpuinfo, where it differs from LLVM's name.
FLAGS = {"sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "bmi": "bmi1", "lzcnt": "abm", "avxvnni": "avx_vnni",
         "avx512vbmi2": "avx512_vbmi2", "avx512vnni": "avx512_vnni", "avx512bitalg": "avx512_bitalg",
         "avx512vpopcntdq": "avx512_vpopcntdq", "avx512fp16": "avx512_fp16", "avx512bf16": "avx512_bf16", "avxifma": "avx_ifma"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("built") / "m"
    edgelstm.build(cell("lstm"), place)
    return place


@pytest.fixture
def words(folder):
    listed = json.loads((folder / "model.json").read_text())
    found = processor.read(listed["name"], ctypes.CDLL(str(folder / listed["library"])))
    if len(found) != 7:
        pytest.skip("the words are those of x86-64")
    return found


def has(words, bit):
    return bool(words[bit[0]] >> bit[1] & 1)


def test_features_are_those_that_llvm_sees(words):
    seen = llvm.get_host_cpu_features()
    assert {name: has(words, bit) for name, bit in made._X86.items()} == {name: bool(seen.get(name)) for name in made._X86}
    assert all(has(words, bit) == bool(seen.get(name)) for name, (_, bit) in made._X86_SYSTEM.items())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/cpuinfo")
def test_features_are_those_that_the_kernel_shows(words):
    with open("/proc/cpuinfo") as file:
        flags = set(next(line for line in file if line.startswith("flags")).split())
    shown = {name: bit for name, bit in made._X86.items() if FLAGS.get(name, name) in flags}
    assert shown and all(has(words, bit) for bit in shown.values())


def test_a_build_needs_what_its_cpu_has(folder):
    listed = json.loads((folder / "model.json").read_text())
    assert listed["cpu"] == host().cpu and listed["needs"] == {name: list(bit) for name, bit in made.needs(host()).items()}
    assert made.needs(CROSS_TARGETS["x86-64-v2"]).keys() < made.needs(CROSS_TARGETS["x86-64-v3"]).keys()
    assert "avx2" in made.needs(CROSS_TARGETS["x86-64-v3"]) and made.needs(CROSS_TARGETS["riscv64"]) == {}
    pi = replace(CROSS_TARGETS["aarch64"], features="+neon,+dotprod,-sve,+crc")
    assert made.needs(pi) == {"neon": (0, 1), "dotprod": (0, 20)}


def test_a_processor_that_lacks_something_is_refused(folder, words, monkeypatch):
    listed = json.loads((folder / "model.json").read_text())
    name, (word, bit) = next(iter(listed["needs"].items()))
    monkeypatch.setattr(processor, "read", lambda *_: [w & ~(1 << bit) if n == word else w for n, w in enumerate(words)])
    with pytest.raises(edgelstm.DeviceError, match=f"made for {host().cpu}.*lacks {name};"):
        edgelstm.load(folder)
    monkeypatch.setattr(processor, "read", lambda *_: [])
    assert edgelstm.load(folder).verify().ok
