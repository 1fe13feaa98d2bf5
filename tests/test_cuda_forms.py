"""Which form the recurrent kernels take on devices that are made up: what is chosen fits, and is what it should be."""

import inspect
import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests import cuda_simulator

pytestmark = cuda_simulator.needs_package

DEVICES = {  # multiprocessors, threads and shared memory of a block
    "7.5": (40, 1024, 64 << 10), "8.7": (14, 1024, 163 << 10), "9.0": (132, 1024, 227 << 10), "small": (1, 256, 48 << 10),
}  # fmt: skip
CELLS = {"lstm": (4,), "gru": (3,), "gru_before": (2, 1), "simple_rnn": (1,)}
STATES = {"lstm": 3, "gru": 2, "gru_before": 4, "simple_rnn": 2}
WORDS_OF_INPUTS = {"float32": 1, "bfloat16": 1 / 2, "int8": 1 / 4, "int4": 1 / 8}
UNITS, BATCHES = (1, 33, 256, 1000), (1, 5, 300)


def device(name, cooperative=True):
    from edgelstm.cuda.driver import Limits

    return Limits(*DEVICES[name], cooperative)


def layer(cell, form, batch, units, steps=100):
    from edgelstm.cuda.forms import Layer

    return Layer(cell, form, batch, units, steps)


def assert_fits(form, limits, layer):
    slices, groups = form.blocks
    width = -(-layer.units // 32) * 32
    assert form.shared + 1024 <= limits.shared and form.threads <= min(512, limits.threads) and form.threads % 32 == 0
    assert slices * form.span >= layer.units > (slices - 1) * form.span
    assert groups * form.rows * form.turns >= layer.batch > (groups - 1) * form.rows * form.turns
    assert form.rows * max(CELLS[layer.cell]) <= 32
    assert form.span % 32 == 0 or 32 % form.span == 0
    if form.kind == "persistent":
        assert limits.cooperative and slices * groups <= limits.multiprocessors
    if form.kind == "whole":
        assert form.span == width
    held = STATES[layer.cell] * width if form.kind == "whole" else width
    weights = sum(CELLS[layer.cell]) * layer.units * form.span * WORDS_OF_INPUTS[layer.form] * form.resident
    at_weights, at_sums, _ = form.memory
    assert at_weights >= form.rows * held and at_sums - at_weights >= int(weights)
    assert form.shared // 4 - at_sums >= form.rows * max(CELLS[layer.cell]) * max(form.threads, form.span)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_chosen_fits_the_device(name, cell):
    from edgelstm.cuda.forms import plan_recurrent

    forms = WORDS_OF_INPUTS if cell == "lstm" else ("float32", "int4")
    for form, units, batch in itertools.product(forms, UNITS, BATCHES):
        asked = layer(cell, form, batch, units, 1 + batch)
        for limits in (device(name), device(name, False)):
            assert_fits(plan_recurrent(limits, asked), limits, asked)


@pytest.mark.parametrize(("name", "units", "batch", "kind", "resident"), [
    ("9.0", 64, 1, "whole", True), ("9.0", 256, 1, "persistent", True), ("9.0", 512, 8, "persistent", True),
    ("9.0", 1024, 1, "persistent", True), ("9.0", 64, 1024, "whole", True), ("9.0", 256, 1024, "whole", False),
    ("8.7", 32, 4, "whole", True), ("8.7", 512, 1, "persistent", False), ("7.5", 32, 1, "whole", True),
    ("7.5", 64, 1, "whole", False), ("7.5", 256, 1, "persistent", True),
])  # fmt: skip
def test_weights_stay_on_chip_where_they_fit(name, units, batch, kind, resident):
    from edgelstm.cuda.forms import plan_recurrent

    form = plan_recurrent(device(name), layer("lstm", "float32", batch, units))
    assert (form.kind, form.resident) == (kind, resident)


def test_a_single_step_reads_its_weights_where_they_are():
    from edgelstm.cuda.forms import plan_recurrent

    assert not plan_recurrent(device("9.0"), layer("lstm", "float32", 1, 512, 1)).resident


@pytest.mark.parametrize("units", [512, 1024])
def test_blocks_that_can_not_meet_take_a_launch_a_step(units):
    from edgelstm.cuda.forms import plan_recurrent

    limits = replace(device("9.0"), cooperative=False)
    assert plan_recurrent(limits, layer("lstm", "float32", 1, units)).kind == "stepwise"


@pytest.mark.parametrize("name", DEVICES)
def test_layers_too_large_for_a_block_are_refused_with_their_cell_and_units(name):
    from edgelstm import UnsupportedError
    from edgelstm.cuda.forms import plan_recurrent

    message = rf"70000 units of a float32 lstm layer.*{DEVICES[name][2] >> 10} KiB.*device='cpu'"
    with pytest.raises(UnsupportedError, match=message):
        plan_recurrent(device(name), layer("lstm", "float32", 1, 70000, 1))


def test_plans_of_many_lengths_are_not_all_kept():
    from edgelstm.cuda.forms import PLANS_KEPT, plan_recurrent

    for steps in range(PLANS_KEPT + 10):
        plan_recurrent(device("small"), layer("simple_rnn", "float32", 1, 1, steps))
    assert plan_recurrent.cache_info().currsize == PLANS_KEPT


def test_more_multiprocessors_never_take_longer():
    from edgelstm.cuda.forms import clocks, plan_recurrent

    asked = layer("gru", "float32", 16, 500)
    found = [clocks(limits, asked, plan_recurrent(limits, asked))
             for limits in (replace(device("9.0"), multiprocessors=count) for count in (1, 2, 8, 30, 64, 132))]
    assert found == sorted(found, reverse=True)


def test_a_launch_of_many_bytes_asks_for_them_and_for_all_blocks_at_once(monkeypatch):
    """What is set on the compiled kernel, by a driver that notes it."""
    from edgelstm.cuda import driver

    asked, maximum = [], object()
    compiled = SimpleNamespace(cooperative=False, shared_mem_per_block=1040,
                               max_cooperative_grid_blocks=lambda threads, shared: 7 * (shared == 90000),
                               library=SimpleNamespace(get_cufunc=lambda: SimpleNamespace(handle="handle")))
    kernel = SimpleNamespace(typeof_pyval=type, compile=lambda types: compiled if types == (int, float) else None)
    attributes = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=maximum)
    api = SimpleNamespace(CUfunction_attribute=attributes,
                          cuKernelSetAttribute=lambda *given: asked.append(given) or (SimpleNamespace(value=0),))
    monkeypatch.setattr(driver, "bindings", lambda: api)
    monkeypatch.setattr(driver, "limits", lambda: device("8.7"))
    monkeypatch.setattr(driver, "cuda", SimpleNamespace(get_current_device=lambda: SimpleNamespace(id=3)))
    assert driver.prepared(kernel, (1, 2.0), 256, 90000, True) == 7
    assert asked == [(maximum, (163 << 10) - 1040, "handle", 3)] and compiled.cooperative


def test_the_driver_has_what_launches_ask_for():
    """Names of numba-cuda and of NVIDIA's bindings that only a GPU would miss."""
    from cuda.bindings import driver as api
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv.driver import device_memset

    assert hasattr(api.CUfunction_attribute, "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES")
    for name in ("MULTIPROCESSOR_COUNT", "MAX_THREADS_PER_BLOCK", "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", "COOPERATIVE_LAUNCH"):
        assert hasattr(api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    assert list(inspect.signature(device_memset).parameters)[:3] == ["dst", "val", "size"]
    assert callable(api.cuKernelSetAttribute) and callable(dispatcher._Kernel.max_cooperative_grid_blocks)
    assert "self.cooperative" in inspect.getsource(dispatcher._Kernel.launch)
    assert {"library", "shared_mem_per_block"} <= set(dir(dispatcher._Kernel))
    assert {"compile", "typeof_pyval"} <= set(dir(dispatcher.CUDADispatcher))
