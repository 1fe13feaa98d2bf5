"""Loading and running: tables, thunks, threads, forks, and the floating-point mode."""

import ctypes
import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from edgelstm.errors import DeviceError
from edgelstm.native import host, host_forms, link, run_table, thunk
from edgelstm.native.block import block


def table_of(*calls):
    """A table of (kernel, arguments) calls, and what it points into."""
    blocks = [block(name, **arguments) for name, arguments in calls]
    words = [len(calls)]
    for (name, _), words_of in zip(calls, blocks, strict=True):
        words += [link([name])[name], words_of.ctypes.data]
    return np.array(words, np.int64), blocks


def product(x, w, y):
    """gemm1 of one row with one column."""
    shape = dict(rows=1, n_in=x.size, n_out=1, x_stride=x.size, y_stride=1)
    return "gemm1", dict(x=x, w=w, bias=None, y=y, **shape)


@pytest.fixture
def chain():
    """A table of two products: y = x w, z = y w; (table, x, z, kept)."""
    lanes = host().lanes
    x, y, z, w = np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros(1, np.float32), np.zeros(lanes, np.float32)
    w[0] = 3
    table, blocks = table_of(product(x, w, y), product(y, w, z))
    return table, x, z, (blocks, y, w)


def test_a_table_runs_in_order(chain):
    table, x, z, _ = chain
    x[0] = 2
    run_table(table)
    assert z[0] == 18


def test_a_thunk_runs_its_table_and_can_be_dropped(chain):
    table, x, z, _ = chain
    for k in range(20):
        call = thunk(table)
        x[0] = k
        call()
        assert z[0] == 9 * k
        del call
        gc.collect()


def test_dropped_thunks_are_used_again(chain):
    table, _, _, _ = chain
    gc.collect()
    kept = [thunk(table) for _ in range(3)]
    addresses = {ctypes.cast(call, ctypes.c_void_p).value for call in kept}
    assert len(addresses) == 3
    del kept
    gc.collect()
    again = [thunk(table) for _ in range(3)]
    assert {ctypes.cast(call, ctypes.c_void_p).value for call in again} == addresses


def test_an_empty_table_does_nothing():
    run_table(np.zeros(1, np.int64))
    thunk(np.zeros(1, np.int64))()


def test_tables_are_int64():
    with pytest.raises(TypeError, match="int64"):
        run_table(np.zeros(1, np.int32))


def test_denormals_are_flushed_inside_and_the_mode_is_restored(chain):
    table, x, z, _ = chain
    x[0] = 1e-40
    run_table(table)
    assert z[0] == 0
    assert np.float32(1e-40) * np.float32(2) > 0


def test_addresses_are_shared_and_linking_is_idempotent():
    first, second = link(["gemm1", "gemm3", "gemm1"]), link(["gemm3", "gemm1"])
    assert first == second and set(first) == {"gemm1", "gemm3"}


def test_threads_link_and_run_at_once(chain):
    table, *_ = chain
    failures = []

    def work():
        try:
            for name in ("gemm1", "gemm3", "gemm4"):
                link([name])
            thunk(table)()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_addresses_survive_a_fork(chain):
    table, x, z, _ = chain
    call = thunk(table)
    child = os.fork()
    if child == 0:
        x[0] = 1
        call()
        link(["gemm4"])
        thunk(table)()
        os._exit(0 if z[0] == 9 else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_forms_of_the_host():
    forms = host_forms()
    assert forms[0].name == host().name or "EDGELSTM_TARGET" in os.environ
    assert [form.lanes for form in forms] == sorted({form.lanes for form in forms}, reverse=True)
    assert forms[-1].lanes == 1


def test_the_environment_chooses_a_form(monkeypatch):
    for form in host_forms():
        monkeypatch.setenv("EDGELSTM_TARGET", form.name)
        assert host() == form
    monkeypatch.setenv("EDGELSTM_TARGET", "abacus")
    with pytest.raises(DeviceError, match="abacus"):
        host()


def test_finding_the_host_imports_no_numba():
    code = "import sys; from edgelstm.native import host; host(); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_blocks_check_their_arguments():
    x, y = np.zeros(4, np.float32), np.zeros(4, np.float32)
    shape = dict(rows=1, n_in=1, n_out=1, x_stride=1, y_stride=1)
    words = block("gemm1", x=x, w=x.ctypes.data, bias=None, y=y, **shape)
    assert words[:4].tolist() == [x.ctypes.data, x.ctypes.data, 0, y.ctypes.data]
    with pytest.raises(TypeError, match="bias"):
        block("gemm1", x=x, w=x, y=y, **shape)
    with pytest.raises(TypeError, match="float64"):
        block("gemm1", x=x.astype(np.float64), w=x, bias=None, y=y, **shape)
