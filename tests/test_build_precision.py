"""Reduced precision, built: the numbers of the file, integer-only models bit for bit and without a floating-point unit."""

import numpy as np
import pytest

import edgelstm
from edgelstm.precision import apply, layers
from edgelstm.precision.integer import integer
from tests.built import cell, stack, tokens

FLOATS = {"lstm": lambda: cell("lstm", 8, 33), "gru": lambda: cell("gru", 8, 33, gates=3), "stack": stack, "tokens": tokens}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", FLOATS)
def test_reduced_weights_give_what_the_file_gives(tmp_path, name, precision, batch):
    source = FLOATS[name]()
    graph = apply(source, {getattr(layer, "name", layer): precision for layer in layers(source)}, None)
    report = edgelstm.build(graph, tmp_path / "m", batch=batch)
    assert report.undefined == ()
    found, expected = (model.run(source.probes[0].inputs) for model in (edgelstm.load(tmp_path / "m"), edgelstm.load(graph)))
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, atol=2e-6)


@pytest.fixture(scope="module")
def integers():
    calibration = np.random.default_rng(0).standard_normal((4, 30, 3)).astype(np.float32)
    return integer(cell("lstm", 3, 17), calibration, integer_ports=True)


@pytest.mark.parametrize("optimize", ["speed", "size"])
def test_integer_models_are_the_same_bit_for_bit(tmp_path, integers, optimize):
    edgelstm.build(integers, tmp_path / "m", optimize=optimize)
    built, file = edgelstm.load(tmp_path / "m"), edgelstm.load(integers)
    x = np.random.default_rng(1).integers(-128, 128, (3, 50, 3)).astype(np.int8)
    np.testing.assert_array_equal(built.predict(x), file.predict(x))
    ours, theirs = built.stream(), file.stream()
    for frame in x[0]:
        np.testing.assert_array_equal(ours.step(frame), theirs.step(frame))
    for name, state in theirs.state.items():
        np.testing.assert_array_equal(ours.state[name], state)
        assert ours.state[name].dtype == state.dtype


@pytest.mark.parametrize("target", ["cortex-m0", "riscv32-none", "cortex-m4"])
def test_integer_models_need_no_floating_point_unit(tmp_path, integers, target):
    report = edgelstm.build(integers, tmp_path / "m", target, optimize="size")
    assert report.undefined == () and report.notes == ()
    assert "const int8_t *x" in (tmp_path / "m" / "m.h").read_text()
