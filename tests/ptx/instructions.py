"""What instructions of PTX compute, as C: `D`, `A`, `B`, `C` are the registers of a thread, unions of all types.

Instructions that touch memory or wait for other threads are in machine.c; `memory` says what a name means to them.
"""

import itertools
import re
from dataclasses import dataclass

SIGNED, UNSIGNED, PLAIN = ("s16", "s32", "s64"), ("u16", "u32", "u64"), ("b16", "b32", "b64")
COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
WITH_MEMORY = ("load", "store", "atomic", "prefetch", "barrier", "warp", "fence", "shuffle", "arrive", "wait", "mapped")
CONTROL = ("ret", "trap", "bra")
SPACES = {"global": 0, "shared": 1, "local": 2, "": 3, "shared::cluster": 1, "shared::cta": 1, "const": 0}
STRENGTHS = {"": 0, "weak": 0, "volatile": 1, "relaxed": 1, "acquire": 2, "release": 3, "acq_rel": 4}
OPERATIONS = {"add": 0, "min": 1, "max": 2, "exch": 3, "cas": 4, "and": 5, "or": 6, "inc": 7}
SHUFFLES = {"up": 0, "down": 1, "bfly": 2, "idx": 3}
ACCESS = re.compile(r"(?P<what>ld|st)(\.(?P<strength>weak|volatile|relaxed|acquire|release))?(\.(cta|cluster|gpu|sys))?"
                    r"(\.(?P<space>global|shared::cluster|shared::cta|shared|local|const))?(\.(?P<hint>c[agsv]|lu|wb|wt))?"
                    r"(\.(?P<nc>nc))?(\.v(?P<lanes>[248]))?\.(?P<kind>[subf])(?P<bits>8|16|32|64)")
ATOMIC = re.compile(r"(?P<what>atom|red)(\.(?P<strength>relaxed|acquire|release|acq_rel))?(\.(cta|cluster|gpu|sys))?"
                    r"(\.(?P<space>global|shared::cluster|shared::cta|shared))?\.(?P<operation>\w+)"
                    r"\.(?P<kind>[subf])(?P<bits>32|64)")


@dataclass(frozen=True)
class Memory:
    """What an instruction does to memory. `kind`: 0 unsigned, 1 signed, 2 a float; `mode`: the operation, or which barrier."""

    code: int = 0
    space: int = 0
    width: int = 0
    kind: int = 0
    lanes: int = 1
    strength: int = 0
    mode: int = 0

    def words(self) -> tuple[int, ...]:
        return self.space, self.width, self.kind, self.lanes, self.strength, self.mode


def memory(name: str) -> Memory | None:
    """What a name of PTX means, None where it names a plain computation."""
    access, atomic = ACCESS.fullmatch(name), ATOMIC.fullmatch(name)
    if access:
        code = CODES["load" if access["what"] == "ld" else "store"]
        return Memory(code, SPACES[access["space"] or ""], int(access["bits"]) // 8, int(access["kind"] == "s"),
                      int(access["lanes"] or 1), STRENGTHS[access["strength"] or ""], int(access["nc"] is not None))
    if atomic and atomic["operation"] in OPERATIONS:
        kind = {"s": 1, "f": 2}.get(atomic["kind"], 0)
        return Memory(CODES["atomic"], SPACES[atomic["space"] or ""], int(atomic["bits"]) // 8, kind,
                      int(atomic["what"] == "atom"), STRENGTHS[atomic["strength"] or "relaxed"],
                      OPERATIONS[atomic["operation"]])
    return _waiting(name)


def _waiting(name: str) -> Memory | None:
    shuffle = re.fullmatch(r"shfl\.sync\.(\w+)\.b32", name)
    if shuffle:
        return Memory(CODES["shuffle"], mode=SHUFFLES[shuffle[1]])
    if re.fullmatch(r"prefetch\.global\.L[12]", name):
        return Memory(CODES["prefetch"], width=1)
    if re.fullmatch(r"(membar\.(gl|cta|sys|cluster))|fence(\.proxy)?\.[\w.]+", name):
        return Memory(CODES["fence"], mode=int(name.endswith("cta")))
    if re.fullmatch(r"(bar|barrier)(\.cta)?\.sync(\.aligned)?", name):
        return Memory(CODES["barrier"])
    if name == "bar.warp.sync":
        return Memory(CODES["warp"])
    cluster = re.fullmatch(r"barrier\.cluster\.(arrive|wait)(\.(release|acquire|relaxed))?(\.aligned)?", name)
    if cluster:
        return Memory(CODES[cluster[1]], mode=int(cluster[3] == "relaxed"))
    if re.fullmatch(r"mapa(\.shared::cluster)?\.u(32|64)", name):
        return Memory(CODES["mapped"])
    return None


def _whole_numbers() -> dict[str, str]:
    found = {}
    for kind in (*SIGNED, *UNSIGNED):
        bits, u = int(kind[1:]), f"u{kind[1:]}"
        for name, sign in (("add", "+"), ("sub", "-"), ("mul.lo", "*")):
            found[f"{name}.{kind}"] = f"D.{u} = (uint{bits}_t)((uint64_t)A.{u} {sign} (uint64_t)B.{u})"
        found[f"mad.lo.{kind}"] = f"D.{u} = (uint{bits}_t)((uint64_t)A.{u} * B.{u} + C.{u})"
        low = f"A.{kind} == INT{bits}_MIN && B.{kind} == -1" if kind[0] == "s" else "0"
        for name, sign, other in (("div", "/", f"A.{kind}"), ("rem", "%", "0")):
            found[f"{name}.{kind}"] = (f'if (!B.{u}) fail(t, "divides by zero"); else D.{kind} = '
                                       f"{low} ? {other} : A.{kind} {sign} B.{kind}")
        found[f"min.{kind}"] = f"D.{kind} = A.{kind} < B.{kind} ? A.{kind} : B.{kind}"
        found[f"max.{kind}"] = f"D.{kind} = A.{kind} > B.{kind} ? A.{kind} : B.{kind}"
        fill = f"(A.{kind} < 0 ? -1 : 0)" if kind[0] == "s" else "0"
        found[f"shr.{kind}"] = f"D.{kind} = B.u32 >= {bits} ? {fill} : A.{kind} >> B.u32"
    for kind in SIGNED:
        found[f"neg.{kind}"] = f"D.u{kind[1:]} = (uint{kind[1:]}_t)(0 - A.u{kind[1:]})"
        found[f"abs.{kind}"] = f"D.u{kind[1:]} = (uint{kind[1:]}_t)(A.{kind} < 0 ? 0 - A.u{kind[1:]} : A.u{kind[1:]})"
    for bits, wide in ((16, 32), (32, 64)):
        for s in "su":
            found[f"mul.wide.{s}{bits}"] = f"D.{s}{wide} = ({_c(f'{s}{wide}')})A.{s}{bits} * B.{s}{bits}"
            product = f"(({_c(f'{s}{wide}')})A.{s}{bits} * B.{s}{bits})"
            found[f"mad.wide.{s}{bits}"] = f"D.u{wide} = (uint{wide}_t){product} + C.u{wide}"
            found[f"mul.hi.{s}{bits}"] = f"D.{s}{bits} = ({_c(f'{s}{bits}')})({product} >> {bits})"
    for s in "su":
        found[f"mul.hi.{s}64"] = f"D.{s}64 = ({_c(f'{s}64')})(((__int128)A.{s}64 * B.{s}64) >> 64)"
        found[f"bfe.{s}32"] = f"D.{s}32 = extracted_{s}(A.{s}32, B.u32, C.u32)"
    return found


def _bits() -> dict[str, str]:
    found = {}
    for kind in (*PLAIN, "pred"):
        u = "u64" if kind == "pred" else f"u{kind[1:]}"
        for name, sign in (("and", "&"), ("or", "|"), ("xor", "^")):
            found[f"{name}.{kind}"] = f"D.{u} = A.{u} {sign} B.{u}"
        found[f"not.{kind}"] = "D.u64 = !A.u64" if kind == "pred" else f"D.{u} = ~A.{u}"
        if kind != "pred":
            found[f"shl.{kind}"] = f"D.{u} = B.u32 >= {kind[1:]} ? 0 : A.{u} << B.u32"
            found[f"shr.{kind}"] = f"D.{u} = B.u32 >= {kind[1:]} ? 0 : A.{u} >> B.u32"
    found |= {f"mov.{kind}": "D = A" for kind in (*SIGNED, *UNSIGNED, *PLAIN, "f32", "f64", "pred")}
    found |= {f"cvta{to}{space}.u64": "D = A" for to in (".to.", ".") for space in ("global", "shared", "local")}
    found |= {f"selp.{kind}": "D = C.u64 ? A : B" for kind in (*SIGNED, *UNSIGNED, *PLAIN, "f32", "f64")}
    found |= {
        "bfi.b32": "D.u32 = inserted(A.u32, B.u32, C.u32, E.u32, 32)",
        "bfi.b64": "D.u64 = inserted(A.u64, B.u64, C.u32, E.u32, 64)",
        "prmt.b32": "D.u32 = permuted(A.u32, B.u32, C.u32)", "popc.b32": "D.u32 = __builtin_popcount(A.u32)",
        "clz.b32": "D.u32 = A.u32 ? __builtin_clz(A.u32) : 32", "clz.b64": "D.u32 = A.u64 ? __builtin_clzll(A.u64) : 64",
        "dp4a.s32.s32": "D.s32 = dot4(A.u32, B.u32, C.s32)", "lop3.b32": "D.u32 = looked_up(A.u32, B.u32, C.u32, E.u32)",
        "shf.l.wrap.b32": "D.u32 = (uint32_t)((((uint64_t)B.u32 << 32 | A.u32) << (C.u32 & 31)) >> 32)",
        "shf.r.wrap.b32": "D.u32 = (uint32_t)(((uint64_t)B.u32 << 32 | A.u32) >> (C.u32 & 31))",
    }  # fmt: skip
    return found


def _comparisons() -> dict[str, str]:
    found = {}
    for kind in (*SIGNED, *UNSIGNED, *PLAIN, "f32", "f64"):
        field = f"u{kind[1:]}" if kind[0] == "b" else kind
        a, b = f"A.{field}", f"B.{field}"
        rules = {name: f"{a} {sign} {b}" for name, sign in COMPARED.items()}
        if kind[0] == "f":  # != of C holds for NaN too, that of PTX does not
            rules["ne"] = f"{a} < {b} || {a} > {b}"
            rules |= {f"{name}u": f"isunordered({a}, {b}) || ({rule})" for name, rule in rules.items()}
            rules |= {"num": f"!isunordered({a}, {b})", "nan": f"isunordered({a}, {b})"}
        if kind[0] == "u":
            rules |= {"lo": rules["lt"], "ls": rules["le"], "hi": rules["gt"], "hs": rules["ge"]}
        for name, rule in rules.items():
            found[f"setp.{name}.{kind}"] = f"D.u64 = ({rule})"
    return found


def _floats() -> dict[str, str]:
    found = {}
    for kind, f in (("f32", "f"), ("f64", "")):
        k, one = kind, "1.0f" if f else "1.0"
        for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/")):
            found[f"{name}.rn.{k}"] = f"D.{k} = A.{k} {sign} B.{k}"
        found |= {f"{name}.{k}": found[f"{name}.rn.{k}"] for name in ("add", "sub", "mul")}
        found |= {
            f"fma.rn.{k}": f"D.{k} = fma{f}(A.{k}, B.{k}, C.{k})",
            f"abs.{k}": f"D.{k} = fabs{f}(A.{k})", f"neg.{k}": f"D.{k} = -A.{k}",
            f"sqrt.rn.{k}": f"D.{k} = sqrt{f}(A.{k})", f"rcp.rn.{k}": f"D.{k} = {one} / A.{k}",
            f"copysign.{k}": f"D.{k} = copysign{f}(B.{k}, A.{k})",
            f"min.{k}": f"D.{k} = least{f}(A.{k}, B.{k})", f"max.{k}": f"D.{k} = greatest{f}(A.{k}, B.{k})",
        }  # fmt: skip
    found |= {f"{name}.approx.{ftz}f32": f"D.f32 = {code}" for ftz in ("",) for name, code in (
        ("ex2", "exp2f(A.f32)"), ("lg2", "log2f(A.f32)"), ("rcp", "1.0f / A.f32"), ("sqrt", "sqrtf(A.f32)"),
        ("rsqrt", "1.0f / sqrtf(A.f32)"), ("sin", "sinf(A.f32)"), ("cos", "cosf(A.f32)"), ("div", "A.f32 / B.f32"))}
    found["div.full.f32"] = "D.f32 = A.f32 / B.f32"
    return found


def _conversions() -> dict[str, str]:
    whole = [f"{s}{bits}" for s in "su" for bits in (8, 16, 32, 64)]
    found = {f"cvt.{to}.{of}": f"D.{to[0]}64 = ({_c(to)})A.{of}" for to, of in itertools.product(whole, whole)}
    rounded = {"rni": "nearbyint{}(A.{})", "rzi": "trunc{}(A.{})", "rmi": "floor{}(A.{})", "rpi": "ceil{}(A.{})"}
    for kind, f in (("f32", "f"), ("f64", "")):
        found |= {f"cvt.rn.{kind}.{of}": f"D.{kind} = ({_c(kind)})A.{of}" for of in whole}
        for name, code in rounded.items():
            found[f"cvt.{name}.{kind}.{kind}"] = f"D.{kind} = {code.format(f, kind)}"
            found |= {f"cvt.{name}.{to}.{kind}": f"D.{to[0]}64 = to_{to}({code.format(f, kind)}, {int(kind == 'f64')})"
                      for to in whole}
    found |= {"cvt.f64.f32": "D.f64 = A.f32", "cvt.rn.f32.f64": "D.f32 = (float)A.f64",
              "cvt.sat.f32.f32": "D.f32 = A.f32 > 0 ? (A.f32 < 1 ? A.f32 : 1) : 0"}
    return found


def _c(kind: str) -> str:
    return {"f32": "float", "f64": "double"}.get(kind, f"{'u' * (kind[0] == 'u')}int{kind[1:]}_t")


SIMPLE = _whole_numbers() | _bits() | _comparisons() | _floats() | _conversions()
CODES = {name: number for number, name in enumerate([*CONTROL, *WITH_MEMORY, *SIMPLE])}
