"""What a built object costs, read from the object itself: bytes of code, constants and data."""

from dataclasses import dataclass

import llvmlite.binding as llvm

_CODE = (".text", "__text", "CODE")
_CONSTANTS = (".rodata", "__const", "__literal", ".rdata", "DATA", ".ARM.exidx")
_WRITABLE = (".data", ".bss", "__data", "__bss", ".tdata", ".tbss", "__common")


@dataclass(frozen=True)
class Sizes:
    """Bytes of an object: `code` is what runs, `constants` lie beside it (weights included), `writable` is global state: 0."""

    code: int
    constants: int
    writable: int

    @property
    def flash(self) -> int:
        """Bytes that a device must keep."""
        return self.code + self.constants + self.writable


def read_sizes(content: bytes) -> Sizes:
    """The sizes of an ELF, Mach-O, COFF or WebAssembly object."""
    found = {_CODE: 0, _CONSTANTS: 0, _WRITABLE: 0}
    for section in llvm.ObjectFileRef.from_data(content).sections():
        name = (section.name() or b"").split(b"\0")[0].decode("latin-1")
        for names in found:
            if name.startswith(names):
                found[names] += section.size()
    return Sizes(found[_CODE], found[_CONSTANTS], found[_WRITABLE])
