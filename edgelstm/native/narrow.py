"""64-bit index arithmetic made 32 bits wide, for machines whose addresses have 32 bits.

The front end writes every count, offset and loop variable with 64 bits. On a 32-bit core each addition of them is two
instructions, each comparison three. Here a value is an *index* when it follows from a kernel's integer parameters and constants
alone, by arithmetic, comparison or choice. An index counts elements in memory, so 31 bits hold it. What is computed from data
(the 64-bit product of two 32-bit numbers, say) stays as wide as it is.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator

import llvmlite.binding as llvm

_FUNCTION = re.compile(r"^define [^\n]*\{$.*?^\}$", re.MULTILINE | re.DOTALL)
_NAME = r"%[\w.$]+"
_VALUE = rf"{_NAME}|-?\d+"
_DEFINITION = re.compile(rf"  ({_NAME}) = (.*?)((?:, ![\w.]+ !\d+)*)$")
_DEFINING = tuple(map(re.compile, (
    rf"(?:add|sub|mul|shl|and|or|xor|sdiv|srem|udiv|urem|lshr|ashr)(?: nuw| nsw| exact| disjoint)* i64 ({_VALUE}), ({_VALUE})",
    rf"select i1 \S+, i64 ({_VALUE}), i64 ({_VALUE})",
    rf"(?:tail )?call i64 @llvm\.[su](?:min|max)\.i64\(i64 ({_VALUE}), i64 ({_VALUE})\)(?: #\d+)?",
    rf"freeze i64 ({_VALUE})",
    r"(?:zext|sext)(?: nneg)? i(?:1|8|16) \S+ to i64",
)))  # fmt: skip
_PHI = re.compile(r"phi i64 (\[.*\])")
_COMPARISON = re.compile(rf"icmp (?:samesign )?\w+ i64 ({_VALUE}), ({_VALUE})")
_CONVERSION = re.compile(rf"(?:trunc|sitofp|uitofp)(?: nuw| nsw| nneg)* i64 ({_NAME}) to \S+")
_ARGUMENT = re.compile(rf"\bi64 (?:noundef |signext )*({_VALUE})(?=[,)])")
_CALL = re.compile(r"call [^@]*(@[\w.$]+)\((.*)\)")
_MARGIN = 1 << 16


def narrow(ir: str, machine: llvm.TargetMachine) -> str:
    """Target-free IR of a kernel, its index arithmetic in 32 bits; the parameters of functions keep their types."""
    text = _without_variables_in_memory(ir, machine)
    bodies = [found.group() for found in _FUNCTION.finditer(text)]
    indices = _indices(bodies)
    parts = iter([_rewrite(body, indices[number]) for number, body in enumerate(bodies)])
    text = _FUNCTION.sub(lambda _: next(parts), text)
    return text + "".join(f"declare i32 @{name}(i32, i32)\n" for name in _undeclared(text))


def _without_variables_in_memory(ir: str, machine: llvm.TargetMachine) -> str:
    module = llvm.parse_assembly(ir)
    manager = llvm.newpassmanagers.create_new_module_pass_manager()
    manager.add_sroa_pass()
    manager.add_aggressive_dce_pass()
    manager.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return re.sub(r"^(; ModuleID|source_filename|target ).*\n", "", str(module), flags=re.MULTILINE)


def _undeclared(text: str) -> Iterator[str]:
    for name in sorted(set(re.findall(r"call i32 @(llvm\.[su](?:min|max)\.i32)\(", text))):
        if not re.search(rf"^declare [^\n]*@{re.escape(name)}\(", text, re.MULTILINE):
            yield name


def _indices(bodies: list[str]) -> list[set[str]]:
    """For every function the names of its indices: the largest sets that nothing else flows into.

    Integer parameters of a kernel are indices; those of other functions are where every call gives one.
    """
    operands = [_operands(body) for body in bodies]
    names = {_function_name(body): number for number, body in enumerate(bodies)}
    calls = [(number, names[callee], given) for number, body in enumerate(bodies) for callee, given in _calls(body)
             if callee in names and not _function_name(body).startswith("@edgelstm_")]
    parameters = [_parameters(body) for body in bodies]
    found = [set(table) | set(own) for table, own in zip(operands, parameters, strict=True)]
    changed = True
    while changed:
        wrong = [{name for name in known & table.keys() if not _all_in(table[name], known)}
                 for known, table in zip(found, operands, strict=True)]
        for caller, callee, given in calls:
            wrong[callee] |= {own for own, value in zip(parameters[callee], given, strict=True)
                              if own in found[callee] and not _all_in([value], found[caller])}
        found = [known - bad for known, bad in zip(found, wrong, strict=True)]
        changed = any(wrong)
    return found


def _function_name(body: str) -> str:
    return re.search(r"@[\w.$]+", body).group()


def _parameters(body: str) -> list[str]:
    return _ARGUMENT.findall(body[: body.index("\n")])


def _calls(body: str) -> Iterator[tuple[str, list[str]]]:
    for callee, given in _CALL.findall(body):
        yield callee, _ARGUMENT.findall(f"{given})")


def _operands(body: str) -> dict[str, list[str]]:
    """The values that may be indices, and what each is computed from."""
    table = {}
    for line in body.split("\n"):
        defined = _DEFINITION.match(line)
        if defined is not None and (phi := _PHI.fullmatch(defined[2])):
            table[defined[1]] = re.findall(r"\[ (\S+),", phi[1])
        elif defined is not None:
            for found in filter(None, (pattern.fullmatch(defined[2]) for pattern in _DEFINING)):
                table[defined[1]] = list(found.groups())
    return table


def _all_in(values: Iterable[str], indices: set[str]) -> bool:
    return all(value in indices if value.startswith("%") else _short_constant(value) is not None for value in values)


def _short_constant(text: str) -> str | None:
    """A constant in 32 bits; what lies at an end of the 64-bit range goes to the same end of the shorter one."""
    value = int(text)
    for end, short in ((0, 0), (-(2**63), -(2**31)), (2**63, 2**31)):
        reach = 2**31 if end == 0 else _MARGIN
        if -reach <= value - end < reach:
            return str(value - end + short)
    return None


def _rewrite(body: str, indices: set[str]) -> str:
    """Indices in 32 bits; where something else wants one in 64, it takes a copy that stands behind the definition."""
    head, *lines = body.split("\n")
    parameters = {name for name in _ARGUMENT.findall(head) if name in indices}
    short = functools.partial(_short, parameters=parameters)
    lines = [_line(line, indices, short) for line in lines]
    first = next(number for number, line in enumerate(lines) if line.startswith("  "))
    entry = [f"  {_short(name, parameters)} = trunc i64 {name} to i32" for name in sorted(parameters)]
    wanted = {f"%{name}" for line in lines for name in re.findall(r"%wide\.([\w.$]+)", line)}
    return "\n".join([head, *lines[:first], *entry, *_with_copies(lines[first:], wanted)])


def _short(value: str, parameters: set[str]) -> str:
    """The name or text of an index where 32 bits are wanted."""
    if value in parameters:
        return f"%short.{value[1:]}"
    return value if value.startswith("%") else str(_short_constant(value))


def _line(line: str, indices: set[str], short: Callable[[str], str]) -> str:
    defined = _DEFINITION.match(line)
    name, text, _ = defined.groups() if defined else ("", "", "")
    if name in indices:
        return _in_32_bits(line, short)
    compared = _COMPARISON.fullmatch(text)
    converted = _CONVERSION.fullmatch(text)
    if (compared and _all_in(compared.groups(), indices)) or (converted and converted[1] in indices):
        line = _in_32_bits(line, short)
        return re.sub(r"= (?:trunc.*?|sext.*?|zext.*?) i32 (\S+) to i32", r"= add i32 \1, 0", line)
    if text.startswith("getelementptr"):
        return re.sub(rf"\bi64 ({_NAME})", lambda m: f"i32 {short(m[1])}" if m[1] in indices else m[0], line)
    return re.sub(_NAME, lambda m: _wide(m[0], short) if m[0] in indices else m[0], line)


def _wide(value: str, short: Callable[[str], str]) -> str:
    """The name of an index where 64 bits are wanted; a parameter has them itself."""
    return f"%wide.{value[1:]}" if short(value) == value else value


def _in_32_bits(line: str, short: Callable[[str], str]) -> str:
    return re.sub(rf"(?<=[ \[(])({_VALUE})(?=[,)\s]|$)", lambda found: short(found[0]), re.sub(r"\bi64\b", "i32", line))


def _with_copies(lines: list[str], wanted: set[str]) -> Iterator[str]:
    """The lines, with the 64-bit copies behind what they copy; behind all phis of its block where that is a phi."""
    waiting: list[str] = []
    for line in lines:
        if waiting and " = phi " not in line:
            yield from waiting
            waiting = []
        yield line
        defined = _DEFINITION.match(line)
        if defined and defined[1] in wanted:
            waiting.append(f"  %wide.{defined[1][1:]} = sext i32 {defined[1]} to i64")
