"""What the driver reports, as errors of EdgeLSTM, and CUDA graphs: both with a made-up driver, as there may be none."""

import importlib
import importlib.util
import subprocess
import sys
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import edgelstm
from edgelstm import DependencyError, DeviceError, DeviceMemoryError, DeviceWarning, ShapeError
from tests import cuda_simulator
from tests.tiny_models import sequence_graph

needs_package = cuda_simulator.needs_package


@pytest.fixture
def driver():
    return importlib.import_module("edgelstm.cuda.driver")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "edgelstm.cuda.driver", raising=False)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "numba_cuda" else real(name, *rest))
    with pytest.raises(DependencyError, match=r"edgelstm\[cuda\]"):
        importlib.import_module("edgelstm.cuda.driver")


def machine(capability=(9, 0), count=1, available=True, error=None):
    """numba.cuda on a machine with such devices."""
    gpus = [SimpleNamespace(id=k, compute_capability=capability, name=b"Made-up GPU") for k in range(count)]
    return SimpleNamespace(is_available=lambda: available, cuda_error=lambda: error, gpus=gpus,
                           get_current_device=lambda: gpus[0])


@needs_package
@pytest.mark.parametrize(("found", "number", "message"), [
    (machine(available=False, error="\nCUDA driver library not found.\n"), None, "library not found; use device='cpu'"),
    (machine(available=False, error="CUDA_ERROR_NO_DEVICE (100)"), None, "NO_DEVICE"),
    (machine(available=False), 0, "no device was found"),
    (machine((7, 0)), None, "Made-up GPU has the compute capability 7.0; 7.5 is the oldest supported; use device='cpu'"),
    (machine((6, 1), 3), 2, "capability 6.1"),
    (machine(count=2), 2, "there is no device 2: this machine has 2, numbered from 0"),
])  # fmt: skip
def test_devices_that_can_not_be_used_are_named(driver, monkeypatch, found, number, message):
    monkeypatch.setattr(driver, "cuda", found)
    monkeypatch.setattr("numba.cuda.cudadrv.nvvm.is_available", lambda: True)
    with pytest.raises(DeviceError) as error:
        driver.check(number)
    assert message in str(error.value)


@needs_package
def test_a_device_that_can_be_used_is_told_by_its_number(driver, monkeypatch):
    monkeypatch.setattr(driver, "cuda", machine((7, 5), 3))
    assert (driver.check(), driver.check(2)) == (0, 2)


@needs_package
def test_a_missing_compiler_is_named(driver, monkeypatch):
    monkeypatch.setattr(driver, "cuda", machine(available=False))
    monkeypatch.setattr("numba.cuda.cudadrv.nvvm.is_available", lambda: False)
    with pytest.raises(DependencyError, match=r"compiler \(NVVM\).*edgelstm\[cuda\]"):
        driver.check()


@needs_package
def test_errors_of_the_driver_are_translated(driver):
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv.driver import CudaAPIError
    from numba.cuda.cudadrv.error import CudaDriverError, CudaSupportError, NvvmSupportError

    cases = [
        (CudaAPIError(2, "Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"), DeviceMemoryError, "fallback='cpu'"),
        (CUDAError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), DeviceMemoryError, "smaller batch"),
        (CudaAPIError(700, "CUDA_ERROR_ILLEGAL_ADDRESS"), DeviceError, "ILLEGAL_ADDRESS"),
        (CudaDriverError("CUDA initialized before forking"), DeviceError, "'spawn'"),
        (CudaSupportError("Error at driver init:\nno device"), DeviceError, "driver init: no device"),
        (NvvmSupportError("libNVVM cannot be found"), DependencyError, r"edgelstm[cuda]"),
    ]
    for error, kind, message in cases:
        with pytest.raises(kind) as found, driver.device_errors():
            raise error
        assert type(found.value) is kind and message in str(found.value)
    with pytest.raises(KeyError), driver.device_errors():
        raise KeyError("another error")


class OnDevice:
    """An array of device memory, as another library hands it over."""

    def __init__(self, dtype="float32", contiguous=True):
        self.dtype, self.shape, self.size, self._contiguous = np.dtype(dtype), (2, 3), 6, contiguous
        self.__cuda_array_interface__ = {"data": (4096, False)}

    def is_c_contiguous(self):
        return self._contiguous


@needs_package
@pytest.mark.parametrize(("array", "error", "message"), [
    (OnDevice("float64"), ShapeError, "float64; give a C-contiguous array of float32"),
    (OnDevice(contiguous=False), ShapeError, "not C-contiguous"),
    (OnDevice(), DeviceError, "lies on device 3, the model on device 1; copy it, or load the model with device='cuda:3'"),
])
def test_arrays_that_kernels_can_not_read_are_refused(driver, monkeypatch, array, error, message):
    resident = importlib.import_module("edgelstm.cuda.host.resident")
    monkeypatch.setattr(resident, "adopted", lambda given: given)
    monkeypatch.setattr(driver, "place", lambda given: 3)
    with pytest.raises(error) as found:
        resident.fitting("input 'x'", "float32", array, 1)
    assert message in str(found.value)


@needs_package
@pytest.mark.parametrize(("given", "known"), [
    ({}, True), ({"stream": None}, True), ({"stream": 1}, True), ({"stream": 2}, False), ({"stream": 4096}, False),
    ({"mask": object()}, False)])  # fmt: skip
def test_arrays_are_known_again_by_all_that_kernels_see_of_them(driver, given, known):
    """Not those whose own stream must be waited for."""
    interface = {"data": (64, False), "shape": (2, 3), "typestr": "<f4"}

    def described(**changed):
        return driver.described(SimpleNamespace(__cuda_array_interface__=interface | given | changed))

    assert (described() is not None) == known
    if known:
        assert described() == described()
        for changed in ({"data": (128, False)}, {"shape": (3, 2)}, {"typestr": "<f8"}, {"strides": (24, 8)}):
            assert described(**changed) != described()
    assert driver.described(np.zeros(3)) is driver.described(None) is driver.described([interface]) is None


@needs_package
def test_the_place_of_an_array_is_asked_of_the_driver(driver, monkeypatch):
    asked = []
    api = SimpleNamespace(CUpointer_attribute=SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL="ordinal"),
                          cuPointerGetAttribute=lambda *given: (asked.append(given), (SimpleNamespace(value=0), 2))[1])
    monkeypatch.setattr(driver, "bindings", lambda: api)
    assert driver.place(OnDevice()) == 2 and asked == [("ordinal", 4096)]


class Api:
    """A driver that notes what is called; `failing` is the call that reports an error."""

    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=SimpleNamespace(value=1))
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED="relaxed")
    results = {"cuStreamCreate": 77, "cuStreamEndCapture": 88, "cuGraphInstantiate": 99}

    def __init__(self, failing=""):
        self.called, self._failing = [], failing

    def __getattr__(self, name):
        def call(*given):
            self.called.append((name, *given))
            failed = name == self._failing
            error = SimpleNamespace(value=int(failed), name="CUDA_ERROR_OUT_OF_MEMORY")
            return (error, self.results[name]) if name in self.results else (error,)

        return call

    def names(self):
        return [name for name, *_ in self.called]


@pytest.fixture
def record(driver, monkeypatch):
    """`record(api)`: a Graph on a machine with this driver, and the streams that its launches were given."""
    graphs = importlib.import_module("edgelstm.cuda.host.graphs")

    def made(api, launch=lambda stream: None):
        streams = []
        fake = SimpleNamespace(defer_cleanup=nullcontext, external_stream=lambda handle: ("capturing", handle))
        for name, value in (("SIMULATED", False), ("bindings", lambda: api), ("cuda", fake)):
            monkeypatch.setattr(graphs, name, value)
        return graphs.Graph(lambda stream: (streams.append(stream), launch(stream)), SimpleNamespace(handle=5)), streams

    return made


@needs_package
def test_a_graph_is_recorded_at_the_second_run_and_destroyed_with_its_owner(record):
    api = Api()
    graph, streams = record(api)
    graph.run()
    assert api.called == [] and len(streams) == 1
    for _ in range(3):
        graph.run()
    assert streams[1:] == [("capturing", 77)]
    assert api.called == [
        ("cuStreamCreate", 1), ("cuStreamBeginCapture", 77, "relaxed"), ("cuStreamEndCapture", 77),
        ("cuGraphInstantiate", 88, 0), ("cuGraphDestroy", 88), ("cuStreamDestroy", 77),
        *[("cuGraphLaunch", 99, 5)] * 3]  # fmt: skip
    del graph
    assert api.called[-1] == ("cuGraphExecDestroy", 99)


@needs_package
@pytest.mark.parametrize(("failing", "left"), [
    ("cuStreamCreate", set()), ("cuStreamBeginCapture", {"cuStreamDestroy"}), ("cuStreamEndCapture", {"cuStreamDestroy"}),
    ("cuGraphInstantiate", {"cuGraphDestroy", "cuStreamDestroy"})])  # fmt: skip
def test_a_recording_that_fails_leaves_nothing_behind_and_launches_one_by_one(record, failing, left):
    api = Api(failing)
    graph, streams = record(api)
    graph.run()
    with pytest.warns(DeviceWarning, match="one by one.*OUT_OF_MEMORY"):
        graph.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph.run()
    plain = [stream for stream in streams if stream != ("capturing", 77)]
    assert [stream.handle for stream in plain] == [5, 5, 5]
    assert api.names().count("cuStreamCreate") == 1 and "cuGraphLaunch" not in api.names()
    assert {name for name in api.names() if name.endswith("Destroy")} == left


@needs_package
def test_a_launch_that_can_not_be_recorded_is_made_one_by_one(record):
    from numba.cuda.cudadrv.driver import CudaAPIError

    def launch(stream):
        if stream == ("capturing", 77):
            raise CudaAPIError(900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    graph, streams = record(Api(), launch)
    graph.run()
    with pytest.warns(DeviceWarning, match="CAPTURE_UNSUPPORTED"):
        graph.run()
    assert len(streams) == 3


@needs_package
def test_an_error_of_a_launch_ends_the_recording(record):
    api, count = Api(), iter(range(2))

    def launch(stream):
        if next(count) == 1:
            raise ZeroDivisionError

    graph, _ = record(api, launch)
    graph.run()
    with pytest.raises(ZeroDivisionError):
        graph.run()
    assert api.names()[2:] == ["cuStreamEndCapture", "cuGraphDestroy", "cuStreamDestroy"]


@needs_package
def test_memory_is_zeroed_on_the_device(driver, monkeypatch):
    """All of it, and without a copy of the host."""
    asked, memory = [], SimpleNamespace(size=24)
    fake = SimpleNamespace(device_memset=lambda *given: asked.append(given))
    monkeypatch.setattr(driver, "cuda", SimpleNamespace(cudadrv=SimpleNamespace(driver=fake),
                                                        device_array=lambda size, dtype: memory if size == 24 else None))
    assert driver.zeros(17) is memory and asked == [(memory, 0, 24)]


def test_unknown_devices_are_refused():
    with pytest.raises(DeviceError, match="'tpu'"):
        edgelstm.load(sequence_graph(), device="tpu")


def test_what_is_missing_is_named():
    """Without the package, without a driver, or with both: an error that says so, or a model."""
    try:
        edgelstm.load(sequence_graph(), device="cuda")
    except DependencyError as error:
        assert "edgelstm[cuda]" in str(error)
    except DeviceError as error:
        assert cuda_simulator.INSTALLED and "device='cpu'" in str(error)


def test_cpu_models_do_not_import_numba_cuda():
    source = ("import sys, edgelstm; from tests import tiny_models; edgelstm.load(tiny_models.sequence_graph());"
              "assert not any(name.startswith(('numba_cuda', 'numba.cuda', 'edgelstm.cuda')) for name in sys.modules)")
    subprocess.run([sys.executable, "-c", source], check=True, cwd=cuda_simulator.ROOT)
