"""What a compiled hot kernel must not hold: float64, and memory of the thread that should be registers."""

import re

from edgelstm.cuda import ahead

TESTED = ("gemm tall float32", "lstm float32, 4 rows, step 0", "gru bfloat16, 4 rows, weights in shared memory, whole",
          "gru_before float32, 4 rows, step 1", "lstm float32, 4 rows, weights in shared memory, persistent")


def assert_compiles(capability: tuple[int, int]) -> None:
    found = {name: ahead.ptx(kernel, signature, capability)
             for name, kernel, signature in ahead.hot_kernels() if name in TESTED}
    assert sorted(found) == sorted(TESTED)
    for name, text in found.items():
        assert f".target sm_{capability[0]}{capability[1]}" in text, name
        assert "fma.rn.f32" in text, name
        assert not re.search(r"\.f64|(ld|st)\.local", text), f"{name} computes in float64 or keeps its sums in local memory"
