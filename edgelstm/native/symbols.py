"""Which symbols an object file needs from elsewhere: none, for a kernel on a machine with floating-point hardware."""

import struct
from collections.abc import Iterator

import llvmlite.binding as llvm


def undefined_symbols(content: bytes) -> frozenset[str]:
    """The names that an ELF or WebAssembly object uses and does not define."""
    if content[:4] == b"\x7fELF":
        return frozenset(_elf(content))
    if content[:4] == b"\0asm":
        return frozenset(_wasm(content))
    raise ValueError("only ELF and WebAssembly objects can be read")


def _elf(content: bytes) -> Iterator[str]:
    order = "<" if content[5] == 1 else ">"
    entry = order + ("IBBHQQ" if content[4] == 2 else "IIIBBH")
    section_of = 3 if content[4] == 2 else 5
    sections = {s.name(): s.data() for s in llvm.ObjectFileRef.from_data(content).sections()}
    table, names = sections.get(b".symtab", b""), sections.get(b".strtab", b"")
    for symbol in struct.iter_unpack(entry, table):
        name = names[symbol[0] : names.index(b"\0", symbol[0])].decode()
        if name and symbol[section_of] == 0:
            yield name


def _wasm(content: bytes) -> Iterator[str]:
    """The functions among the imports; memory, tables and globals are the linker's own."""
    at = 8
    while at < len(content):
        kind, (size, start) = content[at], _leb128(content, at + 1)
        if kind == 2:
            yield from _wasm_imports(content, start)
        at = start + size


def _wasm_imports(content: bytes, at: int) -> Iterator[str]:
    count, at = _leb128(content, at)
    for _ in range(count):
        _, at = _name(content, at)
        name, at = _name(content, at)
        kind = content[at]
        at = _after_import(content, at + 1, kind)
        if kind == 0:
            yield name


def _after_import(content: bytes, at: int, kind: int) -> int:
    """The offset after the description of an import: function, table, memory or global."""
    if kind == 3:
        return at + 2
    if kind == 1:
        at += 1
    if kind == 0:
        return _leb128(content, at)[1]
    flags, at = _leb128(content, at)
    for _ in range(2 if flags & 1 else 1):
        _, at = _leb128(content, at)
    return at


def _name(content: bytes, at: int) -> tuple[str, int]:
    size, at = _leb128(content, at)
    return content[at : at + size].decode(), at + size


def _leb128(content: bytes, at: int) -> tuple[int, int]:
    """An unsigned number and the offset after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
