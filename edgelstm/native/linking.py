"""From an ELF object to an image, without a linker.

Only what a kernel needs is taken: code and constants that address each other relative to the program counter, and zeroed memory
of its own. For everything else (undefined symbols, absolute addresses, other formats) there is no image.
"""

import struct
from dataclasses import dataclass

from edgelstm.native.image import PAGE, Image, zeros_at
from edgelstm.native.relocation import APPLY, WIDTH, Unsuitable

_ELF = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_RELOCATABLE, _PROGBITS, _SYMTAB, _RELA, _NOBITS, _REL = 1, 1, 2, 4, 8, 9
_WRITE, _ALLOC, _CODE = 1, 2, 4
_KNOWN_FLAGS = _WRITE | _ALLOC | _CODE | 0x30  # and mergeable constants, which need not be merged
_UNWIND = ".eh_frame"  # kernels are leaves that never throw
_UNDEFINED, _LOCAL, _GLOBAL, _PLAIN_TYPES = 0, 0, 1, (0, 1, 2, 3)  # none, object, function, section
_MOST = 1 << 24


@dataclass(frozen=True)
class _Section:
    name: str
    type: int
    flags: int
    content: bytes
    size: int
    link: int
    info: int
    alignment: int


def image(content: bytes) -> Image | None:
    """The image of an object, None where it has none."""
    try:
        return _image(content)
    except (Unsuitable, struct.error, UnicodeDecodeError):
        return None


def _image(content: bytes) -> Image:
    if content[:7] != _ELF:
        raise Unsuitable("not an object of the kind that is understood")
    kind, machine = struct.unpack_from("<HH", content, 16)
    if kind != _RELOCATABLE or machine not in APPLY:
        raise Unsuitable("neither x86-64 nor AArch64")
    sections = _sections(content)
    code, zeros, offsets = _lay_out(sections)
    symbols = [_symbols(section, sections, offsets) for section in sections if section.type == _SYMTAB]
    if len(symbols) != 1:
        raise Unsuitable("not one table of symbols")
    for section in sections:
        _relocate(section, code, offsets, sections, symbols[0], machine)
    return Image(bytes(code), zeros, {name: at for name, at in symbols[0] if name and at is not None})


def _sections(content: bytes) -> list[_Section]:
    (table,) = struct.unpack_from("<Q", content, 40)
    size, count, names = struct.unpack_from("<HHH", content, 58)
    if size != 64 or not 0 < names < count:
        raise Unsuitable("unknown section headers")
    headers = [struct.unpack_from("<IIQQQQIIQQ", content, table + size * index) for index in range(count)]
    strings = _bytes_at(content, headers[names][4], headers[names][5])
    found = []
    for name, kind, flags, _, at, length, link, info, alignment, _ in headers:
        inside = b"" if kind in (0, _NOBITS) else _bytes_at(content, at, length)
        found.append(_Section(_string(strings, name), kind, flags, inside, length, link, info, alignment))
    return found


def _bytes_at(content: bytes, start: int, length: int) -> bytes:
    if start + length > len(content):
        raise Unsuitable("cut short")
    return content[start : start + length]


def _string(strings: bytes, start: int) -> str:
    end = strings.find(b"\0", start)
    if end < 0:
        raise Unsuitable("a name without an end")
    return strings[start:end].decode()


def _lay_out(sections: list[_Section]) -> tuple[bytearray, int, dict[int, int]]:
    """Code and constants, the size of the zeroed memory, and each section's offset in both."""
    code, zeros, offsets = bytearray(), 0, {}
    placed = [(index, section) for index, section in enumerate(sections) if _belongs(section)]
    for index, section in placed:
        if section.type == _PROGBITS:
            code += bytes(-len(code) % section.alignment)
            offsets[index] = len(code)
            code += section.content
            if len(code) > _MOST:
                raise Unsuitable("too large")
    for index, section in placed:
        if section.type == _NOBITS:
            zeros += -zeros % section.alignment
            offsets[index] = zeros_at(len(code)) + zeros
            zeros += section.size
    if not code or zeros > _MOST:
        raise Unsuitable("empty, or its memory is too large")
    return code, zeros, offsets


def _belongs(section: _Section) -> bool:
    """Whether a section is part of the image; Unsuitable where it should be and cannot."""
    if not section.flags & _ALLOC or not section.size or section.name == _UNWIND:
        return False
    writable = bool(section.flags & _WRITE)
    if section.flags & ~_KNOWN_FLAGS or section.type != (_NOBITS if writable else _PROGBITS):
        raise Unsuitable(f"section {section.name}")
    if not 0 < section.alignment <= PAGE or section.alignment & (section.alignment - 1):
        raise Unsuitable(f"alignment of section {section.name}")
    return True


def _symbols(table: _Section, sections: list[_Section], offsets: dict[int, int]) -> list[tuple[str, int | None]]:
    """The table's symbols: the name of global ones, and the offset of those that lie in the image."""
    if table.link >= len(sections):
        raise Unsuitable("symbols without names")
    strings, found = sections[table.link].content, []
    for name, info, _, section, value, _ in struct.iter_unpack("<IBBHQQ", table.content):
        inside = section in offsets and info & 15 in _PLAIN_TYPES and value <= sections[section].size
        if info >> 4 != _LOCAL and section == _UNDEFINED:
            raise Unsuitable(f"undefined symbol {_string(strings, name)}")
        found.append((_string(strings, name) if info >> 4 == _GLOBAL else "", offsets[section] + value if inside else None))
    return found


def _relocate(table: _Section, code: bytearray, offsets: dict[int, int], sections: list[_Section],
              symbols: list[tuple[str, int | None]], machine: int) -> None:
    """Applies a table of relocations to the section that it is for."""
    if table.type not in (_REL, _RELA) or table.info not in offsets:
        return
    section = sections[table.info]
    if table.type == _REL or section.type != _PROGBITS:
        raise Unsuitable("relocations of a kind that is not understood")
    for place, info, addend in struct.iter_unpack("<QQq", table.content):
        apply = APPLY[machine].get(info & 0xFFFFFFFF)
        symbol = symbols[info >> 32][1] if info >> 32 < len(symbols) else None
        if apply is None or symbol is None or abs(addend) > _MOST or place + WIDTH > section.size:
            raise Unsuitable(f"relocation {info & 0xFFFFFFFF}")
        at = offsets[table.info] + place
        code[at : at + WIDTH] = apply(code[at : at + WIDTH], symbol + addend, at)
