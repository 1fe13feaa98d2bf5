"""Which machine this is: LLVM's word, kept by what the processor says of itself and by nothing less."""

import os
import sys

import pytest

from edgelstm.native import cache, machine, places, processor

ON_X86 = pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="CPUID is read on x86-64 Linux")
PI = b"""processor\t: %d
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: %s

"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """An empty cache, and the questions to LLVM. `asked.again()` is the machine as a new process finds it."""
    for name in ("_first", "_temporary"):
        monkeypatch.setattr(places, name, getattr(places, name).__wrapped__)
    monkeypatch.setenv("EDGELSTM_CACHE", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    calls, ask = [], machine._ask
    monkeypatch.setattr(machine, "_ask", lambda: calls.append(1) or ask())
    calls_and_directory = type("Asked", (), {"calls": calls, "files": lambda _: sorted(tmp_path.glob("*.host")),
                                             "again": lambda _: machine._detect.__wrapped__()})
    return calls_and_directory()


@ON_X86
def test_llvm_is_asked_once_for_a_processor(asked):
    first = asked.again()
    assert len(asked.calls) == 1 and len(asked.files()) == 1
    assert asked.again() == first == machine._ask()
    assert len(asked.calls) == 2  # by the line above


@ON_X86
def test_another_processor_is_not_taken_for_this_one(asked, monkeypatch):
    asked.again()
    words = processor.identity()
    for bit in range(0, 8 * len(words), 37):
        other = bytearray(words)
        other[bit // 8] ^= 1 << bit % 8
        assert cache.find_host(bytes(other)) is None
    monkeypatch.setattr(cache, "compiler", lambda: "another version of LLVM")
    assert cache.find_host(words) is None


@ON_X86
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1],
                                    lambda content: content[:40] + b"x" + content[41:]])
def test_a_damaged_description_is_asked_for_again(asked, damage):
    first = asked.again()
    (file,) = asked.files()
    file.write_bytes(damage(file.read_bytes()))
    assert asked.again() == first and len(asked.calls) == 2
    assert asked.again() == first and len(asked.calls) == 2


def test_where_a_processor_says_nothing_llvm_is_asked_every_time(asked, monkeypatch):
    monkeypatch.setattr(processor, "identity", lambda: None)
    assert asked.again() == asked.again()
    assert len(asked.calls) == 2 and asked.files() == []


@ON_X86
def test_every_core_says_the_same(asked):
    asked.again()
    allowed = os.sched_getaffinity(0)
    try:
        found = set()
        for core in allowed:
            os.sched_setaffinity(0, {core})
            found.add(processor.identity())
    finally:
        os.sched_setaffinity(0, allowed)
    assert len(found) == 1 and None not in found


def test_linux_describes_kinds_of_cores_on_aarch64():
    small, large = (b"".join(PI % (core, part) for core in range(2)) for part in (b"0xd03", b"0xd08"))
    both = processor._kinds_of_cores(small + large)
    assert both == processor._kinds_of_cores(large + small) == processor._kinds_of_cores(large + small + large)
    assert len({both, processor._kinds_of_cores(small), processor._kinds_of_cores(large)}) == 3
    assert processor._kinds_of_cores(small.replace(b"crc32", b"sve")) != processor._kinds_of_cores(small)
    assert processor._kinds_of_cores(b"processor\t: 0\nvendor_id\t: unknown\n") is None
