"""numba as a front end only: a declared kernel becomes LLVM IR that is unoptimised and bound to no machine.

A context of our own keeps numba's optimiser and its host-specific code out of the way, without touching the
configuration of other numba users in the process. The same kernel gives the same text in every process.
"""

import functools
import gc
import os
import re
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from numba.core import codegen, compiler, cpu, dispatcher, registry, types
from numba.core.compiler_lock import global_compiler_lock

from edgelstm.kernels.declare import KernelDecl
from edgelstm.kernels.vectors import numba_vectors
from edgelstm.native.entry import entry_ir

_NUMBA_TYPES = {
    "f32*": types.CPointer(types.float32),
    "i8*": types.CPointer(types.int8),
    "i16*": types.CPointer(types.int16),
    "i32*": types.CPointer(types.int32),
    "i64*": types.CPointer(types.int64),
    "u8*": types.CPointer(types.uint8),
    "u16*": types.CPointer(types.uint16),
    "int": types.int64,
    "f32": types.float32,
}

_OPTIONS = {
    "nopython": True,
    "boundscheck": False,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
}


class _Library(codegen.AOTCodeLibrary):
    def _optimize_functions(self, ll_module: llvm.ModuleRef) -> None:
        """Leaves the functions as they were lowered."""

    def _optimize_final_module(self) -> None:
        """Leaves the module as it was linked."""


class _Codegen(codegen.AOTCPUCodegen):
    _library_class = _Library


class _Context(cpu.CPUContext):
    def init(self) -> None:
        self.is32bit = False
        self._internal_codegen = _Codegen("edgelstm")

    def load_additional_registries(self) -> None:
        """Kernels use numbers, ranges and tuples, which numba's built-in registry has."""
        from numba.cpython import builtins, numbers, rangeobj, tupleobj  # noqa: F401

    def post_lowering(self, mod: Any, library: _Library) -> None:
        """Kernels need nothing of numba's runtime linked in."""

    def get_executable(self, library: _Library, fndesc: Any, env: Any) -> object:
        """A token: compiled functions are called by other kernels only, never from Python."""
        return object()


class _KernelTarget(registry.CPUTarget):
    @functools.cached_property
    def _toplevel_target_context(self) -> _Context:
        return _Context(self.typing_context, self._target_name)

    @property
    def typing_context(self) -> Any:
        return registry.cpu_target.typing_context


class _Dispatcher(dispatcher.Dispatcher):
    """A function that kernels call."""

    targetdescr = _KernelTarget("cpu")

    def add_overload(self, cres: Any) -> None:
        self.overloads[tuple(cres.signature.args)] = cres


def inline(function: Callable[..., Any]) -> _Dispatcher:
    """The function, compiled into each kernel function that calls it."""
    return _dispatcher(function, forceinline=True)


def outline(function: Callable[..., Any]) -> _Dispatcher:
    """The function, compiled once in each kernel that calls it."""
    return _dispatcher(function, forceinline=False)


_dispatchers: dict[Hashable, _Dispatcher] = {}


def _dispatcher(function: Callable[..., Any], *, forceinline: bool) -> _Dispatcher:
    """One for all functions that are the same code over the same values, whichever vector set or kernel made them.

    The dispatcher keeps alive what `key` knows by its address.
    """
    read = [*(function.__defaults__ or ()), *(cell.cell_contents for cell in function.__closure__ or ())]
    key = (forceinline, id(function.__code__), *map(_key, read))
    if key not in _dispatchers:
        _dispatchers[key] = _Dispatcher(function, targetoptions={**_OPTIONS, "forceinline": forceinline})
    return _dispatchers[key]


def _key(value: Any) -> Hashable:
    """What tells values apart that compiled functions read."""
    if isinstance(value, tuple):
        return type(value), *map(_key, value)
    return (type(value), repr(value)) if isinstance(value, int | float | str | None) else id(value)


@functools.cache
def vectors(lanes: int, dot: str = "plain", registers: int = 16) -> numba_vectors.Vectors:
    """The vector set that kernels for machines with such registers and such products of bytes are written with."""
    return numba_vectors.make(lanes, inline, outline, dot, registers)


@functools.cache
def kernel_ir(decl: KernelDecl, lanes: int, dot: str = "plain", registers: int = 16) -> str:
    """LLVM IR of a kernel and its entry `decl.symbol(block)`, without triple, data layout or host attributes."""
    return _lowered(decl, inline(decl.factory(vectors(lanes, dot, registers))))


@functools.cache
def _lowered(decl: KernelDecl, kernel: _Dispatcher) -> str:
    """Machines for which a kernel is the same function share its IR: most kernels multiply no bytes."""
    with _garbage_left():
        module = _lower(kernel.py_func, tuple(_NUMBA_TYPES[kind] for _, kind in decl.params))
    return _only_entry(module, decl)


_leaving: list[object] = []  # an entry for each thread that has switched the search for garbage off


@contextmanager
def _garbage_left() -> Iterator[None]:
    """Numba makes many objects, most of which stay: looking for garbage among them takes a seventh of the time."""
    if not gc.isenabled():
        yield
        return
    _leaving.append(None)
    try:
        gc.disable()
        yield
    finally:
        gc.enable()
        _leaving.pop()


def _look_again() -> None:
    """In a forked child, which does not have the threads that would switch it on."""
    if _leaving:
        gc.enable()
        _leaving.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_again)


@global_compiler_lock
def _lower(function: Callable[..., None], args: tuple[types.Type, ...]) -> llvm.ModuleRef:
    target = _Dispatcher.targetdescr
    flags = compiler.Flags()
    target.options.parse_as_flags(flags, _OPTIONS)
    flags.no_compile = True
    result = compiler.compile_extra(
        target.typing_context, target.target_context, function, args, types.none, flags, {}
    )
    result.library.finalize()
    module = llvm.parse_assembly(result.library.get_llvm_str())
    module.get_function(result.fndesc.llvm_func_name).name = "kernel"
    return module


def _only_entry(module: llvm.ModuleRef, decl: KernelDecl) -> str:
    module = llvm.parse_assembly(_neutral(str(module)))
    module.link_in(llvm.parse_assembly(entry_ir(decl)))
    for symbol in (*module.functions, *module.global_variables):
        if symbol.name != decl.symbol and (symbol.linkage == llvm.Linkage.common or not symbol.is_declaration):
            symbol.linkage = llvm.Linkage.internal
    manager = llvm.newpassmanagers.create_new_module_pass_manager()
    manager.add_always_inliner_pass()
    manager.add_sroa_pass()
    manager.add_instruction_combine_pass()
    manager.add_simplify_cfg_pass()
    manager.add_aggressive_dce_pass()
    manager.add_global_dead_code_eliminate_pass()
    manager.add_strip_symbols_pass()
    manager.add_strip_dead_prototype_pass()
    machine = llvm.Target.from_default_triple().create_target_machine()
    manager.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return _neutral(str(module))


def _neutral(text: str) -> str:
    """Without the machine, and without numba's names, which count the functions of the process."""
    text = re.sub(r"^(; ModuleID|source_filename|target ).*\n", "", text, flags=re.MULTILINE)
    return re.sub(r', !"_ZN[^"]*"', "", text)
