"""The kernel contract: every kernel compiles for every target, and its object needs nothing from elsewhere."""

import sys

import pytest

from edgelstm import kernels
from edgelstm.aot.targets import find
from edgelstm.kernels import formats
from edgelstm.kernels.declare import KINDS
from edgelstm.native import host
from edgelstm.native.compiler import ir_object, kernel_object
from edgelstm.native.executor import executor_ir
from edgelstm.native.linking import image
from edgelstm.native.symbols import undefined_symbols
from edgelstm.native.target import CROSS_TARGETS

READABLE = {} if sys.platform in ("darwin", "win32") else {"native": host()}
TARGETS = READABLE | CROSS_TARGETS
# Every kernel is compiled for one machine of each kind: 64 bits with and without fused multiply-add, 32 bits, WebAssembly.
KINDS_OF_MACHINES = READABLE | {key: CROSS_TARGETS[key] for key in ("x86-64-v2", "aarch64", "cortex-m7", "wasm32")}
# Those of reduced precision differ from float32 ones in their products alone; on the others they run in the tests of builds.
KINDS_FOR_REDUCED = READABLE | {key: CROSS_TARGETS[key] for key in ("aarch64", "cortex-m7")}
REDUCED = tuple(f"_{name}" for name in formats.FORMATS if name != "float32")
NO_FPU = ("cortex-m0", "riscv32")

# 64-bit integer arithmetic on 32-bit cores calls the compiler's own runtime, which every toolchain links.
ALLOWED = {"cortex-m7": {"__aeabi_ldivmod", "__aeabi_f2lz", "__aeabi_l2f"}}


def machines(name):
    """The machines that a kernel is compiled for here."""
    return KINDS_FOR_REDUCED if name.removesuffix("_team").endswith(REDUCED) else KINDS_OF_MACHINES


@pytest.mark.parametrize("name", kernels.names())
def test_a_kernel_needs_nothing_from_elsewhere(name):
    needed = {key: undefined_symbols(kernel_object(name, target)) for key, target in machines(name).items()}
    assert {key: found - ALLOWED.get(key, set()) for key, found in needed.items() if found - ALLOWED.get(key, set())} == {}


@pytest.mark.parametrize("name", kernels.names())
def test_a_kernel_has_an_image(name):
    for target in machines(name).keys() & {"x86-64-v2", "aarch64"}:
        assert image(kernel_object(name, CROSS_TARGETS[target])) is not None, target


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_executor_needs_nothing_from_elsewhere(target):
    assert undefined_symbols(ir_object(executor_ir(target), target)) == set()


@pytest.mark.parametrize("name", ["lstm", "gru", "simple_rnn", "lstm_step", "gru_step", "simple_rnn_step", "gemm1", "gemm4"])
def test_recurrent_kernels_need_no_runtime_but_floats_where_there_are_none(name):
    needed = {key: undefined_symbols(kernel_object(name, target)) for key, target in TARGETS.items()}
    assert {key for key, found in needed.items() if found} == set(NO_FPU)
    assert all(symbol in find(f"{key}{'-none' * key.startswith('risc')}").runtime for key in NO_FPU for symbol in needed[key])


def test_declarations_are_complete():
    assert len(kernels.names()) > 0
    for name in kernels.names():
        decl = kernels.get(name)
        assert decl.symbol == f"edgelstm_{name}" and decl.name == name
        assert len({param for param, _ in decl.params}) == len(decl.params), name
        assert all(kind in KINDS for _, kind in decl.params), name


def test_unknown_kernels_are_named():
    with pytest.raises(KeyError, match="no kernel is called 'nonsense'"):
        kernels.get("nonsense")


def test_the_same_kernel_gives_the_same_ir_in_every_process():
    """What the object cache is named by must not depend on addresses, hash seeds or what was compiled before."""
    import subprocess

    code = (
        "import hashlib; from edgelstm.native.compiler import kernel_ir; from edgelstm.native import host\n"
        "{first}print(hashlib.sha256(kernel_ir('gemm4', host()).encode()).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", code.format(first=first)], capture_output=True, text=True, check=True).stdout
        for first in ("", "kernel_ir('gemm1', host());")
    }
    assert len(found) == 1
