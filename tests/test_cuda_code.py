"""The GPU backend's code for GPUs that need not be there: PTX of the hot kernels, and of every twin that an op case needs."""

import subprocess
import sys

import pytest

from tests import cuda_simulator

ARCHITECTURES = [(7, 5), (8, 0), (8, 7), (9, 0)]

pytestmark = cuda_simulator.needs_package


def run(source: str) -> None:
    """In a process of its own: compilers patched for machines without a device stay away from the other tests."""
    pytest.importorskip("cuda.bindings.nvvm", reason="numba-cuda has no toolchain: pip install 'edgelstm[cuda]'")
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True,
                           cwd=cuda_simulator.ROOT)
    assert found.returncode == 0, found.stderr[-4000:]


@pytest.mark.parametrize("capability", ARCHITECTURES, ids=lambda c: f"sm_{c[0]}{c[1]}")
def test_hot_kernels_compile_without_spills_or_float64(capability):
    run(f"from tests.cuda_ptx import assert_compiles; assert_compiles({capability})")


def test_every_twin_compiles():
    run("from tests.cuda_twins import assert_all_compile; assert_all_compile()")


def test_calls_in_one_launch_round_like_calls_of_their_own():
    run("from tests.cuda_ptx import assert_rounds; assert_rounds()")
