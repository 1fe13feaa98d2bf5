"""The GPU backend where there may be no GPU: the simulator's tests in a process of their own, and PTX."""

import subprocess
import sys

import pytest

from tests import cuda_simulator

ARCHITECTURES = [(7, 5), (8, 0), (8, 7), (9, 0)]


@cuda_simulator.needs_package
def test_every_op_on_the_simulator():
    cuda_simulator.run_tests("test_cuda_ops.py")


@cuda_simulator.needs_package
def test_models_on_the_simulator():
    cuda_simulator.run_tests("test_cuda_models.py")


@cuda_simulator.needs_package
@pytest.mark.parametrize("capability", ARCHITECTURES, ids=lambda c: f"sm_{c[0]}{c[1]}")
def test_hot_kernels_compile_without_spills_or_float64(capability):
    pytest.importorskip("cuda.bindings.nvvm", reason="numba-cuda has no toolchain: pip install 'edgelstm[cuda]'")
    source = f"from tests.cuda_ptx import assert_compiles; assert_compiles({capability})"
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True,
                           cwd=cuda_simulator.ROOT)
    assert found.returncode == 0, found.stderr[-4000:]
