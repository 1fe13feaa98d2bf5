"""A kernel's PTX as numbers for machine.c: instructions, and the slots of their operands in the registers of a thread.

The slots of a thread begin with its SPECIAL registers, the parameters of the kernel and all constants.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.ptx import instructions
from tests.ptx.instructions import Memory

DIMENSIONS = ("tid", "ntid", "ctaid", "nctaid", "cluster_ctaid", "cluster_nctaid", "clusterid", "nclusterid")
SPECIAL = (*(f"%{name}.{axis}" for name in DIMENSIONS for axis in "xyz"), "%laneid", "%warpid", "%cluster_ctarank",
           "%cluster_nctarank", "%dynamic_smem_size", "%total_smem_size")  # fmt: skip
SHARED, LOCAL = 1 << 24, 1 << 25  # where the shared memory of a block and the local memory of a thread seem to lie
SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
TOKEN = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")
DECLARED = re.compile(r"\.(shared|local|const|global)\s+(?:\.attribute\(.*?\)\s*)?\.align\s+(\d+)\s+\.\w+\s+([\w$]+)\[(\d*)\]")


class UnknownCode(Exception):
    """PTX that the machine does not know."""


@dataclass
class Instruction:
    """One instruction; operands are slots, `target` is where a branch goes, and memory is accessed at the last operand."""

    code: int
    line: int
    guard: int = -1
    negated: int = 0
    target: int = 0
    operands: list[int] = field(default_factory=list)
    offset: int = 0
    memory: Memory = field(default_factory=Memory)


@dataclass
class Kernel:
    """`parameters`: the bytes of each; `constants`: the values of the slots behind the parameters; `lines`: of the source."""

    parameters: list[int]
    constants: list[int]
    slots: int
    code: list[Instruction]
    static_shared: int
    local: int
    lines: list[str]


def parse(text: str) -> Kernel:
    """The only entry of a module. Raises UnknownCode."""
    return _Reader(text).kernel()


class _Reader:
    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._parameters: dict[str, int] = {}
        self._symbols: dict[str, int] = {}
        self._static, self._local = 0, 0
        self._declared: set[str] = set()
        self._inner: dict[str, str] = {}
        self._constants: dict[int, int] = {}
        self._registers: dict[str, int] = {}
        self._labels: dict[str, int] = {}

    def kernel(self) -> Kernel:
        statements = self._statements()
        first = len(SPECIAL) + len(self._parameters)
        constants = [value for _, body in statements for value in self._literals(body)]
        self._constants = {value: first + k for k, value in enumerate(dict.fromkeys([0, *constants]))}
        code = [self._instruction(line, body) for line, body in statements]
        code.append(Instruction(instructions.CODES["ret"], len(self._lines)))
        for instruction in code:
            if isinstance(instruction.target, str):
                instruction.target = self._labels[instruction.target]
        slots = first + len(self._constants) + len(self._registers)
        return Kernel(list(self._parameters.values()), list(self._constants), slots, code, self._static, self._local,
                      self._lines)

    def _statements(self) -> list[tuple[int, str]]:
        """Instructions with the numbers of their lines; notes what is declared."""
        found: list[tuple[int, str]] = []
        entries = 0
        for number, raw in enumerate(self._lines, 1):
            line = raw.split("//")[0].strip()
            label = re.match(r"(\$?[\w$]+):$", line)
            if label:
                self._labels[label[1]] = len(found)
            elif line.startswith("."):
                entries += ".entry" in line
                self._declare(line)
            else:
                found += [(number, body) for body in self._bodies(number, line)]
        if entries != 1:
            raise UnknownCode(f"{entries} kernels in a module; the machine runs one, with all functions inlined")
        return found

    def _bodies(self, number: int, line: str) -> Iterator[str]:
        """The instructions of a line. Braces around some of them have registers of their own."""
        *bodies, rest = line.split(";")
        for body in (each.strip() for each in [*bodies, rest]):
            while body.startswith("{"):
                body, self._inner = body[1:].strip(), {}
            own = re.match(r"\.reg\s+\.\w+\s+(\w+)$", body)
            if own:
                self._inner[own[1]] = f"%{own[1]}.{number}"
                self._declared.add(self._inner[own[1]])
            elif re.match(r"[@a-z]", body):
                yield re.sub(r"(?<![\w.%$])\w+(?![\w.])", lambda word: self._inner.get(word[0], word[0]), body)
            elif body not in ("", "}", "(", ")"):
                raise UnknownCode(f"line {number}: {line}")
        if rest.strip() not in ("", "{", "}", "(", ")"):
            raise UnknownCode(f"line {number}: {line}")

    def _declare(self, line: str) -> None:
        parameter = re.match(r"\.param\s+\.\D(\d+)\s+([\w$]+),?$", line)
        memory = DECLARED.search(line)
        if parameter:
            self._parameters[parameter[2]] = SIZES[parameter[1]]
        elif memory and memory[1] == "shared":
            self._share(memory)
        elif memory and memory[1] == "local":
            self._symbols[memory[3]], self._local = LOCAL, int(memory[4])
        elif line.startswith(".reg"):
            self._declared |= {name.split("<")[0] for name in re.findall(r"%[\w<>]+", line)}
        elif not line.startswith((".version", ".target", ".address_size", ".common", ".visible .entry", ".pragma", ".maxntid",
                                  ".minnctapersm", ".reqntid", ".maxclusterrank")):
            raise UnknownCode(line)

    def _share(self, memory: re.Match) -> None:
        """Shared arrays one behind the other; those whose size the launch gives come behind all others."""
        align, size = int(memory[2]), memory[4]
        if size:
            self._static = -(-self._static // align) * align
            self._symbols[memory[3]] = SHARED + self._static
            self._static += int(size)
        else:
            self._symbols[memory[3]] = -1

    def _behind(self) -> int:
        return SHARED + -(-self._static // 16) * 16

    def _literals(self, body: str) -> list[int]:
        found = []
        for token in re.findall(r"[^\s,{}|\[\]+@!;]+(?:\+-?\d+)?", re.sub(r"^(?:@!?%p\d+\s+)?\S+", "", body)):
            value = self._literal(token.split("+")[0])
            if value is not None:
                found.append(value)
        return found

    def _literal(self, token: str) -> int | None:
        if re.fullmatch(r"-?\d+|0[xX][0-9a-fA-F]+", token):
            return int(token, 0) & 0xFFFFFFFFFFFFFFFF
        if re.fullmatch(r"0[fF][0-9A-Fa-f]{8}|0[dD][0-9A-Fa-f]{16}", token):
            return int(token[2:], 16)
        if token in self._symbols:
            return self._behind() if self._symbols[token] < 0 else self._symbols[token]
        return None

    def _slot(self, token: str) -> int:
        """The slot of a register, a parameter or a constant."""
        if token in SPECIAL:
            return SPECIAL.index(token)
        if token in self._parameters:
            return len(SPECIAL) + list(self._parameters).index(token)
        value = self._literal(token)
        if value is not None:
            return self._constants[value]
        if token not in self._declared and token.rstrip("0123456789") not in self._declared:
            raise UnknownCode(f"the operand {token}")
        first = len(SPECIAL) + len(self._parameters) + len(self._constants)
        return first + self._registers.setdefault(token, len(self._registers))

    def _instruction(self, line: int, body: str) -> Instruction:
        guard = re.match(r"@(!?)(%p\d+)\s+", body)
        body = body[guard.end() :] if guard else body
        name, *rest = body.split(None, 1)
        try:
            made = self._made(line, name, TOKEN.findall(rest[0]) if rest else [])
        except UnknownCode as unknown:
            raise UnknownCode(f"line {line}: {body}: {unknown}") from None
        if guard:
            made.guard, made.negated = self._slot(guard[2]), int(bool(guard[1]))
        return made

    def _made(self, line: int, name: str, tokens: list[str]) -> Instruction:
        if name.startswith("ld.param"):
            return Instruction(instructions.CODES["mov.b64"], line, operands=[self._slot(t.strip("[]")) for t in tokens])
        if name in ("ret", "exit"):
            return Instruction(instructions.CODES["ret"], line)
        if name in ("bra", "bra.uni"):
            return Instruction(instructions.CODES["bra"], line, target=tokens[0])
        memory = instructions.memory(name)
        if memory is not None:
            return self._access(line, memory, tokens)
        if name not in instructions.CODES:
            raise UnknownCode("this instruction is not known")
        return Instruction(instructions.CODES[name], line,
                           operands=[self._slot(each) for token in tokens for each in token.split("|")])

    def _access(self, line: int, memory: Memory, tokens: list[str]) -> Instruction:
        """Registers first, then the address."""
        places = [token for token in tokens if token.startswith("[")]
        values = [t.strip() for token in tokens if token not in places for t in re.split(r"[,|]", token.strip("{}"))]
        operands, offset = [self._slot(value) for value in values], 0
        if places:
            base, _, added = places[0].strip("[]").partition("+")
            operands.append(self._slot(base.strip()))
            offset = int(added or 0)
        return Instruction(memory.code, line, operands=operands, offset=offset, memory=memory)


def packed(kernel: Kernel) -> bytes:
    """The instructions as machine.c has them."""
    parts = []
    for one in kernel.code:
        operands = (one.operands + [-1] * 8)[:8]
        parts.append(struct.pack("<5i8i7iq", one.code, one.line, one.guard, one.negated, one.target, *operands,
                                 *one.memory.words(), len(one.operands), one.offset))
    return b"".join(parts)
