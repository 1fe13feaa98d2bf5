"""The GPU backend where there may be no GPU: the simulator's tests in a process of their own, PTX, and clear errors."""

import subprocess
import sys

import pytest

import edgelstm
from edgelstm import DependencyError, DeviceError
from tests import cuda_simulator
from tests.tiny_models import sequence_graph

ARCHITECTURES = [(7, 5), (8, 0), (8, 7), (9, 0)]


@cuda_simulator.needs_package
def test_every_op_on_the_simulator():
    cuda_simulator.run_tests("test_cuda_ops.py")


@cuda_simulator.needs_package
def test_models_on_the_simulator():
    cuda_simulator.run_tests("test_cuda_models.py")


def test_unknown_devices_are_refused():
    with pytest.raises(DeviceError, match="'tpu'"):
        edgelstm.load(sequence_graph(), device="tpu")


def test_what_is_missing_is_named():
    """Without the package, without a driver, or with both: an error that says so, or a model."""
    try:
        edgelstm.load(sequence_graph(), device="cuda")
    except DependencyError as error:
        assert not cuda_simulator.INSTALLED and "edgelstm[cuda]" in str(error)
    except DeviceError as error:
        assert cuda_simulator.INSTALLED and "device='cpu'" in str(error)


def test_cpu_models_do_not_import_numba_cuda():
    source = ("import sys, edgelstm; from tests import tiny_models; edgelstm.load(tiny_models.sequence_graph());"
              "assert not any(name.startswith(('numba_cuda', 'numba.cuda', 'edgelstm.cuda')) for name in sys.modules)")
    subprocess.run([sys.executable, "-c", source], check=True, cwd=cuda_simulator.ROOT)


@cuda_simulator.needs_package
@pytest.mark.parametrize("capability", ARCHITECTURES, ids=lambda c: f"sm_{c[0]}{c[1]}")
def test_hot_kernels_compile_without_spills_or_float64(capability):
    pytest.importorskip("cuda.bindings.nvvm", reason="numba-cuda has no toolchain: pip install 'edgelstm[cuda]'")
    source = f"from tests.cuda_ptx import assert_compiles; assert_compiles({capability})"
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True,
                           cwd=cuda_simulator.ROOT)
    assert found.returncode == 0, found.stderr[-4000:]
