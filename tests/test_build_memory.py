"""Memory of a build: aligned to what the target needs and no more, and nothing outside of it is touched."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.aot import targets
from edgelstm.aot.plan import step_program
from edgelstm.native import host, host_forms
from edgelstm.native.target import CROSS_TARGETS
from edgelstm.precision import apply, layers
from edgelstm.precision.integer import integer
from tests.built import GRAPHS, cell, without_probes
from tests.conftest import Layers

UNITS = (1, 3, 17, 33)


def narrow(precision):
    source = without_probes(cell("lstm", 5, 17))
    return apply(source, {getattr(layer, "name", layer): precision for layer in layers(source)}, None)


def integers(units):
    calibration = np.random.default_rng(0).standard_normal((4, 30, 3)).astype(np.float32)
    return integer(cell("lstm", 3, units), calibration, integer_ports=True)


MODELS = {**GRAPHS, **{f"gru{n}": lambda n=n: cell("gru", n, n, gates=3) for n in (1, 33)},
          **{f"{name}_lstm": lambda name=name: narrow(name) for name in ("int8", "int4")},
          **{f"integer{n}": lambda n=n: integers(n) for n in (1, 17)}}


@pytest.fixture(params=sorted({host_forms()[0].name, host_forms()[-1].name}))
def form(request, monkeypatch):
    """This machine with its widest vectors, and without any: buffers lie far apart, and as close as can be."""
    monkeypatch.setenv("EDGELSTM_TARGET", request.param)
    targets._targets.cache_clear()
    yield host()
    targets._targets.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forbids pages by mprotect")
@pytest.mark.parametrize("name", MODELS)
def test_nothing_outside_of_the_blocks_is_touched(tmp_path, form, name):
    options = {"weights": "blob", "batch": 2} if name != "explicit_state" else {}
    edgelstm.build(MODELS[name](), tmp_path / "m", optimize="size", **options)
    done = subprocess.run([sys.executable, "-m", "tests.fenced", tmp_path / "m"], capture_output=True, text=True,
                          cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "alignment"), [("cortex-m0", 4), ("cortex-m4", 4), ("cortex-m7", 4), ("cortex-m55", 16),
                                                 ("riscv32", 4), ("riscv64", 8), ("aarch64", 16), ("x86-64-v3", 32),
                                                 ("x86-64-v4", 64), ("wasm32", 16)])
def test_blocks_are_aligned_to_a_vector_or_an_address(name, alignment):
    target = CROSS_TARGETS[name]
    assert target.alignment == alignment
    program = step_program(cell("lstm", 3, 17), "m", target.lanes, alignment=alignment)
    assert all(state.offset % alignment == 0 for state in program.states)
    assert program.state_nbytes % alignment == program.arena_nbytes % alignment == len(program.weights) % alignment == 0


@pytest.mark.parametrize("units", UNITS)
def test_a_microcontroller_keeps_just_the_numbers_of_its_states(tmp_path, units):
    report = edgelstm.build(cell("lstm", 3, units), tmp_path / "m", "cortex-m7", optimize="size")
    assert report.state == 2 * 4 * units
    header = (tmp_path / "m" / "m.h").read_text()
    assert f"#define M_STATE_BYTES {report.state}\n" in header and "#define M_ALIGNMENT 4\n" in header


def test_the_stack_is_known_where_equal_functions_are_merged(tmp_path):
    net = Layers()
    y = net.builder.input("x", "float32", ("batch", "time", 4))
    sigmoid = ("hard_sigmoid", 1 / 6, 0.5)
    for activation, recurrent in (("relu", sigmoid), ("tanh", "sigmoid"), ("sigmoid", sigmoid), (sigmoid, "sigmoid"),
                                  ("softsign", sigmoid), ("linear", "sigmoid"), ("elu", sigmoid)):
        parts = [net.weights(4, 16), net.weights(4, 16), net.weights(16)]
        y = net.builder.add("lstm", y, *parts, activation=activation, recurrent_activation=recurrent)
    report = edgelstm.build(net.graph(y=y), tmp_path / "m", "x86_64-linux", cpu="x86-64-v2", optimize="size", batch=2)
    assert report.stack > 0
