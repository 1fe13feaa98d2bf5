"""What the host does for a session on the device: tests/test_cuda_host.py, in a process that finds a made-up driver."""

import os
import subprocess
import sys

import pytest

from tests import built, cuda_simulator


@cuda_simulator.needs_package
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the made-up driver is a library of Linux")
def test_on_a_made_up_driver(tmp_path):
    source, library = cuda_simulator.ROOT / "tests" / "made_up_driver.c", tmp_path / "libcuda.so.1"
    subprocess.run([built.compiler(), "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    (tmp_path / "libcuda.so").symlink_to(library)
    given = {"LD_LIBRARY_PATH": str(tmp_path), "EDGELSTM_MADE_UP_DRIVER": "1", "NUMBA_ENABLE_CUDASIM": "0"}
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/test_cuda_host.py"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=cuda_simulator.ROOT, env={**os.environ, **given})
    assert found.returncode == 0 and " passed" in found.stdout, found.stdout[-6000:] + found.stderr
