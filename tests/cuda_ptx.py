"""What compiled hot kernels must hold, and what not: float64, and memory of the thread that should be registers."""

import re

from edgelstm.cuda import ahead
from edgelstm.cuda.driver import types
from edgelstm.cuda.fused import expressions
from edgelstm.cuda.fused.expressions import Apply, Load, Stored

PERSISTENT = "lstm float32, 4 rows, weights in shared memory, persistent"
CLUSTER = "lstm float32, 4 rows, weights in shared memory, cluster"
TESTED = ("gemm tall float32", "lstm float32, 4 rows, step 0", "gru bfloat16, 4 rows, weights in shared memory, whole",
          "gru_before float32, 4 rows, step 1", PERSISTENT, "gemm tall int8",
          "lstm int8, 4 rows, weights in global memory, whole", "gru int4, 4 rows, step 0",
          "lstm float32, 4 rows, weights in registers, whole", "gru int8, 4 rows, weights in registers, whole")


def assert_compiles(capability: tuple[int, int]) -> None:
    tested = [name for name in (*TESTED, CLUSTER) if ahead.compiles(name, capability)]
    found = {name: ahead.ptx(kernel, signature, capability)
             for name, kernel, signature in ahead.hot_kernels() if name in tested}
    assert sorted(found) == sorted(tested) and len(tested) == len(TESTED) + (capability >= (9, 0))
    for name, text in found.items():
        assert f".target sm_{capability[0]}{capability[1]}" in text, name
        assert "fma.rn.f32" in text, name
        assert ("dp4a.s32.s32" in text) == ("int" in name), name
        assert not re.search(r"\.f64|(ld|st)\.local", text), f"{name} computes in float64 or keeps its sums in local memory"
        assert "memory" not in name or "int" in name or re.search(r"ld\.shared\.v[24]\.", text), f"{name} reads h word by word"
    assert_meets(found[PERSISTENT])
    for name, text in found.items():
        assert_clustered(text, name == CLUSTER)


def assert_clustered(text: str, expected: bool) -> None:
    """Meetings before the first step, between two, and behind the last: each an arrival that releases and a wait that acquires.
    h goes to the other blocks.
    """
    meeting = r"barrier\.cluster\.arrive\.release\.aligned;\s*barrier\.cluster\.wait\.acquire\.aligned;"
    assert bool(re.search(meeting, text)) == expected
    sent = re.findall(r"mapa\.shared::cluster\.u32 \w+, \w+, %r\d+;\s*st\.shared::cluster\.f32", text)
    assert bool(sent) == expected == bool(re.search(r"\.shared::cluster", text))
    assert not expected or len(re.findall(meeting, text)) == len(re.findall(r"barrier\.cluster", text)) / 2 >= 3
    assert not expected or "atom." not in text, "a cluster needs no counters"


def assert_meets(text: str) -> None:
    """Blocks arrive with an atomic addition behind a fence, and wait in a loop that reads the counter anew each time."""
    assert re.search(r"atom\.(global\.)?add\.u64", text) and "membar.gl" in text
    waits = len(re.findall(r"ld\.acquire\.gpu\.global\.s64", text))
    loop = r"^(\$L\w+):(?:(?!\$L|bra)[\s\S])*?ld\.acquire\.gpu(?:(?!\$L\w+:|bra)[\s\S])*?bra\s+\1;"
    loops = re.findall(loop, text, re.MULTILINE)
    assert waits and len(loops) * 2 >= waits, f"{waits} reads of the counter, {len(loops)} of them in a loop"


def assert_rounds() -> None:
    """What one call multiplies and another adds is rounded in between, as in memory: without the .rn of the addition the
    assembler makes an fma of both, and x * x - y * y is not 0 where x is y.
    """
    array = types.Array(types.float32, 1, "C")
    squares = tuple(Apply("mul_f32", (Load(k, None), Load(k, None)), 0, 0) for k in range(2))
    for name, instruction in (("add_f32", "add"), ("sub_f32", "sub")):
        kernel = expressions.kernel(Stored(Apply(name, squares, 0, 0), None))
        text = ahead.ptx(kernel, (array, types.int64, types.UniTuple(array, 2)), (7, 5))
        assert set(re.findall(r"\b((?:add|sub|fma)(?:\.rn)?\.f32)", text)) == {f"{instruction}.rn.f32"}
