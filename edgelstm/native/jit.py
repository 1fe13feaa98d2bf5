"""Objects loaded by LLVM's linker: the way of machines and objects that have no images."""

import functools
import itertools
from collections.abc import Sequence

import llvmlite.binding as llvm

_trackers: list[llvm.ResourceTracker] = []
_serial = itertools.count()


def addresses(objects: Sequence[bytes], symbols: Sequence[str]) -> dict[str, int]:
    """The addresses of symbols of objects, which are loaded as one library for the rest of the process's life."""
    builder = llvm.JITLibraryBuilder()
    for content in objects:
        builder.add_object_img(content)
    for symbol in symbols:
        builder.export_symbol(symbol)
    tracker = builder.link(_jit(), f"edgelstm{next(_serial)}")
    _trackers.append(tracker)
    return {symbol: tracker[symbol] for symbol in symbols}


@functools.cache
def _jit() -> llvm.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler()
