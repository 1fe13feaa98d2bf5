"""The compiled PTX of the GPU backend, executed by the machine in tests/ptx: what the simulator, which runs Python, can't show.

EDGELSTM_PTX=all runs every op case, and all cells and formats in all forms.
"""

import os

import pytest

from tests import cuda_simulator
from tests.ptx import machine
from tests.test_cuda_code import run

pytestmark = [cuda_simulator.needs_package,
              pytest.mark.skipif(machine.compiler() is None, reason="no C compiler is installed (apt install gcc)")]
ALL = os.environ.get("EDGELSTM_PTX") == "all"


def test_layers_products_ops_and_models():
    """In one process, because kernels share most of what they are compiled from."""
    run(f"from tests.ptx import cases, models; cases.assert_all({ALL}); models.assert_all({ALL})")


def test_fused_calls():
    run(f"from tests.ptx import chains; chains.assert_fused_calls_agree({ALL})")
