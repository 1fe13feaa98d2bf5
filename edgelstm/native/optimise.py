"""From target-free LLVM IR to the object code of one target, with a pass pipeline of our own."""

import functools
import re

import llvmlite.binding as llvm

from edgelstm.native.target import Target

PASSES = "O2 pipeline, no loop or SLP vectoriser, no library calls formed"


def emit(ir: str, target: Target, *, small: bool = False) -> bytes:
    """The object file of a module given as target-free IR; `small` prefers few bytes to speed."""
    module = llvm.parse_assembly(bind(ir, target, "optsize" if small else ""))
    module.verify()
    optimise(module, target, small=small)
    return target_machine(target).emit_object(module)


def optimise(module: llvm.ModuleRef, target: Target, *, small: bool = False) -> None:
    """Run the passes over a module that is bound to the target."""
    options = llvm.create_pipeline_tuning_options(2)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = False
    options.loop_unrolling = not small
    builder = llvm.create_pass_builder(target_machine(target), options)
    builder.getModulePassManager().run(module, builder)


def bind(ir: str, target: Target, wish: str = "") -> str:
    """The IR with the target's names, and with attributes that every function of it needs, `wish` among them.

    "no-builtins" keeps LLVM from turning loops into calls of memset and memcpy.
    """
    bits = str(target.vector_bits)
    attributes = f'nounwind {wish} "no-builtins" "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
    text = re.sub(r"^(define [^\n]*?)( ?\{)$", rf"\1 {attributes}\2", ir, flags=re.MULTILINE)
    layout = target_machine(target).target_data
    return f'target datalayout = "{layout}"\ntarget triple = "{target.triple}"\n{text}'


@functools.cache
def target_machine(target: Target) -> llvm.TargetMachine:
    """LLVM's description of the target, made for position-independent code."""
    if target.triple == llvm.get_process_triple():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default", abiname=target.abi
    )
