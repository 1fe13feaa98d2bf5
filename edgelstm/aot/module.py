"""A model as one LLVM module: its kernels linked in, their arguments constant, and the C entries around them.

    void <m>_init(void *state), void <m>_reset(void *state)
    void <m>_step(void *state, void *arena, inputs..., outputs...)
    void <m>_run(void *state, void *arena, int32_t steps, inputs..., outputs...)

With weights apart from the code, `const void *weights` is the first parameter of step and run. The weights enter the module
only when it has been optimised, so that LLVM neither copies them nor folds them into instructions.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from edgelstm import kernels
from edgelstm.aot.plan import ARENA, STATE, WEIGHTS, Place, StepProgram
from edgelstm.native.compiler import kernel_ir
from edgelstm.native.executor import flushing
from edgelstm.native.optimise import bind, optimise, target_machine
from edgelstm.native.target import Target

_PRIVATE = (WEIGHTS, STATE, ARENA)


@dataclass(frozen=True)
class Wishes:
    """How to compile: `small` keeps loops rolled, `weights_apart` leaves the weights out of the object."""

    small: bool = False
    weights_apart: bool = False


def compile_model(program: StepProgram, target: Target, wishes: Wishes = Wishes()) -> llvm.ModuleRef:
    """The optimised module of a model, with its weights where they are not kept apart."""
    module = optimised(program, target, wishes)
    if program.weights and not wishes.weights_apart:
        link_weights(module, program)
    return module


def optimised(program: StepProgram, target: Target, wishes: Wishes) -> llvm.ModuleRef:
    """The optimised module, which still needs its weights."""
    linked = {name: _kernel(name, target) for name in dict.fromkeys(call.kernel for call in program.calls)}
    signatures = {name: _signature(module, name) for name, module in linked.items()}
    module = llvm.parse_assembly("\n".join(_text(program, target, wishes, signatures)))
    for kernel in linked.values():
        module.link_in(kernel)
    for symbol in (*module.functions, *module.global_variables):
        if symbol.name not in entries(program) and not symbol.is_declaration:
            symbol.linkage = llvm.Linkage.internal
    bound = llvm.parse_assembly(bind(str(module), target, "optsize" if wishes.small else ""))
    bound.verify()
    optimise(bound, target, small=wishes.small)
    for number, function in enumerate(bound.functions):
        if not function.name:  # LLVM merges equal functions into one without a name
            function.name = f"merged_{number}"
    return bound


def entries(program: StepProgram) -> tuple[str, ...]:
    """The names of the C functions."""
    return tuple(f"{program.prefix}_{entry}" for entry in ("init", "reset", "step", "run"))


def link_weights(module: llvm.ModuleRef, program: StepProgram) -> None:
    """Put the weights into an optimised module."""
    module.link_in(llvm.parse_assembly(f"@{WEIGHTS} = hidden constant {_octets(program.weights)}, align {program.alignment}"))
    module.get_global_variable(WEIGHTS).linkage = llvm.Linkage.internal


def emit_object(module: llvm.ModuleRef, target: Target) -> bytes:
    """The object file of an optimised module."""
    return target_machine(target).emit_object(module)


def _kernel(name: str, target: Target) -> llvm.ModuleRef:
    """A kernel's module, in which the function with typed parameters is called `kernel_<name>` and can be linked to."""
    module = llvm.parse_assembly(kernel_ir(name, target))
    entry = module.get_function(kernels.get(name).symbol)
    calls = [i for block in entry.blocks for i in block.instructions if i.opcode == "call"]
    function = list(calls[0].operands)[-1]
    function.name, function.linkage = f"kernel_{name}", llvm.Linkage.external
    entry.linkage = llvm.Linkage.internal
    return module


def _signature(module: llvm.ModuleRef, name: str) -> tuple[str, ...]:
    """The LLVM types of a kernel's own parameters; two pointers come before them, where numba puts results and errors."""
    return tuple(str(arg.type) for arg in module.get_function(f"kernel_{name}").arguments)[2:]


def _text(program: StepProgram, target: Target, wishes: Wishes, signatures: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The module's own part: the step, made of kernel calls with constant arguments, and the entries."""
    enter, leave, declarations = flushing(target)
    yield declarations
    if program.weights and not wishes.weights_apart:
        yield f"@{WEIGHTS} = external hidden constant [{len(program.weights)} x i8], align {program.alignment}"
    for name, types in signatures.items():
        yield f"declare i32 @kernel_{name}({', '.join(('ptr', 'ptr', *types))})"
    yield from _step(program, wishes, signatures)
    yield from _reset(program)
    blocks = _blocks(program, wishes)
    given = ", ".join(f"ptr {_value(block)}" for block in blocks)
    yield f"define void @{program.prefix}_step({given}) {{\n  {enter}\n  call void @step({given})\n  {leave}\n  ret void\n}}"
    yield from _run(program, blocks, enter, leave)


def _blocks(program: StepProgram, wishes: Wishes) -> list[str]:
    """The pointers that a step is given, in the order of its C parameters."""
    frames = [frame.identifier for frame in (*program.inputs, *program.outputs)]
    return [*([WEIGHTS] if wishes.weights_apart else []), STATE, ARENA, *frames]


def _value(block: str) -> str:
    """The IR name of a pointer; those of ports have a prefix, for a model may call them as it likes."""
    return f"%{block}" if block in _PRIVATE else f"%port.{block}"


def _step(program: StepProgram, wishes: Wishes, signatures: Mapping[str, Sequence[str]]) -> Iterator[str]:
    given = ", ".join(f"ptr {'noalias ' * (block in _PRIVATE)}{_value(block)}" for block in _blocks(program, wishes))
    yield f"define internal void @step({given}) noinline {{\n  %result = alloca ptr\n  %error = alloca ptr"
    how = "" if wishes.small else " alwaysinline"
    for number, call in enumerate(program.calls):
        args = ["ptr %result", "ptr %error"]
        for index, (arg, kind) in enumerate(zip(call.args, signatures[call.kernel], strict=True)):
            if isinstance(arg, Place):
                base = "@weights" if arg.block == WEIGHTS and not wishes.weights_apart else _value(arg.block)
                yield f"  %a{number}.{index} = getelementptr i8, ptr {base}, i32 {arg.offset}"
                args.append(f"ptr %a{number}.{index}")
            else:
                args.append(f"{kind} {_constant(arg, kind)}")
        yield f"  call i32 @kernel_{call.kernel}({', '.join(args)}){how}"
    yield "  ret void\n}"


def _constant(word: int | None, kind: str) -> str:
    """A number, or no pointer, as an LLVM constant of this type."""
    if word is None:
        return "null"
    if kind == "float":
        (value,) = struct.unpack("<f", struct.pack("<i", word))
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    return str(word)


def _octets(content: bytes) -> str:
    """Bytes, at least one, as the type and value of an LLVM constant."""
    return f'[{len(content)} x i8] c"\\{content.hex(chr(92))}"'


def _reset(program: StepProgram) -> Iterator[str]:
    """Both `reset` and `init`: 32-bit words of zeros, or of an image where a state starts with something else."""
    image, name = program.initial_state, program.prefix
    value, count = "store i32 0, ptr %to", len(image) // 4
    if any(image):
        yield f"@initial = internal constant {_octets(image)}, align {program.alignment}"
        value = "%from = getelementptr i32, ptr @initial, i32 %i\n  %word = load i32, ptr %from\n  store i32 %word, ptr %to"
    body = f"""entry:
  br label %head
head:
  %i = phi i32 [ 0, %entry ], [ %next, %body ]
  %more = icmp ult i32 %i, {count}
  br i1 %more, label %body, label %done
body:
  %to = getelementptr i32, ptr %state, i32 %i
  {value}
  %next = add i32 %i, 1
  br label %head
done:
  ret void"""
    yield f"define void @{name}_reset(ptr %state) {{\n{body}\n}}"
    yield f"define void @{name}_init(ptr %state) {{\n  call void @{name}_reset(ptr %state)\n  ret void\n}}"


def _run(program: StepProgram, blocks: Sequence[str], enter: str, leave: str) -> Iterator[str]:
    """A loop over the step, frames one after the other; what has no time axis stays where it is."""
    name = program.prefix
    frames = [frame for frame in (*program.inputs, *program.outputs) if frame.time is not None]
    moving = {frame.identifier for frame in frames}
    params = [f"ptr {_value(block)}" for block in blocks]
    params.insert(blocks.index(ARENA) + 1, "i32 %steps")
    yield f"define void @{name}_run({', '.join(params)}) {{\nentry:\n  {enter}\n  br label %head\nhead:"
    yield "  %i = phi i32 [ 0, %entry ], [ %next, %body ]"
    for frame in frames:
        own = _value(frame.identifier)
        yield f"  {own}.now = phi ptr [ {own}, %entry ], [ {own}.next, %body ]"
    yield "  %more = icmp slt i32 %i, %steps\n  br i1 %more, label %body, label %done\nbody:"
    given = ", ".join(f"ptr {_value(block)}.now" if block in moving else f"ptr {_value(block)}" for block in blocks)
    yield f"  call void @step({given})\n  %next = add i32 %i, 1"
    for frame in frames:
        own = _value(frame.identifier)
        yield f"  {own}.next = getelementptr i8, ptr {own}.now, i32 {frame.nbytes}"
    yield f"  br label %head\ndone:\n  {leave}\n  ret void\n}}"
