"""Images: what is laid out of an object, what is refused, and that it computes what the object computes."""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm import kernels
from edgelstm.model import Model
from edgelstm.native import host, image, jit, linking, loader, mapped, run_table
from edgelstm.native.block import block
from edgelstm.native.compiler import executor_object, ir_object, kernel_object
from edgelstm.native.executor import CELLS, SYMBOLS, THUNKS
from edgelstm.native.machine import _ask
from edgelstm.native.target import CROSS_TARGETS
from tests.test_ops import CASES, graph_of

HAS_IMAGES = (linking.image(executor_object(_ask())) is not None
              and mapped.addresses(image.Image(b"\xc3" * 4, 0, {"a": 0})) is not None)
ON_LINUX = pytest.mark.skipif(not HAS_IMAGES, reason="this system maps no images: kernels are loaded by LLVM")
AARCH64 = CROSS_TARGETS["aarch64"]
OPS = ("lstm", "gru", "simple_rnn", "conv1d", "dense", "softmax", "layer_norm", "embedding", "elu", "gelu", "erf")
BOTH_WAYS = [(op, case) for op, case in CASES if op.name in OPS]
# What an ELF object holds, by place: the type of the file, the machine; of a section its type, flags and alignment.
TYPE, MACHINE, SECTION_TYPE, SECTION_FLAGS, ALIGNMENT = 16, 18, 4, 8, 48
TEXT = """
define void @edgelstm_probe(ptr %block) {
  store i64 7, ptr %block
  ret void
}
"""


@pytest.fixture(scope="module", params=["x86-64-v3", "aarch64"])
def content(request):
    """An object with constants that its code addresses."""
    return kernel_object("tanh_f32", CROSS_TARGETS[request.param])


def sections(content):
    """Offset of the header, name, type, offset of the content and size of every section."""
    (table,), (size, count, names) = struct.unpack_from("<Q", content, 40), struct.unpack_from("<HHH", content, 58)
    headers = [(table + size * i, *struct.unpack_from("<IIQQQQ", content, table + size * i)) for i in range(count)]
    start = headers[names][5]
    return {content[start + name:].split(b"\0", 1)[0].decode(): (at, kind, offset, length)
            for at, name, kind, _, _, offset, length in headers}


def relocations(content):
    _, _, offset, size = sections(content)[".rela.text"]
    return range(offset, offset + size, 24)


def changed(content, at, form, value):
    found = bytearray(content)
    struct.pack_into(form, found, at, value)
    return bytes(found)


def test_code_and_constants_become_an_image(content):
    found = linking.image(content)
    assert list(found.symbols) == ["edgelstm_tanh_f32"] and not found.zeros
    size = sum(size for name, (_, _, _, size) in sections(content).items() if name == ".text" or name.startswith(".rodata"))
    assert size <= len(found.code) < size + 128


def test_what_is_stored_is_read_again_and_nothing_shorter():
    whole = linking.image(executor_object(host())) or image.Image(b"code", 256, {"a": 0, "b": 2})
    stored = whole.to_bytes()
    assert image.from_bytes(stored) == whole
    for end in range(0, len(stored), 7):
        assert image.from_bytes(stored[:end]) is None
    assert image.from_bytes(stored + b"\0") is None


def test_objects_of_other_kinds_have_no_image():
    for name in ("armv7", "cortex-m7", "riscv64", "wasm32"):
        assert linking.image(kernel_object("tanh_f32", CROSS_TARGETS[name])) is None
    for other in (b"", b"\x7fELF", b"MZ" + bytes(100), b"\xcf\xfa\xed\xfe" + bytes(100)):
        assert linking.image(other) is None


@pytest.mark.parametrize("ir", [
    TEXT + "declare void @elsewhere()\ndefine void @caller() {\n  call void @elsewhere()\n  ret void\n}\n",
    TEXT + "@elsewhere = external global i64\ndefine i64 @reader() {\n  %x = load i64, ptr @elsewhere\n  ret i64 %x\n}\n",
    TEXT + "@written = dso_local global i64 5\ndefine i64 @reader() {\n  %x = load i64, ptr @written\n  ret i64 %x\n}\n",
    TEXT + "@pointer = dso_local constant ptr @edgelstm_probe\ndefine ptr @reader() {\n  ret ptr @pointer\n}\n",
    TEXT + "@own = thread_local global i64 0\ndefine i64 @reader() {\n  %x = load i64, ptr @own\n  ret i64 %x\n}\n",
], ids=["call", "variable", "data", "pointer", "thread"])
@pytest.mark.parametrize("target", ["x86-64-v3", "aarch64"])
def test_what_needs_a_linker_or_memory_of_its_own_has_no_image(ir, target):
    assert linking.image(ir_object(TEXT, CROSS_TARGETS[target])) is not None
    assert linking.image(ir_object(ir, CROSS_TARGETS[target])) is None


def test_hostile_relocations_have_no_image(content):
    for entry in relocations(content):
        absolute = 1 if content[MACHINE] == 62 else 257
        for at, form, value in ((entry, "<Q", 1 << 20), (entry, "<Q", 2**64 - 2),
                                (entry + 8, "<I", absolute), (entry + 8, "<I", 99),
                                (entry + 12, "<I", 0), (entry + 12, "<I", 1 << 30),
                                (entry + 16, "<q", 1 << 40), (entry + 16, "<q", -(2**63))):
            assert linking.image(changed(content, at, form, value)) is None, (at - entry, value)


def test_hostile_headers_have_no_image(content):
    text = sections(content)[".text"][0]
    for at, form, value in ((TYPE, "<H", 2), (MACHINE, "<H", 3), (4, "<B", 1), (5, "<B", 2), (58, "<H", 40), (62, "<H", 60000),
                            (40, "<Q", 1 << 60), (text + SECTION_TYPE, "<I", 14), (text + SECTION_FLAGS, "<Q", 7),
                            (text + SECTION_FLAGS, "<Q", 0x406), (text + ALIGNMENT, "<Q", 3), (text + ALIGNMENT, "<Q", 1 << 40),
                            (text + 24, "<Q", 1 << 60), (text + 32, "<Q", 1 << 60)):
        assert linking.image(changed(content, at, form, value)) is None, (at, value)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["x86-64-v3", "aarch64"]),
       st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 40))
def test_damaged_objects_have_an_image_or_none(target, damage, cut):
    found = bytearray(kernel_object("tanh_f32", CROSS_TARGETS[target]))
    for at, byte in damage:
        found[at % len(found)] = byte
    linking.image(bytes(found[: len(found) - cut]))


@ON_LINUX
@pytest.mark.parametrize(("op", "case"), BOTH_WAYS, ids=[f"{op.name}-{case.name}" for op, case in BOTH_WAYS])
def test_images_and_llvms_linker_give_the_same_bits(monkeypatch, op, case):
    graph, feeds = graph_of(op, case)
    found = Model(graph).run(feeds)
    monkeypatch.setattr(mapped, "addresses", lambda image: None)
    monkeypatch.setattr(loader, "_addresses", {})
    for name, array in Model(graph).run(feeds).items():
        assert array.tobytes() == found[name].tobytes()


@ON_LINUX
@pytest.mark.parametrize("refusal", ["no file in memory", "no execution"])
def test_a_system_that_maps_none_uses_llvms_linker(monkeypatch, refusal):
    def refuse(*_):
        raise OSError(1, "not permitted")

    if refusal == "no execution":
        monkeypatch.setattr(mapped, "_mmap", lambda: lambda *_: ctypes.c_void_p(-1).value)
    else:
        monkeypatch.setattr("os.memfd_create", refuse)
    used = []
    monkeypatch.setattr(loader, "_addresses", {})
    monkeypatch.setattr(loader, "_idle", [])
    monkeypatch.setattr(jit, "addresses", lambda *given, load=jit.addresses: used.append(given[1]) or load(*given))
    x, y = np.linspace(-2, 2, 33, dtype=np.float32), np.zeros(33, np.float32)
    words = block("relu_f32", x=x, y=y, n=33)
    loader.thunk(np.array([1, loader.link(["relu_f32"])["relu_f32"], words.ctypes.data], np.int64))()
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert used == [["edgelstm_relu_f32"], [*SYMBOLS]]


@ON_LINUX
def test_every_thunk_runs_the_table_of_its_own_cell():
    x, tables, kept = np.ones(1, np.float32), [], []
    for number in range(3 * len(THUNKS)):
        y = np.zeros(1, np.float32)
        words = block("relu_f32", x=x, y=y, n=1)
        table = np.array([1, loader.link(["relu_f32"])["relu_f32"], words.ctypes.data], np.int64)
        tables.append((loader.thunk(table, brief=bool(number % 2)), y))
        kept.append(words)
    for number, (call, y) in enumerate(tables):
        x[0] = number
        call()
        assert y[0] == number
    assert [y[0] for _, y in tables] == list(range(len(tables)))


@ON_LINUX
def test_code_is_never_writable():
    run_table(np.zeros(1, np.int64))
    rights = [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:edgelstm" in line]
    assert rights and set(rights) == {"r-xp"}


def test_an_aarch64_image_runs_where_no_linker_saw_it(tmp_path):
    tools = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (.ci/run installs the cross compilers and qemu where it may)")
    executor, code = (linking.image(content) for content in (executor_object(AARCH64), kernel_object("tanh_f32", AARCH64)))
    (tmp_path / "executor.bin").write_bytes(executor.code)
    (tmp_path / "kernel.bin").write_bytes(code.code)
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    assert [name for name, _ in kernels.get("tanh_f32").params] == ["x", "y", "n"]
    (tmp_path / "program.c").write_text(PROGRAM % {
        "x": ", ".join(map(str, x.view(np.int32))), "n": x.size, "entry": code.symbols["edgelstm_tanh_f32"],
        "thunk": executor.symbols[THUNKS[5]], "cell": executor.symbols[CELLS] + 40, "zeros": executor.zeros})
    boards = Path(__file__).parent / "boards"
    subprocess.run([tools[0], "-O1", "-ffreestanding", "-nostdlib", "-static", "-I", boards, "program.c", boards / "linux.c",
                    "-o", "program"], cwd=tmp_path, check=True)
    printed = subprocess.run([tools[1], "./program"], cwd=tmp_path, capture_output=True, check=True).stdout
    np.testing.assert_allclose(np.frombuffer(printed, np.float32), np.tanh(x.astype(np.float64)), rtol=0, atol=2e-7)


PROGRAM = """
#include "board.h"
__asm__(".section .images,\\"awx\\"\\n.globl executor, kernel\\n.balign 65536\\nexecutor:\\n"
        ".incbin \\"executor.bin\\"\\n.balign 65536\\n.zero %(zeros)d\\n"
        ".balign 4096\\nkernel:\\n.incbin \\"kernel.bin\\"\\n.previous\\n");
extern char executor[], kernel[];
static int x[] = {%(x)s}, y[%(n)d];
void program(void)
{
    long block[] = {(long)x, (long)y, %(n)d}, table[] = {1, (long)kernel + %(entry)d, (long)block};
    *(long **)(executor + %(cell)d) = table;
    ((void (*)(void))(executor + %(thunk)d))();
    put((const char *)y, sizeof y);
    finish(0);
}
"""
