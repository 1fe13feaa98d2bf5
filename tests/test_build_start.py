"""How soon a native build gives its first output: as a C program at once, from Python hardly later than NumPy itself."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import edgelstm
from edgelstm.aot.plan import step_program
from edgelstm.native import host
from tests.built import cell, compile_c, round_trip

ROUNDS = 9
BEFORE = "import numpy as np\nx = np.load('x.npy')\n"
AFTER = "\nprint([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"


def processor_seconds(command, folder) -> tuple[float, int]:
    """Processor time of a process, which other work on the machine disturbs less than the clock, and what it prints."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
    printed = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    assert status == 0
    return usage.ru_utime + usage.ru_stime, int(printed)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_python_starts_a_built_model_with_little_more_than_numpy(tmp_path):
    edgelstm.build(cell("lstm", features=40, units=128), tmp_path / "built")
    np.save(tmp_path / "x.npy", np.zeros((1, 100, 40), np.float32))
    code = {"numpy": BEFORE + AFTER, "built": BEFORE + "import built\nbuilt.load().predict(x)" + AFTER}
    found = {name: [] for name in code}
    for _ in range(ROUNDS):
        for name, text in code.items():
            found[name].append(processor_seconds([sys.executable, "-c", text], tmp_path))
    seconds, memory = ({name: min(run[k] for run in runs) for name, runs in found.items()} for k in range(2))
    assert seconds["built"] <= 1.25 * seconds["numpy"], seconds
    assert memory["built"] - memory["numpy"] <= 10 * 1024, memory


def test_a_c_program_gives_its_first_output_within_5_ms(tmp_path):
    report = edgelstm.build(cell("lstm", features=40, units=128), tmp_path / "m")
    frames = step_program(cell("lstm", features=40, units=128), "m", host().lanes)
    program = compile_c(tmp_path / "m", round_trip(report, frames.inputs, frames.outputs, 1), "libm.a")
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([program], input=bytes(160), check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.005, taken
