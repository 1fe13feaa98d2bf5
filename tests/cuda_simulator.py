"""Runs test files on the simulator of numba.cuda, which must be switched on before numba is imported: in a process of its own.

With EDGELSTM_GPU=1 the same files run on the GPU of this machine, with all cases.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
INSTALLED = importlib.util.find_spec("numba_cuda") is not None
ON_MADE_UP_DRIVER = os.environ.get("EDGELSTM_MADE_UP_DRIVER") == "1"
ON_GPU = os.environ.get("EDGELSTM_GPU") == "1" and not SIMULATED
CHOSEN = INSTALLED and (SIMULATED or ON_GPU)

if SIMULATED:
    sys.setswitchinterval(2e-5)  # its threads wait for each other

needs_package = pytest.mark.skipif(not INSTALLED, reason="numba-cuda is not installed: pip install 'edgelstm[cuda]'")
on_simulator = pytest.mark.skipif(not CHOSEN, reason="runs on the simulator, from tests/test_cuda.py")


def files() -> list[str]:
    """The test files that run on the simulator."""
    paths = sorted((ROOT / "tests").glob("test_cuda_*.py"))
    return [path.name for path in paths if "cuda_simulator.on_simulator" in path.read_text()]


def run_tests(*files: str) -> None:
    """Fail with the output of pytest where one of the tests fails, or none ran."""
    sources = [str(ROOT / "tests" / file) for file in files]
    found = subprocess.run([sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *sources],
                           capture_output=True, text=True, cwd=ROOT, env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"})
    passed = found.returncode == 0 and " passed" in found.stdout and "skipped" not in found.stdout
    assert passed, found.stdout[-6000:] + found.stderr
