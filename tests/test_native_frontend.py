"""Functions of kernels are compiled once, whichever machine or kernel they are for, and only where they are the same."""

import gc
import hashlib
import os
import subprocess
import sys
import threading
from collections import namedtuple

import pytest

from edgelstm import kernels
from edgelstm.native import frontend
from edgelstm.native.target import CROSS_TARGETS

Forward, Backward = namedtuple("Forward", "a b"), namedtuple("Backward", "b a")


def made(value, default=0):
    """A function that reads a value, and has another as a default."""
    def function(x, y=default):
        return x + y if value else value

    return frontend.inline(function)


@pytest.mark.parametrize("value", [1, 1.5, "a", None, (1, (2.5, None)), made(1)])
def test_the_same_code_over_the_same_values_is_one_function(value):
    assert made(value) is made(value) and made(1, value) is made(1, value)


@pytest.mark.parametrize(("one", "other"), [(1, 2), (1, True), (1, 1.0), (0.0, -0.0), ((1, 2), (1, 3)), ((1,), 1), (None, 0),
                                            (made(1), made(2)), ([1], [1]), (Forward(1, 2), Backward(1, 2)),
                                            (Forward(1, 2), (1, 2))])
def test_other_values_make_other_functions(one, other):
    assert made(one) is not made(other) and made(1, one) is not made(1, other)
    assert made(one) is not frontend.outline(made(one).py_func)


def function_of(kernel, target):
    machine = CROSS_TARGETS[target]
    return frontend.inline(kernels.get(kernel).factory(frontend.vectors(machine.lanes, machine.dot, machine.registers)))


def test_machines_share_kernels_that_multiply_no_bytes():
    four_lanes = ("x86-64-v2", "aarch64", "wasm32")
    for kernel in ("tanh_f32", "gemm4", "lstm", "gru_bfloat16"):
        assert len({function_of(kernel, target) for target in four_lanes}) == 1, kernel
        assert function_of(kernel, "x86-64-v2") is not function_of(kernel, "x86-64-v3"), kernel
    for kernel in ("gemm4_int8", "lstm_int4"):
        assert len({function_of(kernel, target) for target in four_lanes}) == 3, kernel
    assert function_of("gemm4", "cortex-m0") is not function_of("gemm4", "cortex-m7")  # for fewer registers


def test_shared_ir_is_what_a_process_without_sharing_gets():
    code = ("import hashlib; from edgelstm import kernels; from edgelstm.native import frontend\n"
            "for name in {names}:\n    ir = frontend.kernel_ir(kernels.get(name), 4, 'neon', 32)\n"
            "    print(hashlib.sha256(ir.encode()).hexdigest())")
    names = ["tanh_f32", "gemm1", "gemm1_int8"]
    alone = subprocess.run([sys.executable, "-c", code.format(names=names)], capture_output=True, text=True, check=True)
    for machine in ((4, "sign", 16), (4, "neon", 32)):
        shared = [frontend.kernel_ir(kernels.get(name), *machine) for name in names]
    assert [hashlib.sha256(ir.encode()).hexdigest() for ir in shared] == alone.stdout.split()


def test_a_child_forked_while_a_thread_lowers_looks_for_garbage():
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    begun, over = threading.Event(), threading.Event()

    def lower():
        with frontend._garbage_left():
            begun.set()
            over.wait(10)

    thread = threading.Thread(target=lower)
    thread.start()
    assert begun.wait(10) and not gc.isenabled()
    child = os.fork()
    if child == 0:
        os._exit(not gc.isenabled())
    over.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert gc.isenabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_for_garbage_is_what_it_was_also_after_an_error(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), frontend._garbage_left():
            with frontend._garbage_left():
                assert not gc.isenabled()
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
