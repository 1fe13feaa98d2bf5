"""The C entry of a kernel as LLVM IR: `void edgelstm_<name>(int64_t* block)` reads one word for each parameter."""

from edgelstm.kernels.declare import KernelDecl


def entry_ir(decl: KernelDecl) -> str:
    """IR that declares `kernel`, the function numba made, and defines the entry that calls it."""
    lines, arguments = [], []
    for index, (_, kind) in enumerate(decl.params):
        lines += _load(index, kind)
        arguments.append(f"{_llvm_type(kind)} %a{index}")
    types = ", ".join(_llvm_type(kind) for _, kind in decl.params)
    call = ", ".join(["ptr %result", "ptr %error", *arguments])
    body = "\n  ".join([*lines, "%result = alloca ptr", "%error = alloca ptr", f"call i32 @kernel({call})", "ret void"])
    return f"declare i32 @kernel(ptr, ptr, {types})\ndefine void @{decl.symbol}(ptr %block) {{\n  {body}\n}}\n"


def _load(index: int, kind: str) -> list[str]:
    word = [f"%p{index} = getelementptr i64, ptr %block, i64 {index}"]
    if kind == "int":
        return [*word, f"%a{index} = load i64, ptr %p{index}"]
    word.append(f"%w{index} = load i64, ptr %p{index}")
    if kind == "f32":
        return [*word, f"%h{index} = trunc i64 %w{index} to i32", f"%a{index} = bitcast i32 %h{index} to float"]
    return [*word, f"%a{index} = inttoptr i64 %w{index} to ptr"]


def _llvm_type(kind: str) -> str:
    return {"int": "i64", "f32": "float"}.get(kind, "ptr")
