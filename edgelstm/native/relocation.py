"""Relocations relative to the program counter, of x86-64 and AArch64: how an offset is written into an instruction."""

from collections.abc import Callable

WIDTH = 4
_PAGE = 4096

Apply = Callable[[bytes, int, int], bytes]  # what stands there, the target and the place as offsets in the image


class Unsuitable(Exception):
    """An object cannot become an image."""


def _fitting(value: int, bits: int) -> int:
    """The value, which must fit into so many bits with its sign, as an unsigned number of that width."""
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise Unsuitable("a relocation goes too far")
    return value & ((1 << bits) - 1)


def _relative(_: bytes, target: int, place: int) -> bytes:
    """R_X86_64_PC32, R_X86_64_PLT32, R_AARCH64_PREL32."""
    return _fitting(target - place, 32).to_bytes(4, "little")


def _page(code: bytes, target: int, place: int) -> bytes:
    """R_AARCH64_ADR_PREL_PG_HI21: pages between an adrp and its target, in two fields."""
    pages = _fitting(target // _PAGE - place // _PAGE, 21)
    return _with(code, 0x9F00001F, (pages & 3) << 29 | pages >> 2 << 5)


def _branch(code: bytes, target: int, place: int) -> bytes:
    """R_AARCH64_JUMP26, R_AARCH64_CALL26."""
    if (target - place) % 4:
        raise Unsuitable("a branch into the middle of an instruction")
    return _with(code, 0xFC000000, _fitting((target - place) // 4, 26))


def _in_page(scale: int) -> Apply:
    """R_AARCH64_ADD_ABS_LO12_NC and R_AARCH64_LDST*_ABS_LO12_NC: the offset in a page, in units of 2**scale bytes."""

    def apply(code: bytes, target: int, place: int) -> bytes:
        if target % (1 << scale):
            raise Unsuitable("an address that is not aligned")
        return _with(code, 0xFFC003FF, target % _PAGE >> scale << 10)

    return apply


def _with(code: bytes, kept: int, field: int) -> bytes:
    return (int.from_bytes(code, "little") & kept | field).to_bytes(4, "little")


# By ELF machine and type of relocation; each of them changes WIDTH bytes.
APPLY: dict[int, dict[int, Apply]] = {
    62: {2: _relative, 4: _relative},
    183: {261: _relative, 275: _page, 282: _branch, 283: _branch,
          **{kind: _in_page(scale) for kind, scale in ((277, 0), (278, 0), (284, 1), (285, 2), (286, 3), (299, 4))}},
}
