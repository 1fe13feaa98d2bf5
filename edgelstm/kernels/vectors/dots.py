"""How a machine multiplies four pairs of 8-bit integers into each 32-bit lane: every way is exact, none saturates.

Activations q and weights w lie within [-127, 127], nibbles within [0, 15]. A way first prepares an activation word of
four bytes, spread over all lanes, once for all weights that meet it.
"""

import functools
from collections.abc import Iterator, Sequence

from llvmlite import ir

from edgelstm.kernels.vectors.numba_types import INT, call, constant, ints

_BYTE, _SHORT = ir.IntType(8), ir.IntType(16)
Prepared = Sequence[ir.Value]


class Plain:
    """One product after the other, for machines with nothing better."""

    offset = 0

    def prepare(self, builder: ir.IRBuilder, word: ir.Value) -> Prepared:
        """What `add` needs of an activation word."""
        return (word,)

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        x, w = (_as(builder, value, _BYTE) for value in (prepared[0], words))
        wide = ints(x.type.count)
        products = builder.mul(builder.sext(x, wide), builder.sext(w, wide))
        return builder.add(sums, builder.add(*_halves(builder, builder.add(*_halves(builder, products)))))

    def add_nibbles(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Sequence[Prepared],
                    words: Sequence[ir.Value], rows: int) -> ir.Value:
        """The sums plus activation words, stored without offset, times the low halves of four words, then the high ones.

        Of four activation words only the low halves are met. `rows` is how many rows meet these weights.
        """
        for q, w in zip(prepared, _nibbles(builder, words), strict=False):
            sums = self.add(builder, sums, q, w)
        return sums


class Vnni(Plain):
    """x86 with vpdpbusd, which takes one side without a sign: activations plus 128, or nibbles."""

    offset = 128

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        return self._dot(builder, sums, prepared[0], words)

    def add_nibbles(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Sequence[Prepared],
                    words: Sequence[ir.Value], rows: int) -> ir.Value:
        """For a single row high halves stay where they are and count 16 times: one shift for the sum, none for the words."""
        if rows == 1 and len(prepared) == 8:
            return self._raised(builder, sums, prepared, words)
        for q, w in zip(prepared, _nibbles(builder, words), strict=False):
            sums = self._dot(builder, sums, w, q[0])
        return sums

    def _raised(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Sequence[Prepared],
                words: Sequence[ir.Value]) -> ir.Value:
        raised = constant(sums.type, 0)
        for (low,), (high,), word in zip(prepared[:4], prepared[4:], words, strict=True):
            sums = self._dot(builder, sums, builder.and_(word, constant(word.type, 0x0F0F0F0F)), low)
            raised = self._dot(builder, raised, builder.and_(word, constant(word.type, 0xF0F0F0F0)), high)
        return builder.add(sums, builder.ashr(raised, constant(sums.type, 4)))

    def _dot(self, builder: ir.IRBuilder, sums: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
        name = f"llvm.x86.avx512.vpdpbusd.{32 * sums.type.count}"
        return call(builder, name, sums.type, [sums, _as(builder, unsigned, _BYTE), _as(builder, signed, _BYTE)])


class Sign(Plain):
    """x86 with psignb: |x| times w with the sign of x; two products, at most 2 * 127 * 127, fit into 16 bits."""

    def prepare(self, builder: ir.IRBuilder, word: ir.Value) -> Prepared:
        """The activations and their magnitudes."""
        octets = _as(builder, word, _BYTE)
        return octets, self._call(builder, "psign.b", octets, octets)

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        signed = self._call(builder, "psign.b", _as(builder, words, _BYTE), prepared[0])
        return self._widen(builder, sums, self._call(builder, "pmadd.ub.sw", prepared[1], signed))

    def add_nibbles(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Sequence[Prepared],
                    words: Sequence[ir.Value], rows: int) -> ir.Value:
        """All 16 products of a 16-bit lane, at most 16 * 15 * 127, fit into it."""
        pairs = [self._call(builder, "pmadd.ub.sw", _as(builder, w, _BYTE), q[0])
                 for q, w in zip(prepared, _nibbles(builder, words), strict=False)]
        return self._widen(builder, sums, functools.reduce(builder.add, pairs))

    def _call(self, builder: ir.IRBuilder, name: str, a: ir.Value, b: ir.Value) -> ir.Value:
        wide = a.type.count == 32
        full = f"llvm.x86.avx2.{name}" if wide else f"llvm.x86.ssse3.{name}.128"
        result = a.type if name == "psign.b" else ir.VectorType(_SHORT, a.type.count // 2)
        return call(builder, full, result, [a, b])

    def _widen(self, builder: ir.IRBuilder, sums: ir.Value, pairs: ir.Value) -> ir.Value:
        return builder.add(sums, _pmaddwd(builder, pairs, constant(pairs.type, 1)))


class Madd(Plain):
    """x86 with nothing but products of 16-bit integers, summed by pairs: the even and the odd bytes of a word, widened."""

    def prepare(self, builder: ir.IRBuilder, word: ir.Value) -> Prepared:
        """The even and the odd activations."""
        return _widened(builder, word)

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        for x, w in zip(prepared, _widened(builder, words), strict=True):
            sums = builder.add(sums, self.pairs(builder, x, w))
        return sums

    def pairs(self, builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        """a0 * b0 + a1 * b1 of the 16-bit halves of each lane."""
        return _pmaddwd(builder, a, b)


class Wasm(Madd):
    """The same with the instruction of WebAssembly."""

    def pairs(self, builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
        """a0 * b0 + a1 * b1 of the 16-bit halves of each lane."""
        return call(builder, "llvm.wasm.dot", ints(4), [a, b])


class Neon(Plain):
    """AArch64: two products, at most 2 * 127 * 127, are summed in 16 bits, then two of those in 32."""

    pair_sums = "llvm.aarch64.neon.saddlp.v4i32.v8i16"

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        wide = ir.VectorType(_SHORT, 16)
        x, w = (builder.sext(_as(builder, value, _BYTE), wide) for value in (prepared[0], words))
        pairs = builder.add(*_halves(builder, builder.mul(x, w)))
        return builder.add(sums, call(builder, self.pair_sums, sums.type, [pairs]))


class Neon32(Neon):
    """The same on 32-bit ARM."""

    pair_sums = "llvm.arm.neon.vpaddls.v4i32.v8i16"


class Sdot(Plain):
    """AArch64 with the dot product extension."""

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        args = [sums, _as(builder, prepared[0], _BYTE), _as(builder, words, _BYTE)]
        return call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", sums.type, args)


class Smlad(Plain):
    """Cortex-M with the DSP extension: two 16-bit products and their sums in one instruction, lane by lane."""

    def prepare(self, builder: ir.IRBuilder, word: ir.Value) -> Prepared:
        """The even and the odd activations, two in a word."""
        builder.fence("seq_cst", "singlethread")
        return self._split(builder, _lane(builder, word, 0))

    def add(self, builder: ir.IRBuilder, sums: ir.Value, prepared: Prepared, words: ir.Value) -> ir.Value:
        """The sums plus activations times signed weights."""
        for lane in range(sums.type.count):
            total = _lane(builder, sums, lane)
            for x, w in zip(prepared, self._split(builder, _lane(builder, words, lane)), strict=True):
                total = call(builder, "llvm.arm.smlad", INT, [x, w, total])
            sums = builder.insert_element(sums, total, ir.Constant(INT, lane))
        return sums

    def _split(self, builder: ir.IRBuilder, word: ir.Value) -> Prepared:
        turned = call(builder, "llvm.fshr.i32", INT, [word, word, ir.Constant(INT, 8)])
        return tuple(call(builder, "llvm.arm.sxtb16", INT, [half]) for half in (word, turned))


def _pmaddwd(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    name = {8: "sse2.pmadd.wd", 16: "avx2.pmadd.wd", 32: "avx512.pmaddw.d.512"}[a.type.count]
    return call(builder, f"llvm.x86.{name}", ints(a.type.count // 2), [a, b])


def _nibbles(builder: ir.IRBuilder, words: Sequence[ir.Value]) -> Iterator[ir.Value]:
    """The low halves of all bytes, word by word, then the high halves."""
    for shift in (0, 4):
        for word in words:
            shifted = builder.lshr(word, constant(word.type, shift)) if shift else word
            yield builder.and_(shifted, constant(word.type, 0x0F0F0F0F))


def _halves(builder: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The elements at even and at odd places."""
    count = x.type.count
    first, second = (ir.Constant(ints(count // 2), list(range(start, count, 2))) for start in (0, 1))
    nothing = ir.Constant(x.type, ir.Undefined)
    return builder.shuffle_vector(x, nothing, first), builder.shuffle_vector(x, nothing, second)


def _widened(builder: ir.IRBuilder, words: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The even and the odd bytes as 16-bit integers."""
    shorts = _as(builder, words, _SHORT)
    eight = constant(shorts.type, 8)
    return builder.ashr(builder.shl(shorts, eight), eight), builder.ashr(shorts, eight)


def _as(builder: ir.IRBuilder, words: ir.Value, element: ir.IntType) -> ir.Value:
    bits = words.type.count * words.type.element.width
    return builder.bitcast(words, ir.VectorType(element, bits // element.width))


def _lane(builder: ir.IRBuilder, vector: ir.Value, lane: int) -> ir.Value:
    return builder.extract_element(vector, ir.Constant(INT, lane))


WAYS = {
    "vnni": Vnni(), "sign": Sign(), "madd": Madd(), "wasm": Wasm(), "sdot": Sdot(), "neon": Neon(), "neon32": Neon32(),
    "smlad": Smlad(), "plain": Plain(),
}  # fmt: skip
