"""Kernels loaded into this process, and the calls that run tables of them.

Addresses stay valid for the life of the process, in all its threads and in children it forks. What is cached as an image is
mapped, which needs no compiler; the rest is compiled, and loaded by LLVM where it has no image or the system maps none.
"""

import ctypes
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from edgelstm import kernels
from edgelstm.native import cache, mapped
from edgelstm.native.executor import CELLS, EXECUTE, SYMBOLS, THUNKS
from edgelstm.native.image import Image
from edgelstm.native.machine import host
from edgelstm.native.target import Target

_Door = tuple[int, ctypes.c_int64]  # the address of a thunk, and the cell that holds the address of its table

_lock = threading.RLock()
_addresses: dict[tuple[str, Target], int] = {}
_images: dict[tuple[str, Target], Image] = {}  # of kernels that are planned and not yet linked
_idle: list[_Door] = []
_procedures = {False: ctypes.CFUNCTYPE(None), True: ctypes.PYFUNCTYPE(None)}
_procedure_of_table = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def link(names: Iterable[str], target: Target | None = None) -> dict[str, int]:
    """The entry addresses of kernels by name. What is missing is compiled, then all of it is loaded at once."""
    target = target or host()
    wanted = list(dict.fromkeys(names))
    with _lock:
        missing = {name: (kernels.get(name).symbol,) for name in wanted if (name, target) not in _addresses}
        found = _load(missing, target)
        _addresses.update({(name, target): found[symbol] for name, (symbol,) in missing.items()})
        return {name: _addresses[name, target] for name in wanted}


def thunk(table: np.ndarray, *, brief: bool = False) -> Callable[[], None]:
    """A function without arguments that runs the table; it keeps the table alive, and its code is used again when collected.

    `brief` keeps the interpreter's lock during the call, which costs less than to give it up and to wait for it again.
    """
    address = _address(table)
    door = _open_door()
    door[1].value = address
    call = _procedures[brief](door[0])
    call.keeps = table
    weakref.finalize(call, _idle.append, door).atexit = False
    return call


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


def _load(wanted: Mapping[str, tuple[str, ...]], target: Target) -> dict[str, int]:
    """The addresses of the symbols of kernels, newly loaded."""
    found: dict[str, int] = {}
    for name in wanted:
        image = _images.pop((name, target), None) or cache.find_image(name, target)
        found.update((image and mapped.addresses(image)) or {})
    missing = {name: symbols for name, symbols in wanted.items() if not found.keys() >= set(symbols)}
    return found | _compiled(missing, target) if missing else found


def _params(name: str) -> str | None:
    """The parameters of a kernel whose image is cached."""
    target = host()
    image = cache.find_image(name, target)
    if image is None:
        return None
    _images[name, target] = image
    return image.params


def _compiled(wanted: Mapping[str, tuple[str, ...]], target: Target) -> dict[str, int]:
    """The same of kernels that are compiled first, or that LLVM has to load."""
    from edgelstm.native.compiler import loadable

    found: dict[str, int] = {}
    objects, symbols = [], []
    for name, names in wanted.items():
        content, image = loadable(name, target)
        addresses = None if image is None else mapped.addresses(image)
        if addresses is None:
            objects.append(content)
            symbols += names
        found.update(addresses or {})
    if objects:
        from edgelstm.native import jit

        found.update(jit.addresses(objects, symbols))
    return found


def _open_door() -> _Door:
    try:
        return _idle.pop()
    except IndexError:
        with _lock:
            found = _load({EXECUTE: SYMBOLS}, host())
        doors = [(found[name], ctypes.c_int64.from_address(found[CELLS] + 8 * number)) for number, name in enumerate(THUNKS)]
        _idle.extend(doors[1:])
        return doors[0]


@functools.cache
def _executor() -> Callable[[int], None]:
    with _lock:
        return _procedure_of_table(_load({EXECUTE: SYMBOLS}, host())[EXECUTE])


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


kernels.recall_with(_params)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
