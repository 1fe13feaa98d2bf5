"""The GPU backend on the simulator of numba.cuda: every file of its tests in a process of its own."""

import pytest

from tests import cuda_simulator


@cuda_simulator.needs_package
@pytest.mark.parametrize("file", cuda_simulator.files())
def test_on_the_simulator(file):
    cuda_simulator.run_tests(file)
