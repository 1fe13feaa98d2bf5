"""How much stack an entry needs: the frames that LLVM lays out, added up along the calls.

The optimised module is written once more as assembly, with unwind tables so that every change of the stack pointer shows.
Helpers of the compiler's runtime, which cores without a floating-point unit call, are not counted.
"""

import re
from collections.abc import Iterable, Mapping

import llvmlite.binding as llvm

from edgelstm.native.optimise import target_machine
from edgelstm.native.target import Target

_LABEL = re.compile(r'^"?([A-Za-z_][\w.$]*)"?:', re.MULTILINE)
_CFA = re.compile(r"\.cfi_def_cfa(?:_offset |[ ][^,\n]+, )(\d+)")
_PUSHED = re.compile(r"^\s*(v?)push(?:\.w)?\s+\{([^}]*)\}", re.MULTILINE)
_LOWERED = re.compile(r"^\s*subs?w?(?:\.w)?\s+sp,(?:\s*sp,)?\s*#(\d+)", re.MULTILINE)
_ALIGNED = re.compile(r"^\s*bfc\s+\w+, #0, #(\d+)", re.MULTILINE)
_SHADOW = re.compile(r"global\.get\s+__stack_pointer\s+i32\.const\s+(\d+)\s+i32\.sub")
_RETURN_ADDRESS = 8  # bytes that a call pushes on x86-64


def entry_stacks(module: llvm.ModuleRef, target: Target, entries: Iterable[str]) -> dict[str, int]:
    """Bytes of stack by entry, its own frame and those of everything it calls included."""
    text = re.sub(r"^(attributes #\d+ = \{)", r"\1 uwtable noredzone", str(module), flags=re.MULTILINE)
    frames = _frames(target_machine(target).emit_assembly(llvm.parse_assembly(text)), target)
    called = {function.name: _called(function) for function in module.functions if not function.is_declaration}
    return {entry: _depth(entry, frames, called) for entry in entries}


def _depth(name: str, frames: Mapping[str, int], called: Mapping[str, set[str]]) -> int:
    return frames[name] + max((_depth(other, frames, called) for other in called[name] if other in called), default=0)


def _called(function: llvm.ValueRef) -> set[str]:
    calls = (i for block in function.blocks for i in block.instructions if i.opcode == "call")
    return {list(call.operands)[-1].name for call in calls}


def _frames(assembly: str, target: Target) -> dict[str, int]:
    """The frame of every function, by the name of its label."""
    prefix = "_" if "darwin" in target.triple or "macos" in target.triple else ""
    marks = [*_LABEL.finditer(assembly)]
    ends = [mark.start() for mark in marks[1:]] + [len(assembly)]
    bodies = {mark[1].removeprefix(prefix): assembly[mark.end() : end] for mark, end in zip(marks, ends, strict=True)}
    return {name: _frame(body, target) for name, body in bodies.items()}


def _frame(body: str, target: Target) -> int:
    if target.triple.startswith(("thumb", "arm")) and "64" not in target.triple:
        pushed = sum(_registers(names) * (8 if wide else 4) for wide, names in _PUSHED.findall(body))
        return pushed + sum(map(int, _LOWERED.findall(body))) + sum((1 << int(bits)) - 4 for bits in _ALIGNED.findall(body))
    if target.triple.startswith("wasm"):
        return sum(map(int, _SHADOW.findall(body)))
    least = _RETURN_ADDRESS if target.triple.startswith("x86_64") else 0
    return max([least, *map(int, _CFA.findall(body))])


def _registers(names: str) -> int:
    """How many registers a list such as `r4, r5, d8-d15` holds."""
    count = 0
    for part in names.split(","):
        first, dash, last = part.strip().partition("-")
        count += int(last[1:]) - int(first[1:]) + 1 if dash else 1
    return count
