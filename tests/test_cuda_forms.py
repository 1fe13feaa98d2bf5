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
INPUTS_OF_CHUNKS = {"float32": 4, "bfloat16": 4, "int8": 8, "int4": 32}
UNITS, BATCHES = (1, 33, 256, 1000), (1, 5, 300)


def device(name, cooperative=True):
    from edgelstm.cuda.driver import Limits

    return Limits(*DEVICES[name], cooperative, 16 if name == "9.0" else 0)


def layer(cell, form, batch, units, steps=100):
    from edgelstm.cuda.recurrence.forms import Layer

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
    if form.kind == "cluster":
        assert 1 < slices <= limits.cluster and form.resident and form.turns == 1
    if form.kind == "whole":
        assert form.span == width
    held = STATES[layer.cell] * width if form.kind in ("whole", "cluster") else width
    inputs = layer.units - form.held * INPUTS_OF_CHUNKS[layer.form] * (form.threads // form.span)
    assert inputs >= 0 and (not form.held or (form.kind == "whole" and form.threads <= 256))
    weights = sum(CELLS[layer.cell]) * inputs * form.span * WORDS_OF_INPUTS[layer.form] * form.resident
    at_weights, at_sums, _ = form.memory
    assert at_weights >= form.rows * held and at_sums - at_weights >= int(weights)
    assert form.shared // 4 - at_sums >= form.rows * max(CELLS[layer.cell]) * max(form.threads, form.span)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_chosen_fits_the_device(name, cell):
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    forms = WORDS_OF_INPUTS if cell == "lstm" else ("float32", "int4")
    for form, units, batch in itertools.product(forms, UNITS, BATCHES):
        asked = layer(cell, form, batch, units, 1 + batch)
        for limits in (device(name), device(name, False)):
            assert_fits(plan_recurrent(limits, asked), limits, asked)


@pytest.mark.parametrize(("name", "units", "batch", "kind", "resident"), [
    ("9.0", 64, 1, "whole", True), ("9.0", 128, 1, "cluster", True), ("9.0", 256, 1, "cluster", True),
    ("9.0", 256, 8, "cluster", True), ("9.0", 512, 8, "persistent", True), ("9.0", 1024, 1, "persistent", True),
    ("9.0", 64, 1024, "whole", True),
    ("8.7", 32, 4, "whole", True), ("8.7", 512, 1, "persistent", False), ("7.5", 32, 1, "whole", True),
    ("7.5", 64, 1, "whole", True), ("7.5", 256, 1, "persistent", True),
])  # fmt: skip
def test_weights_stay_on_chip_where_they_fit(name, units, batch, kind, resident):
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    form = plan_recurrent(device(name), layer("lstm", "float32", batch, units))
    assert (form.kind, form.resident) == (kind, resident)


@pytest.mark.parametrize(("name", "form", "units", "chunks"), [
    ("7.5", "float32", 64, 4), ("8.7", "float32", 128, 9), ("8.7", "float32", 126, 9), ("9.0", "bfloat16", 128, 16),
    ("8.7", "int8", 192, 8), ("9.0", "float32", 3, 0), ("8.7", "float32", 512, 0)])
def test_weights_are_in_registers_where_a_block_has_all_units(name, form, units, chunks):
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    found = plan_recurrent(replace(device(name), cluster=0), layer("lstm", form, 1, units))
    assert found.held == chunks and (not chunks or found.kind == "whole")


def test_a_single_step_reads_its_weights_where_they_are():
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    assert not plan_recurrent(device("9.0"), layer("lstm", "float32", 1, 512, 1)).resident


def test_a_cluster_that_has_no_room_leaves_smaller_ones_and_then_all_blocks_together():
    from edgelstm.cuda.recurrence.forms import plan_recurrent, without

    limits, found = device("9.0"), []
    while not found or found[-1].kind == "cluster":
        found.append(plan_recurrent(limits, layer("lstm", "float32", 1, 256)))
        limits = without(limits, found[-1])
    sizes = [form.blocks[0] for form in found[:-1]]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 16 and 8 in sizes and len(set(sizes)) == len(sizes)
    assert found[-1].kind == "persistent"


@pytest.mark.parametrize("form", WORDS_OF_INPUTS)
def test_clusters_are_for_layers_of_some_hundred_units(form):
    """Fewer fit into a block, more don't fit into a cluster."""
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    kinds = [plan_recurrent(device("9.0"), layer("lstm", form, 1, units)).kind for units in (16, 256, 4096)]
    assert kinds == ["whole", "cluster", "persistent"]


@pytest.mark.parametrize("units", [512, 1024])
def test_blocks_that_can_not_meet_take_a_launch_a_step(units):
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    limits = replace(device("9.0"), cooperative=False)
    assert plan_recurrent(limits, layer("lstm", "float32", 1, units)).kind == "stepwise"


@pytest.mark.parametrize("name", DEVICES)
def test_layers_too_large_for_a_block_are_refused_with_their_cell_and_units(name):
    from edgelstm import UnsupportedError
    from edgelstm.cuda.recurrence.forms import plan_recurrent

    message = rf"70000 units of a float32 lstm layer.*{DEVICES[name][2] >> 10} KiB.*device='cpu'"
    with pytest.raises(UnsupportedError, match=message):
        plan_recurrent(device(name), layer("lstm", "float32", 1, 70000, 1))


def test_plans_of_many_lengths_are_not_all_kept():
    from edgelstm.cuda.recurrence.forms import PLANS_KEPT, plan_recurrent

    for steps in range(PLANS_KEPT + 10):
        plan_recurrent(device("small"), layer("simple_rnn", "float32", 1, 1, steps))
    assert plan_recurrent.cache_info().currsize == PLANS_KEPT


def test_more_multiprocessors_never_take_longer():
    from edgelstm.cuda.recurrence.forms import clocks, plan_recurrent

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
    attributes = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=maximum,
                                 CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED="larger")
    api = SimpleNamespace(CUfunction_attribute=attributes,
                          cuKernelSetAttribute=lambda *given: asked.append(given) or (SimpleNamespace(value=0),))
    monkeypatch.setattr(driver, "bindings", lambda: api)
    monkeypatch.setattr(driver, "limits", lambda: device("8.7"))
    monkeypatch.setattr(driver, "cuda", SimpleNamespace(get_current_device=lambda: SimpleNamespace(id=3)))
    assert driver.prepared(kernel, (1, 2.0), 256, 90000, True) == 7
    assert asked == [(maximum, (163 << 10) - 1040, "handle", 3)] and compiled.cooperative
    for cluster in (8, 9):
        driver.prepared(kernel, (1, 2.0), 256, 90000, False, cluster)
    assert asked[2:] == [asked[0], ("larger", 1, "handle", 3)] and not compiled.cooperative


@pytest.mark.parametrize(("error", "count", "found"), [
    ("CUDA_SUCCESS", 4, True), ("CUDA_SUCCESS", 3, False), ("CUDA_ERROR_INVALID_CLUSTER_SIZE", None, False)])
def test_clusters_are_launched_where_the_device_holds_as_many_as_were_counted_on(monkeypatch, error, count, found):
    made, asked = clusters(monkeypatch, error, count)
    assert len(made) == found and (not found or made[0].cluster == 13)
    config = asked[0]
    assert (config.gridDimX, config.gridDimY, config.gridDimZ, config.blockDimX, config.sharedMemBytes) == (13, 5, 1, 96, 70000)
    (attribute,) = config.attrs
    assert attribute.id.name == "CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION"
    assert [getattr(attribute.value.clusterDim, axis) for axis in "xyz"] == [13, 1, 1]


def test_what_else_the_driver_says_of_clusters_is_an_error(monkeypatch):
    from edgelstm import DeviceError

    with pytest.raises(DeviceError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        clusters(monkeypatch, "CUDA_ERROR_ILLEGAL_ADDRESS", None)


def clusters(monkeypatch, error, count):
    """The launch of clusters of 13 blocks, four at once, where the driver answers so; and what it was asked."""
    from cuda.bindings import driver as real

    from edgelstm.cuda import driver, launching

    asked = []
    api = SimpleNamespace(**{name: getattr(real, name) for name in dir(real) if name.startswith("CU")},
                          cuKernelGetFunction=lambda kernel: (real.CUresult.CUDA_SUCCESS, "function"),
                          cuOccupancyMaxActiveClusters=lambda function, config: asked.append(config) or (
                              getattr(real.CUresult, error), count))
    compiled = SimpleNamespace(cooperative=False, library=SimpleNamespace(get_cufunc=lambda: SimpleNamespace(handle=0)))
    kernel = SimpleNamespace(typeof_pyval=type, compile=lambda types: compiled)
    for module in (driver, launching):
        monkeypatch.setattr(module, "bindings", lambda: api)
    monkeypatch.setattr(launching, "prepared", lambda *given: 0)
    return launching.launch_clusters(kernel, (13, 5), 96, 1, shared=70000, at_once=4), asked


def test_the_driver_has_what_launches_ask_for():
    """Names of numba-cuda and of NVIDIA's bindings that only a GPU would miss."""
    from cuda.bindings import driver as api
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv.driver import device_memset

    for name in ("MAX_DYNAMIC_SHARED_SIZE_BYTES", "NON_PORTABLE_CLUSTER_SIZE_ALLOWED"):
        assert hasattr(api.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
    for name in ("MULTIPROCESSOR_COUNT", "MAX_THREADS_PER_BLOCK", "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", "COOPERATIVE_LAUNCH",
                 "CLUSTER_LAUNCH"):
        assert hasattr(api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    assert list(inspect.signature(device_memset).parameters)[:3] == ["dst", "val", "size"]
    assert callable(api.cuKernelSetAttribute) and callable(dispatcher._Kernel.max_cooperative_grid_blocks)
    assert "self.cooperative" in inspect.getsource(dispatcher._Kernel.launch)
    assert {"library", "shared_mem_per_block"} <= set(dir(dispatcher._Kernel))
    assert {"compile", "typeof_pyval"} <= set(dir(dispatcher.CUDADispatcher))
