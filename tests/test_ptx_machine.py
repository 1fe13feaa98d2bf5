"""The machine that executes PTX (tests/ptx): what it computes, and what it refuses, by kernels of a few lines."""

import numpy as np
import pytest

from tests.ptx import machine
from tests.ptx.machine import Grid, Violation
from tests.ptx.parse import UnknownCode, parse

pytestmark = pytest.mark.skipif(machine.compiler() is None, reason="no C compiler is installed (apt install gcc)")

KERNEL = """
.version 8.0
.target sm_90
.address_size 64
.shared .align 16 .b8 memory[256];
.visible .entry kernel(
	.param .u64 kernel_param_0,
	.param .u64 kernel_param_1
)
{{
	.reg .pred %p<9>;
	.reg .f32 %f<9>;
	.reg .b32 %r<9>;
	.reg .b64 %rd<9>;
	ld.param.u64 %rd1, [kernel_param_0];
	ld.param.u64 %rd2, [kernel_param_1];
	mov.u32 %r1, %tid.x;
	mov.u32 %r2, %ctaid.x;
	mul.wide.u32 %rd3, %r1, 4;
	add.s64 %rd4, %rd1, %rd3;
	mov.u64 %rd5, memory;
	add.s64 %rd6, %rd5, %rd3;
	mov.u32 %r3, 7;
{body}
	ret;
}}
"""
MEETING = """
	setp.ne.s32 %p1, %r2, 0;
	@%p1 bra $READ;
	st.global.u32 [%rd1], %r3;
	bar.sync 0;
	{fence}
	atom.global.add.u64 %rd7, [%rd2], 1;
	bra $END;
$READ:
	ld.acquire.gpu.global.u64 %rd7, [%rd2];
	setp.eq.s64 %p2, %rd7, 0;
	@%p2 bra $READ;
	bar.sync 0;
	ld.global.u32 %r4, [%rd1];
	st.global.u32 [%rd1+4], %r4;
$END:
"""


def run(body, blocks=1, threads=32, seed=0, words=64):
    """The words that a kernel leaves, and a counter."""
    found, counter = np.zeros(words, np.uint32), np.zeros(1, np.int64)
    spans = [(array.ctypes.data, array.ctypes.data + array.nbytes) for array in (found, counter)]
    grid = Grid((blocks, 1, 1), (threads, 1, 1), seed=seed)
    machine.run(parse(KERNEL.format(body=body)), grid, [begin for begin, _ in spans], spans)
    return found


@pytest.mark.parametrize(("body", "message"), [
    ("ld.global.u32 %r4, [%rd4+4096];", "outside of all arrays"),
    ("ld.global.v2.u32 {%r4, %r5}, [%rd4];", "not aligned"),
    ("st.shared.u32 [%rd5+256], %r3;", "of shared memory, which has 256"),
    ("ld.global.u32 %r4, [%rd5];", "outside of all arrays"),
    ("st.shared.u32 [%rd6], %r1; ld.shared.u32 %r4, [%rd5];", "reads what was written by|writes what was read by"),
    ("st.shared.u32 [%rd5], %r1;", "writes what was written by"),
    ("ld.shared.u32 %r4, [%rd5]; bar.sync 0; ld.shared.u32 %r4, [%rd5]; st.shared.u32 [%rd6], %r1;", "read by"),
    ("st.global.u32 [%rd4], %r3; ld.global.nc.u32 %r4, [%rd4];", "past the coherent caches"),
    ("setp.eq.s32 %p1, %r1, 0; @%p1 bra $ONE; bar.sync 0; bra $TWO;\n$ONE:\nbar.sync 0;\n$TWO:", "different barriers"),
    ("setp.eq.s32 %p1, %r1, 40; @%p1 bra $ONE; bar.sync 0;\n$ONE:\n$TWO:\nld.acquire.gpu.global.u64 %rd7, [%rd2];\n"
     "setp.eq.s64 %p2, %rd7, 0;\n@%p2 bra $TWO;", "without end"),
    ("mov.u32 %r4, 0; div.s32 %r5, %r3, %r4;", "divides by zero"),
    ("shfl.sync.bfly.b32 %r4, %r1, 16, 31, 65535;", "not in the mask"),
    ("$ONE:\nbra $ONE;", "without end"),
])  # fmt: skip
def test_what_is_refused(body, message):
    with pytest.raises(Violation, match=message):
        run(body)


def test_blocks_that_write_the_same_word():
    with pytest.raises(Violation, match="written by thread 0 of block"):
        run("st.global.u32 [%rd4], %r3;", blocks=3, threads=1)


@pytest.mark.parametrize("body", ["frobnicate.f32 %f1, %f2;", "add.rz.f32 %f1, %f2, %f3;", "mov.u32 %r4, %unheard;"])
def test_unknown_code_is_named(body):
    with pytest.raises(UnknownCode, match=r"line \d+: \w"):
        run(body)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_meet_with_a_fence_and_an_acquisition(seed):
    assert list(run(MEETING.format(fence="membar.gl;"), 2, 1, seed)[:2]) == [7, 7]
    with pytest.raises(Violation, match="no barrier lies between"):
        run(MEETING.format(fence=""), 2, 1, seed)
    with pytest.raises(Violation, match="no barrier lies between"):
        run(MEETING.format(fence="membar.gl;").replace("ld.acquire.gpu.global", "ld.volatile.global"), 2, 1, seed)


def test_threads_exchange_through_shared_memory():
    found = run("""
	st.shared.u32 [%rd6], %r1;
	bar.sync 0;
	xor.b32 %r4, %r1, 63;
	mul.wide.u32 %rd7, %r4, 4;
	add.s64 %rd7, %rd7, %rd5;
	ld.shared.u32 %r5, [%rd7];
	st.global.u32 [%rd4], %r5;
    """, threads=64)
    assert list(found) == list(range(64))[::-1]


@pytest.mark.parametrize(("mode", "by", "clamp", "wanted"), [
    ("bfly", 5, 31, lambda lane: lane ^ 5), ("up", 3, 0, lambda lane: lane - 3 if lane >= 3 else lane),
    ("down", 3, 31, lambda lane: lane + 3 if lane < 29 else lane), ("idx", 6, 31, lambda lane: 6),
    ("idx", 6, 24 << 8 | 31, lambda lane: lane // 8 * 8 + 6)])
def test_threads_of_a_warp_exchange(mode, by, clamp, wanted):
    found = run(f"shfl.sync.{mode}.b32 %r4|%p1, %r1, {by}, {clamp}, -1;\nst.global.u32 [%rd4], %r4;")
    assert list(found[:32]) == [wanted(lane) for lane in range(32)]


def computed(name, kinds, *given):
    """What an instruction gives for numbers of some kinds: that of the result, then of what it is given."""
    letters = {"f": "%f", "u": "%r"}
    code = [f"mov.b32 {letters[kind[0]]}{k + 2}, {word};" for k, (kind, word) in enumerate(zip(kinds[1:], given, strict=True))]
    result = letters[kinds[0][0]] + "1" if kinds[0] != "pred" else "%p1"
    parts = ", ".join([result, *(f"{letters[kind[0]]}{k + 2}" for k, kind in enumerate(kinds[1:]))])
    shown = "selp.u32 %r8, 1, 0, %p1;" if kinds[0] == "pred" else f"mov.b32 %r8, {result};"
    return run("\n".join([*code, f"{name} {parts};", shown, "st.global.u32 [%rd1], %r8;"]), threads=1)[0]


def bits(number):
    return int(np.float32(number).view(np.uint32))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(("name", "given", "wanted"), [
    ("min.f32", (NAN, 2.0), 2.0), ("max.f32", (1.0, NAN), 1.0), ("min.f32", (-0.0, 0.0), -0.0), ("max.f32", (-0.0, 0.0), 0.0),
    ("fma.rn.f32", (1 + 2.0**-12, 1 + 2.0**-12, -1.0), 2.0**-11 + 2.0**-24), ("copysign.f32", (-0.0, 3.0), -3.0),
    ("cvt.rni.f32.f32", (2.5,), 2.0), ("div.rn.f32", (1.0, 3.0), np.float32(1) / np.float32(3)), ("rcp.rn.f32", (0.0,), INF),
])  # fmt: skip
def test_floats(name, given, wanted):
    assert computed(name, ["f"] * (1 + len(given)), *map(bits, given)) == bits(wanted)


@pytest.mark.parametrize(("name", "number", "wanted"), [
    ("cvt.rzi.s32.f32", 3e9, 2**31 - 1), ("cvt.rzi.s32.f32", -3e9, -(2**31)), ("cvt.rzi.s32.f32", NAN, 0),
    ("cvt.rni.s32.f32", 2.5, 2), ("cvt.rni.s32.f32", -1.5, -2),
    ("cvt.rzi.u32.f32", -1.0, 0), ("cvt.rzi.u32.f32", INF, 2**32 - 1),
])  # fmt: skip
def test_floats_to_whole_numbers(name, number, wanted):
    assert computed(name, "uf", bits(number)) == wanted % 2**32


@pytest.mark.parametrize(("name", "given", "wanted"), [
    ("dp4a.s32.s32", (0x01FF7F80, 0x02FE7F80, 5), 5 + 2 + 2 + 127 * 127 + 128 * 128), ("shl.b32", (1, 32), 0),
    ("shr.s32", (0x80000000, 40), 0xFFFFFFFF), ("shr.u32", (0x80000000, 31), 1), ("bfi.b32", (0xF, 0, 8, 4), 0xF00),
    ("bfe.s32", (0xF0, 4, 4), 0xFFFFFFFF), ("prmt.b32", (0x33221100, 0x77665544, 0x7530), 0x77553300),
    ("div.s32", (-7 % 2**32, 2), -3 % 2**32), ("rem.s32", (-7 % 2**32, 2), -1 % 2**32), ("mul.lo.s32", (1 << 20, 1 << 20), 0),
    ("mul.hi.s32", (-1 % 2**32, 2), 0xFFFFFFFF), ("min.s32", (-1 % 2**32, 1), -1 % 2**32),
    ("max.u32", (-1 % 2**32, 1), -1 % 2**32),
    ("cvt.s32.s8", (0x80,), -128 % 2**32), ("cvt.u32.u8", (0x180,), 0x80), ("lop3.b32", (0xC, 0xA, 0x6, 0x96), 0xC ^ 0xA ^ 0x6),
])  # fmt: skip
def test_whole_numbers(name, given, wanted):
    assert computed(name, ["u"] * (1 + len(given)), *given) == wanted


@pytest.mark.parametrize(("name", "given", "wanted"), [
    ("ne", (NAN, 1.0), 0), ("neu", (NAN, 1.0), 1), ("lt", (NAN, 1.0), 0), ("geu", (NAN, 1.0), 1), ("num", (NAN, 1.0), 0),
    ("nan", (NAN, 1.0), 1), ("eq", (0.0, -0.0), 1), ("le", (1.0, 1.0), 1)])
def test_comparisons(name, given, wanted):
    assert computed(f"setp.{name}.f32", ["pred", "f", "f"], *map(bits, given)) == wanted
