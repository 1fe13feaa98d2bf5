"""Index arithmetic in 32 bits: the same results, no 64-bit loop left, and data that needs 64 bits keeps them."""

import ctypes
import functools
import itertools
import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from edgelstm import kernels
from edgelstm.native import host, optimise
from edgelstm.native.block import block
from edgelstm.native.compiler import kernel_ir
from edgelstm.native.narrow import narrow
from edgelstm.native.target import CROSS_TARGETS

WIDE_ARITHMETIC = re.compile(r"= (?:add|sub|mul|sdiv|srem|phi|icmp \w+)(?: nsw| nuw)* i64 ")
_serial = itertools.count()


@functools.cache
def short(ir: str) -> str:
    return narrow(ir, optimise.target_machine(host()))


@functools.cache
def jit():
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler()


@functools.cache
def load(ir, symbol):
    """An entry of IR, on this machine."""
    builder = llvm.JITLibraryBuilder().add_object_img(optimise.emit(ir, host())).export_symbol(symbol)
    tracker = builder.link(jit(), f"narrow{next(_serial)}")
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tracker[symbol]), tracker


def call(ir, symbol, words):
    load(ir, symbol)[0](words.ctypes.data)


@pytest.mark.parametrize("name", ["lstm", "gru_step_int8", "gemm4", "conv4"])
@pytest.mark.parametrize("target", ["cortex-m7", "armv7", "wasm32"])
def test_no_64_bit_arithmetic_is_left_in_hot_kernels(name, target):
    found = kernel_ir(name, CROSS_TARGETS[target])
    llvm.parse_assembly(found).verify()
    assert not [line for line in found.splitlines() if WIDE_ARITHMETIC.search(line)]


@pytest.mark.parametrize("units", [1, 3, 17, 33])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_a_narrowed_sequence_gives_the_same_numbers(rng, units, steps):
    lanes = host().lanes
    padded = -(-units // lanes) * lanes
    found = []
    p, r = rng.standard_normal((steps or 1, 4 * padded)), rng.standard_normal((padded // lanes, units, 4 * lanes))
    for change in (str, short):
        y, hn, cn = (np.full(n, 9, np.float32) for n in (max(steps, 1) * units, units, units))
        arguments = dict(
            p=p.astype(np.float32), r=r.astype(np.float32), h0=None, c0=None, y=y, hn=hn, cn=cn, mask=None,
            work=np.zeros(3 * padded, np.float32), batch=1, steps=steps, units=units, p_t=4 * padded, p_b=0, y_t=units, y_b=0,
            reverse=0, hold=0, h_scale=0.0)
        call(change(kernel_ir("lstm", host())), kernels.get("lstm").symbol, block("lstm", **arguments))
        found.append(np.concatenate([y, hn, cn]))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["mul_i64", "add_i64", "div_i64", "maximum_i64"])
def test_numbers_of_64_bits_keep_them(name):
    """Data that is loaded with 64 bits is computed with 64 bits."""
    operation = {"mul_i64": "mul", "add_i64": "add", "div_i64": "sdiv", "maximum_i64": "select"}[name]
    assert re.search(rf"= {operation}[^\n]* i64 ", short(kernel_ir(name, host())))


TAINTED = """
define void @edgelstm_probe(ptr %block) {
  %a = load i64, ptr %block
  call void @f(ptr %block, i64 %a)
  ret void
}
define internal void @f(ptr %p, i64 %n) {
entry:
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %next, %loop ]
  %sum = phi i64 [ 0, %entry ], [ %more, %loop ]
  %at = getelementptr i32, ptr %p, i64 %k
  %x = load i32, ptr %at
  %wide = sext i32 %x to i64
  %product = mul i64 %wide, %wide
  %more = add i64 %sum, %product
  %next = add i64 %k, 1
  %again = icmp slt i64 %next, %n
  br i1 %again, label %loop, label %done
done:
  store i64 %more, ptr %p
  ret void
}
"""


def test_a_counter_is_narrowed_and_a_sum_of_products_is_not():
    found = short(TAINTED)
    assert re.search(r"%next = add i32", found) and re.search(r"icmp slt i32", found)
    assert re.search(r"%product = mul i64", found) and re.search(r"%more = add i64", found)


def test_a_narrowed_count_that_is_stored_is_stored_in_64_bits():
    ir = TAINTED.replace("store i64 %more, ptr %p", "store i64 %next, ptr %p")
    numbers = np.array([3, 1, 2], np.int64)
    call(short(ir), "edgelstm_probe", numbers)
    assert numbers[0] == 3
