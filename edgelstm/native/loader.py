"""Kernels loaded into this process, and the calls that run tables of them.

Addresses stay valid for the life of the process, in all its threads and in children it forks.
"""

import ctypes
import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np

from edgelstm import kernels
from edgelstm.native.compiler import ir_object, kernel_object
from edgelstm.native.executor import EXECUTE, TABLE, THUNK, execute_ir, thunk_ir
from edgelstm.native.target import Target, host

_lock = threading.RLock()
_addresses: dict[tuple[str, Target], int] = {}
_trackers: list[llvm.ResourceTracker] = []
_idle: list["_Door"] = []
_serial = itertools.count()
_procedures = {False: ctypes.CFUNCTYPE(None), True: ctypes.PYFUNCTYPE(None)}
_procedure_of_table = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def link(names: Iterable[str], target: Target | None = None) -> dict[str, int]:
    """The entry addresses of kernels by name. What is missing is compiled, then all of it is loaded at once."""
    target = target or host()
    wanted = list(dict.fromkeys(names))
    with _lock:
        missing = [name for name in wanted if (name, target) not in _addresses]
        if missing:
            objects = [kernel_object(name, target) for name in missing]
            symbols = [kernels.get(name).symbol for name in missing]
            for name, address in zip(missing, _load(objects, symbols), strict=True):
                _addresses[name, target] = address
        return {name: _addresses[name, target] for name in wanted}


@dataclass(frozen=True)
class _Door:
    """Loaded code that runs the table whose address its cell holds. LLVM never frees a library's bookkeeping, so doors are reused."""

    address: int
    cell: np.ndarray
    tracker: llvm.ResourceTracker


def thunk(table: np.ndarray, *, brief: bool = False) -> Callable[[], None]:
    """A function without arguments that runs the table; it keeps the table alive, and its code is used again when collected.

    `brief` keeps the interpreter's lock during the call, which costs less than to give it up and to wait for it again.
    """
    try:
        door = _idle.pop()
    except IndexError:
        door = _new_door()
    door.cell[0] = _address(table)
    call = _procedures[brief](door.address)
    call.keeps = table
    weakref.finalize(call, _idle.append, door).atexit = False
    return call


def _new_door() -> _Door:
    content, cell = _thunk_object(host()), np.zeros(1, np.int64)
    with _lock:
        builder = llvm.JITLibraryBuilder().add_object_img(content)
        builder.import_symbol(TABLE, _address(cell)).export_symbol(THUNK)
        tracker = builder.link(_jit(), f"thunk{next(_serial)}")
    return _Door(tracker[THUNK], cell, tracker)


def run_table(table: np.ndarray) -> None:
    """Runs a table once, without a thunk of its own."""
    run_at(_address(table))


def run_at(address: int) -> None:
    """Runs the table that lies at an address."""
    _executor()(address)


@functools.cache
def idle() -> np.ndarray:
    """One word: the address of a function by which a thread lets others run, or zero where there is none."""
    library = ctypes.CDLL(None) if os.name == "posix" else ctypes.WinDLL("kernel32")
    function = getattr(library, "sched_yield" if os.name == "posix" else "SwitchToThread", None)
    return np.array([0 if function is None else ctypes.cast(function, ctypes.c_void_p).value], np.int64)


def _address(table: np.ndarray) -> int:
    if table.dtype != np.int64 or not table.flags.c_contiguous:
        raise TypeError(f"a table is a contiguous int64 array, not {table.dtype}")
    return table.__array_interface__["data"][0]


def _load(objects: list[bytes], symbols: list[str]) -> list[int]:
    builder = llvm.JITLibraryBuilder()
    for content in objects:
        builder.add_object_img(content)
    for symbol in symbols:
        builder.export_symbol(symbol)
    tracker = builder.link(_jit(), f"kernels{next(_serial)}")
    _trackers.append(tracker)
    return [tracker[symbol] for symbol in symbols]


@functools.cache
def _jit() -> llvm.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler()


@functools.cache
def _thunk_object(target: Target) -> bytes:
    return ir_object(thunk_ir(target), target)


@functools.cache
def _executor() -> Callable[[int], None]:
    target = host()
    with _lock:
        (address,) = _load([ir_object(execute_ir(target), target)], [EXECUTE])
    return _procedure_of_table(address)


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
