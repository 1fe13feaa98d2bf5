"""What `edgelstm build` gives a C program on this machine: the probe's outputs, exact figures, nothing from elsewhere."""

import re
import shutil
import subprocess

import numpy as np
import pytest

import edgelstm
from edgelstm import reference
from edgelstm.aot.plan import step_program
from edgelstm.aot.sizes import read_sizes
from edgelstm.native import host
from edgelstm.native.symbols import undefined_symbols
from edgelstm.probe import with_probes
from tests.built import GRAPHS, STRICT, cell, compile_c, compiler, round_trip, run, starting_state
from tests.conftest import Layers


@pytest.fixture(params=GRAPHS)
def graph(request):
    return GRAPHS[request.param]()


def rows_of(array, frame, row):
    """One row of a probe's array as frames in time."""
    one = array if frame.batch is None else array.take([row], frame.batch)
    return one if frame.time is None else np.moveaxis(one, frame.time, 0)


@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "explicit_state"])
def test_a_c_program_gets_the_outputs_of_the_probe(tmp_path, name, optimize):
    graph = GRAPHS[name]()
    report = edgelstm.build(graph, tmp_path / name, optimize=optimize)
    frames = step_program(graph, name, host().lanes)
    for probe in graph.probes:
        steps = next(iter(probe.inputs.values())).shape[1]
        program = compile_c(tmp_path / name, round_trip(report, frames.inputs, frames.outputs, steps), f"lib{report.name}.a")
        for row in range(next(iter(probe.inputs.values())).shape[0]):
            given = b"".join(rows_of(probe.inputs[f.name], f, row).tobytes() for f in frames.inputs)
            found = np.frombuffer(run(program, given), np.float32).reshape(2, -1)
            expected = np.concatenate([rows_of(probe.outputs[f.name], f, row).ravel() for f in frames.outputs])
            np.testing.assert_allclose(found, [expected, expected], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"optimize": "size"}, {"weights": "blob"}, {"batch": 2}], ids=str)
def test_the_self_test_passes(tmp_path, graph, options):
    report = edgelstm.build(graph, tmp_path / "out", self_test=True, **options)
    program = tmp_path / "out" / "program"
    subprocess.run([compiler(), *STRICT[1:-1], "main.c", f"{report.name}.o", "-o", program], cwd=tmp_path / "out", check=True)
    assert re.fullmatch(rf"{report.name}: largest error \d+ e-9, 0 misses: ok\n", run(program).decode())


def test_the_self_test_fails_for_other_weights(tmp_path):
    first, second = cell("lstm"), cell("gru", gates=3)
    edgelstm.build(first, tmp_path / "m", self_test=True)
    main = (tmp_path / "m" / "main.c").read_text()
    edgelstm.build(second, tmp_path / "m")
    program = compile_c(tmp_path / "m", main, "m.o")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 1 and "FAILED" in done.stdout


def cmake(folder, source):
    """Configure and build `source` into the folder "made"."""
    for tool in ("cmake", "ctest", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt install cmake g++)")
    subprocess.run(["cmake", "-S", source, "-B", "made"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", "made"], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("weights", ["constants", "blob"])
@pytest.mark.parametrize("name", ["out", "test", "all"])
def test_cmake_builds_and_runs_the_self_test(tmp_path, name, weights):
    edgelstm.build(cell("lstm"), tmp_path / name, self_test=True, weights=weights)
    cmake(tmp_path, name)
    done = subprocess.run(["ctest", "--test-dir", "made"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "100% tests passed, 0 tests failed out of 1" in done.stdout


APPLICATION = """
cmake_minimum_required(VERSION 3.16)
project(app CXX)
add_subdirectory(net)
add_executable(app app.cpp)
target_link_libraries(app net)
"""


def test_cmake_takes_a_build_into_a_project_in_cpp(tmp_path):
    edgelstm.build(cell("lstm"), tmp_path / "net", self_test=True)
    (tmp_path / "net" / "main.c").unlink()  # the self-test is no part of the other project
    (tmp_path / "CMakeLists.txt").write_text(APPLICATION)
    (tmp_path / "app.cpp").write_text('#include "net.h"\nstatic NET_ALIGNED unsigned char state[NET_STATE_BYTES];\n'
                                      "int main() { net_init(state); return 0; }\n")
    cmake(tmp_path, ".")
    run(tmp_path / "made" / "app")


def test_objects_need_nothing_and_keep_nothing(tmp_path, graph):
    report = edgelstm.build(graph, tmp_path / "out")
    content = (tmp_path / "out" / f"{report.name}.o").read_bytes()
    assert undefined_symbols(content) == set() == set(report.undefined)
    sizes = read_sizes(content)
    assert sizes.writable == 0
    assert (report.flash, report.weights + report.code) == (sizes.flash, sizes.flash)


def test_figures_agree_with_binutils(tmp_path):
    if shutil.which("size") is None:
        pytest.skip("size is not installed (apt install binutils)")
    report = edgelstm.build(GRAPHS["stack"](), tmp_path / "out")
    printed = subprocess.run(["size", tmp_path / "out" / "out.o"], capture_output=True, text=True, check=True).stdout
    text, data, bss = map(int, printed.splitlines()[1].split()[:3])
    assert (report.flash, 0, 0) == (text, data, bss)
    page = (tmp_path / "out" / "README.md").read_text()
    for figure in (report.flash, report.code, report.weights, report.ram, report.state, report.arena, report.stack):
        assert f"| {figure:,} |" in page


PAINTED = """#include "out.h"
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

static _Alignas(64) unsigned char state[OUT_STATE_BYTES + 1], arena[OUT_ARENA_BYTES + 1], stack[65536];
static float x[5 * 4], y[3 * 4];
static ucontext_t back, forth;

static void nothing(void) {}
static void call(void) { out_run(state, arena, 4, x, y); }

static int used(void (*function)(void))
{
    memset(stack, 0xA5, sizeof stack);
    getcontext(&forth);
    forth.uc_stack.ss_sp = stack;
    forth.uc_stack.ss_size = sizeof stack;
    forth.uc_link = &back;
    makecontext(&forth, function, 0);
    swapcontext(&back, &forth);
    size_t i = 0;
    while (i < sizeof stack && stack[i] == 0xA5)
        i++;
    return (int)(sizeof stack - i);
}

int main(void)
{
    out_init(state);
    call();
    printf("%d %d", used(nothing), used(call));
    return 0;
}
"""


@pytest.mark.parametrize("optimize", ["speed", "size"])
def test_the_stack_is_what_a_painted_stack_shows(tmp_path, optimize):
    report = edgelstm.build(GRAPHS["stack"](), tmp_path / "out", optimize=optimize)
    program = compile_c(tmp_path / "out", PAINTED, "out.o", flags=("-O2", "-std=gnu11"))
    nothing, called = map(int, run(program).split())
    assert report.stack <= called
    assert called - nothing <= report.stack + 64


def test_states_start_where_the_model_says(tmp_path):
    graph = starting_state()
    x = np.random.default_rng(0).standard_normal((1, 6, 3)).astype(np.float32)
    frames = step_program(graph, "out", host().lanes)
    report = edgelstm.build(graph, tmp_path / "out")
    program = compile_c(tmp_path / "out", round_trip(report, frames.inputs, frames.outputs, 6), "libout.a")
    found = np.frombuffer(run(program, x.tobytes()), np.float32).reshape(2, 6, 4)
    expected = reference.run(graph, {"x": x})["y"][0]
    np.testing.assert_allclose(found, [expected, expected], atol=1e-6)


INSTANCES = """#include "out.h"
#include <stdio.h>
#include <xmmintrin.h>

static _Alignas(64) unsigned char one[OUT_STATE_BYTES], two[OUT_STATE_BYTES], arena[OUT_ARENA_BYTES + 1];
static float x[8][3], alone[17], y[17], other[17];

int main(void)
{
    for (int t = 0; t < 8; t++)
        for (int k = 0; k < 3; k++)
            x[t][k] = (float)(t * 3 + k) / 10;
    unsigned before = _mm_getcsr();
    out_init(one);
    out_run(one, arena, 8, x[0], alone);
    out_reset(one);
    out_init(two);
    for (int t = 0; t < 8; t++) {
        out_step(one, arena, x[t], y);
        out_step(two, arena, x[7 - t], other);
    }
    int same = 1;
    for (int k = 0; k < 17; k++)
        same &= y[k] == alone[k] && y[k] != other[k];
    out_run(one, arena, 0, x[0], y);
    for (int k = 0; k < 17; k++)
        same &= y[k] == alone[k];
    printf("%d %d", same, before == (_mm_getcsr() & ~0x3fu) || before == _mm_getcsr());
    return 0;
}
"""


def test_instances_do_not_see_each_other_and_the_float_mode_is_put_back(tmp_path):
    if not host().triple.startswith("x86_64"):
        pytest.skip("the program reads the control register of x86-64")
    edgelstm.build(cell("lstm", sequences=False), tmp_path / "out")
    assert run(compile_c(tmp_path / "out", INSTANCES, "out.o")) == b"1 1"


def test_the_header_is_good_cpp_too(tmp_path):
    edgelstm.build(GRAPHS["two_in_two_out"](), tmp_path / "out")
    (tmp_path / "out" / "use.cpp").write_text(
        '#include "out.h"\nstatic OUT_ALIGNED unsigned char state[OUT_STATE_BYTES];\n'
        "int main() { out_init(state); return 0; }\n")
    for standard in ("c++98", "c++11", "c++20"):
        command = [compiler("g++"), f"-std={standard}", *STRICT[1:], "use.cpp", "libout.a", "-o", "use"]
        subprocess.run(command, cwd=tmp_path / "out", check=True)
        run(tmp_path / "out" / "use")


@pytest.mark.parametrize("name", ["tokens", "two_in_two_out", "explicit_state"])
def test_all_c_is_strict(tmp_path, name):
    edgelstm.build(GRAPHS[name](), tmp_path / "m", self_test=True)
    for standard in ("c99", "c11", "gnu17"):
        command = [compiler(), f"-std={standard}", *STRICT[1:], "-Wshadow", "main.c", "libm.a", "-o", "program"]
        subprocess.run(command, cwd=tmp_path / "m", check=True)
        run(tmp_path / "m" / "program")


@pytest.mark.parametrize("stem", ["9 lives", "während", "int", "a-b.c", "_x", "état"])
def test_any_file_name_gives_c_names(tmp_path, stem):
    from edgelstm.format import write

    write(cell("lstm", units=1), tmp_path / f"{stem}.elstm")
    report = edgelstm.build(tmp_path / f"{stem}.elstm", tmp_path / "out", self_test=True)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", report.name)
    command = [compiler(), "-Wall", "-Werror", "main.c", f"lib{report.name}.a", "-o", "program"]
    subprocess.run(command, cwd=tmp_path / "out", check=True)
    run(tmp_path / "out" / "program")


@pytest.mark.parametrize("name", ["result", "error", "new", "old", "steps", "state", "int", "a.b", "1", "%*/x", "i", "y", "X",
                                  "Y", "int8_t", "NULL", "linux"])
def test_any_port_name_gives_a_parameter(tmp_path, name):
    net = Layers()
    x = net.builder.input(name, "float32", ("batch", "time", 2))
    graph = with_probes(net.graph(y=net.recurrent("lstm", x, 3, gates=4), n=x))
    edgelstm.build(graph, tmp_path / "m", self_test=True)
    subprocess.run([compiler(), "-Wall", "-Werror", "main.c", "libm.a", "-o", "program"], cwd=tmp_path / "m", check=True)
    run(tmp_path / "m" / "program")
    assert edgelstm.load(tmp_path / "m").verify().ok


def test_two_models_live_in_one_program(tmp_path):
    for name, gates, op in (("a", 4, "lstm"), ("b", 3, "gru")):
        edgelstm.build(cell(op, gates=gates), tmp_path / name)
    text = ('#include "a/a.h"\n#include "b/b.h"\nint main(void) { static unsigned char s[A_STATE_BYTES]; a_init(s);'
            " static unsigned char u[B_STATE_BYTES]; b_init(u); return 0; }")
    run(compile_c(tmp_path, text, "a/liba.a", "b/libb.a"))


def test_builds_are_reproducible(tmp_path):
    graph = GRAPHS["stack"]()
    first, second = (edgelstm.build(graph, tmp_path / folder / "m") for folder in ("one", "two"))
    assert first.files == second.files
    for name in first.files:
        if name != "README.md":
            assert (tmp_path / "one/m" / name).read_bytes() == (tmp_path / "two/m" / name).read_bytes(), name
