"""A kernel run twice: as machine code, and as the Python that it is written in."""

import ctypes
import itertools

import llvmlite.binding as llvm
import numpy as np

from edgelstm.kernels.declare import KernelDecl
from edgelstm.kernels.vectors import plain_vectors
from edgelstm.kernels.vectors.plain_pointer import Pointer

KINDS = {np.dtype(np.float32): "f32*", np.dtype(np.uint8): "u8*", np.dtype(np.int64): "i64*",
         np.dtype(np.int32): "i32*"}

_serial = itertools.count()
llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_jit = llvm.create_lljit_compiler()


def run_compiled(factory, target, arrays):
    """Runs a factory's kernel as machine code on one-dimensional arrays."""
    from edgelstm.native import frontend, optimise

    name = f"probe{next(_serial)}"
    params = tuple((f"a{i}", KINDS[array.dtype]) for i, array in enumerate(arrays))
    decl = KernelDecl(name, params, factory)
    content = optimise.emit(frontend.kernel_ir(decl, target.lanes, target.dot), target)
    tracker = llvm.JITLibraryBuilder().add_object_img(content).export_symbol(decl.symbol).link(_jit, name)
    words = np.array([array.ctypes.data for array in arrays], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tracker[decl.symbol])(words.ctypes.data)


def both(factory, target, *arrays):
    """The arrays as the compiled and as the plain kernel leave them."""
    compiled, plain = ([array.copy() for array in arrays] for _ in range(2))
    run_compiled(factory, target, compiled)
    with np.errstate(all="ignore"):
        factory(plain_vectors.make(target.lanes, target.dot))(*map(Pointer, plain))
    return compiled, plain


def agree(factory, target, *arrays, exact=True):
    for got, wanted in zip(*both(factory, target, *arrays), strict=True):
        if exact:
            np.testing.assert_array_equal(got, wanted)
        else:
            np.testing.assert_allclose(got, wanted, rtol=3e-7, atol=1e-37)
