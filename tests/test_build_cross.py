"""Models built for other machines give the probe's outputs there: under qemu, on Linux and on bare Cortex-M boards."""

import numpy as np
import pytest

from edgelstm import load
from edgelstm.native.symbols import undefined_symbols
from edgelstm.precision.apply import apply
from edgelstm.precision.choose import layers
from edgelstm.precision.integer import integer
from tests.built import GRAPHS, cell, stack
from tests.cross import MACHINES, build, frames

MODELS = ("lstm", "gru", "stack")
NO_FPU = ("cortex-m0", "riscv32-none")


@pytest.fixture(params=MACHINES)
def machine(request):
    found = MACHINES[request.param]
    if found.missing:
        pytest.skip(f"{found.missing}: not installed (.ci/run installs the cross compilers and qemu where it may)")
    return found


def soft_float_library(machine):
    if machine.target == "riscv32-none":
        pytest.skip("no package of Debian has float32 in software (libgcc) for 32-bit RISC-V")


def reduced(graph, precision):
    return apply(graph, {node.name: precision for node in layers(graph)})


@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_the_outputs_of_its_probe(tmp_path, machine, name, optimize):
    soft_float_library(machine)
    graph = GRAPHS[name]()
    built = build(graph, machine, tmp_path / name, optimize=optimize)
    for probe in graph.probes:
        found = built.run(frames(built.program, probe.inputs))
        for key, expected in frames(built.program, probe.outputs).items():
            np.testing.assert_allclose(found[key], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "precision"), [("gru", "bfloat16"), ("stack", "int8"), ("lstm", "int4")])
def test_a_model_of_reduced_precision_gives_what_it_gives_here(tmp_path, machine, name, precision):
    soft_float_library(machine)
    graph = reduced(GRAPHS[name](), precision)
    built = build(graph, machine, tmp_path / name, optimize="size")
    inputs = graph.probes[0].inputs
    found, expected = built.run(frames(built.program, inputs)), load(graph).run(inputs)
    for key, values in frames(built.program, expected).items():
        np.testing.assert_allclose(found[key], values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_an_integer_model_gives_the_same_bits_as_here(tmp_path, machine, name):
    graph = GRAPHS[name]()
    inputs = graph.probes[0].inputs
    graph = integer(graph, inputs)
    soft_float_library(machine)
    built = build(graph, machine, tmp_path / name, optimize="size")
    found, expected = built.run(frames(built.program, inputs)), load(graph).run(inputs)
    for key, values in frames(built.program, expected).items():
        np.testing.assert_array_equal(found[key], values)


def test_nan_and_infinity_pass_through(tmp_path, machine):
    soft_float_library(machine)
    graph = cell("lstm", features=2, units=5)
    x = np.array([[[1, -1], [np.inf, 3], [1e30, -1e30], [np.nan, 0], [0, 0]]], np.float32)
    built = build(graph, machine, tmp_path / "m", optimize="size")
    found, expected = built.run(frames(built.program, {"x": x})), load(graph).run({"x": x})
    np.testing.assert_allclose(found["y"], frames(built.program, expected)["y"], atol=1e-5, rtol=0)
    assert np.isnan(found["y"][3]).all() and np.isfinite(found["y"][:3]).all()


def test_objects_need_nothing_but_the_runtime_of_cores_without_hardware(tmp_path, machine):
    from edgelstm.aot.targets import find

    built = build(stack(), machine, tmp_path / "m")
    needed = undefined_symbols(built.content)
    assert needed <= find(machine.target, machine.cpu).runtime
    assert machine.target in NO_FPU or not needed


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7", "cortex-m55"])
def test_the_code_of_one_layer_fits_8_KiB(tmp_path, target):
    assert build(cell("lstm"), MACHINES[target], tmp_path / "m", optimize="size").report.code <= 8192
