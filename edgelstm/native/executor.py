"""The executor as LLVM IR: it runs a table of kernels in one call from Python.

A table is int64: [n, entry 0, block 0, entry 1, block 1, ...], all of them addresses but n. While it runs, denormal
numbers are flushed to zero where the machine can, so that decaying states do not become slow.

A thunk is a function without arguments, which Python calls fastest. It runs the table whose address its cell holds.
"""

from edgelstm.native.target import Target

EXECUTE = "edgelstm_execute"
THUNKS = tuple(f"edgelstm_thunk{number}" for number in range(32))
CELLS = "edgelstm_tables"
SYMBOLS = (EXECUTE, CELLS, *THUNKS)

_LOOP = """
define internal void @run(ptr %table) noinline {{
entry:
  {enter}
  %n = load i64, ptr %table
  %calls = getelementptr i64, ptr %table, i64 1
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %body, label %done
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %pair = getelementptr [2 x i64], ptr %calls, i64 %i
  %second = getelementptr i64, ptr %pair, i64 1
  %entryword = load i64, ptr %pair
  %blockword = load i64, ptr %second
  %kernel = inttoptr i64 %entryword to ptr
  %block = inttoptr i64 %blockword to ptr
  call void %kernel(ptr %block)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %body, label %done
done:
  {leave}
  ret void
}}
"""

_X86 = (
    """%old = alloca i32
  %new = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %old)
  %mode = load i32, ptr %old
  %flush = or i32 %mode, 32832
  store i32 %flush, ptr %new
  call void @llvm.x86.sse.ldmxcsr(ptr %new)""",
    "call void @llvm.x86.sse.ldmxcsr(ptr %old)",
    "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)\n",
)

_ARM64 = (
    """%old = call i64 @llvm.aarch64.get.fpcr()
  %new = or i64 %old, 16777216
  call void @llvm.aarch64.set.fpcr(i64 %new)""",
    "call void @llvm.aarch64.set.fpcr(i64 %old)",
    "declare i64 @llvm.aarch64.get.fpcr()\ndeclare void @llvm.aarch64.set.fpcr(i64)\n",
)


def executor_ir(target: Target) -> str:
    """`void edgelstm_execute(int64_t* table)` and the thunks, each of which runs the table that its cell names."""
    enter, leave, declarations = flushing(target)
    cells = f"[{len(THUNKS)} x ptr]"
    functions = [declarations + _LOOP.format(enter=enter, leave=leave),
                 f"@{CELLS} = dso_local global {cells} zeroinitializer\n",
                 f"define void @{EXECUTE}(ptr %table) {{\n  call void @run(ptr %table)\n  ret void\n}}\n"]
    for number, name in enumerate(THUNKS):
        cell = f"getelementptr ({cells}, ptr @{CELLS}, i64 0, i64 {number})"
        functions.append(f"define void @{name}() {{\n  %table = load ptr, ptr {cell}\n"
                         "  call void @run(ptr %table)\n  ret void\n}\n")
    return "".join(functions)


def flushing(target: Target) -> tuple[str, str, str]:
    """IR that turns flushing on, that puts back what was there before, and what both declare; empty where there is none."""
    if target.triple.startswith("x86_64"):
        return _X86
    if target.triple.startswith(("aarch64", "arm64")):
        return _ARM64
    return "", "", ""

