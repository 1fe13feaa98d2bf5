"""What a process loads: nothing heavy on import, no compiler once kernels are cached, one native call a step."""

import platform
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import edgelstm
from edgelstm import format as elstm
from edgelstm import native
from tests.conftest import stacked_graph

HEAVY = ("numba", "llvmlite", "onnx", "h5py", "scipy", "pandas", "matplotlib", "edgelstm_converters")

IMAGES = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")  # elsewhere LLVM's linker loads kernels


def loaded_modules(code: str, *args: str) -> set[str]:
    """Top-level modules that a fresh process holds after running the code."""
    tail = "\nimport sys\nprint('@@' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail, *args], capture_output=True, text=True, check=True)
    return set(done.stdout.split("@@")[-1].split())


def test_import_loads_nothing_heavy():
    assert not loaded_modules("import edgelstm") & {*HEAVY, "numpy"}


def test_a_process_with_cached_kernels_imports_no_compiler(tmp_path):
    path = tmp_path / "model.elstm"
    elstm.write(stacked_graph(), path)
    code = ("import sys, numpy, edgelstm\nm = edgelstm.load(sys.argv[1])\nm.predict(numpy.zeros((1, 4, 5), 'f4'))\n"
            "m.stream().step(numpy.zeros(5, 'f4'))")
    loaded_modules(code, str(path))
    second = loaded_modules(code, str(path))
    assert "edgelstm" in second
    assert not second & {"numba", "onnx", "h5py", "edgelstm_converters"}
    if IMAGES:
        assert "llvmlite" not in second


@pytest.fixture
def counted(monkeypatch):
    """Every door into native code, counted."""
    calls = []

    def counting(function, name):
        def call(*args):
            calls.append(name)
            return function(*args)

        return call

    thunk = native.thunk
    monkeypatch.setattr(native, "thunk", lambda table, **how: counting(thunk(table, **how), "door"))
    monkeypatch.setattr(native, "run_at", counting(native.run_at, "run_at"))
    return calls


def test_a_step_of_several_layers_is_one_native_call(counted):
    stream = edgelstm.load(stacked_graph()).stream()
    frame, out = np.zeros(5, np.float32), np.zeros(3, np.float32)
    for expected in range(1, 4):
        stream.step(frame, out=out)
        assert counted == ["door"] * expected
    assert len(stream._session._program.kernels) == 4


def test_a_step_with_out_allocates_no_array():
    stream = edgelstm.load(stacked_graph(features=2000, units=1500)).stream()
    frame, out = np.ones(2000, np.float32), np.zeros(3, np.float32)
    stream.step(frame, out=out)
    tracemalloc.start()
    stream.step(frame, out=out)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(100):
        stream.step(frame, out=out)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1000
    assert peak - before < 1000
