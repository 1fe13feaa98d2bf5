"""Which device runs a model: what device="auto" chooses, by made-up clocks and devices, and the CPU as a fallback."""

import itertools
import pickle

import numpy as np
import pytest

import edgelstm
from edgelstm import devices, model
from edgelstm.benchmark import timing
from edgelstm.errors import DependencyError, DeviceError, DeviceMemoryError, DeviceWarning, ShapeError, UnsupportedError
from edgelstm.programs import Programs
from tests.tiny_models import sequence_graph, step_graph

X = np.ones((2, 3, 3), np.float32)


class Clock:
    """A clock that only runs while something is called."""

    def __init__(self):
        self.now = 0

    def taking(self, *seconds):
        """A call that takes so long; the last figure repeats."""
        left = itertools.chain(seconds, itertools.repeat(seconds[-1]))

        def run():
            self.now += int(next(left) * 1e9)

        return run


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "_clock", lambda: made.now)
    return made


def test_medians_leave_out_the_calls_that_warm_up(clock):
    runs = {"cpu": clock.taking(9.0, 9.0, 9.0, 0.25), "cuda": clock.taking(100.0, 50.0, 25.0, 0.5)}
    assert devices.medians(runs, 10.0) == {"cpu": 0.25, "cuda": 0.5}


def test_medians_of_short_calls_are_those_of_one_call(clock):
    runs = {"cpu": clock.taking(2e-6), "cuda": clock.taking(3e-5)}
    assert devices.medians(runs, 0.01) == pytest.approx({"cpu": 2e-6, "cuda": 3e-5})


@pytest.mark.parametrize(("seconds", "turns"), [(0.0, timing.LEAST_TURNS), (10.0, 10), (1e9, timing.MOST_TURNS)])
def test_calls_take_turns_for_the_time_given(clock, seconds, turns):
    order, wait = [], clock.taking(0.5)
    runs = {name: lambda name=name: (order.append(name), wait()) for name in ("cpu", "cuda")}
    devices.medians(runs, seconds)
    assert order[-2 * turns :] == (["cpu", "cuda", "cuda", "cpu"] * turns)[: 2 * turns]
    assert len(order) - 2 * turns <= 10


def pretend(monkeypatch, cpu, cuda):
    """Devices of these speeds, the GPU being another model on the CPU."""
    monkeypatch.setattr(devices, "on_device", lambda graph, *rest: model.Model(graph))
    monkeypatch.setattr(devices, "medians", lambda runs, seconds=0.0: {"cpu": cpu, "cuda": cuda})


@pytest.mark.parametrize(("cpu", "cuda"), [(12e-6, 40e-6), (40e-6, 12e-6)])
@pytest.mark.parametrize(("settings", "what"), [({}, "a step at batch 1"), ({"batch": 4}, "a step at batch 4"),
                                                ({"steps": 7, "batch": 2}, "a run of 7 steps at batch 2")])
def test_auto_takes_the_faster_and_says_so(monkeypatch, cpu, cuda, settings, what):
    pretend(monkeypatch, cpu, cuda)
    with pytest.warns(DeviceWarning, match=f"on '{'cpu' if cpu < cuda else 'cuda'}'") as told:
        found = edgelstm.load(sequence_graph(), device="auto", **settings)
    assert found.choice == str(told[0].message)
    assert what in found.choice and f"{1e6 * cpu:.1f} us on cpu, {1e6 * cuda:.1f} us on cuda" in found.choice
    assert told[0].filename == __file__


@pytest.mark.parametrize("reason", [DependencyError("no package"), DeviceError("no driver"), UnsupportedError("no twin")])
def test_auto_without_a_gpu_runs_on_the_cpu_and_says_why(monkeypatch, reason):
    monkeypatch.setattr(devices, "on_device", raising(reason))
    with pytest.warns(DeviceWarning, match=str(reason).split("\n")[0]):
        found = edgelstm.load(sequence_graph(), device="auto")
    assert found.device == "cpu" and "CPU" in found.choice
    np.testing.assert_array_equal(found.predict(X), edgelstm.load(sequence_graph()).predict(X))


def raising(error):
    def call(*args, **kwargs):
        raise error

    return call


def test_auto_refuses_a_batch_that_the_model_does_not_take(monkeypatch):
    pretend(monkeypatch, 1.0, 2.0)
    monkeypatch.setattr(devices, "call", raising(ShapeError("one row only")))
    with pytest.raises(ShapeError, match="batch 3"):
        edgelstm.load(sequence_graph(), device="auto", batch=3)


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "4", True])
@pytest.mark.parametrize("what", ["batch", "steps"])
def test_auto_refuses_what_is_no_number_of_rows_or_steps(monkeypatch, what, wrong):
    pretend(monkeypatch, 1.0, 2.0)
    with pytest.raises(ShapeError, match=f"{what} that device='auto' measures is a whole number"):
        edgelstm.load(sequence_graph(), device="auto", **{what: wrong})


def test_the_crossover_has_a_row_for_every_batch_that_the_model_takes(monkeypatch):
    speeds = iter([(1.0, 8.0), (4.0, 8.0), (16.0, 8.0)])
    monkeypatch.setattr(devices, "medians", lambda runs, seconds: dict(zip(runs, next(speeds), strict=True)))
    found = model.Model(sequence_graph())
    real, refuse = devices.call, raising(ShapeError(""))
    monkeypatch.setattr(devices, "call", lambda m, batch, steps: (refuse if batch == 8 else real)(m, batch, steps))
    rows = devices.crossover({"cpu": found, "cuda": found}, (1, 8, 32, 128))
    assert [(row.batch, row.faster) for row in rows] == [(1, "cpu"), (32, "cpu"), (128, "cuda")]


@pytest.mark.parametrize("make", [sequence_graph, step_graph])
@pytest.mark.parametrize("steps", [None, 4])
def test_calls_can_be_made_again_and_again(make, steps):
    run = devices.call(edgelstm.load(make()), 2, steps)
    for _ in range(3):
        run()


def test_threads_are_those_of_the_cpu(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, "on_device", lambda graph, device, threads=1: asked.append(threads) or model.Model(graph))
    monkeypatch.setattr(devices, "medians", lambda runs, seconds=0.0: {"cpu": 1.0, "cuda": 2.0})
    with pytest.warns(DeviceWarning):
        assert edgelstm.load(sequence_graph(), device="auto", threads=2)._threads.count == 2
    assert asked == [1]


@pytest.mark.parametrize("fallback", [None, "cpu"])
@pytest.mark.parametrize("error", [DeviceError("no driver"), DeviceMemoryError("full")])
def test_auto_never_measures_the_cpu_in_place_of_a_gpu(monkeypatch, fallback, error):
    monkeypatch.setattr(model, "_programs", lambda graph, device, threads: raising(error)()
                        if device == "cuda" else Programs(graph))
    with pytest.warns(DeviceWarning) as told:
        found = edgelstm.load(sequence_graph(), device="auto", fallback=fallback)
    assert len(told) == 1 and found.device == "cpu"
    assert "on the CPU" in found.choice and str(error) in found.choice and " us on " not in found.choice


@pytest.mark.parametrize("fallback", [None, "cpu"])
def test_auto_with_a_gpu_that_is_full_says_so(full, fallback):
    with pytest.warns(DeviceWarning, match="full") as told:
        found = edgelstm.load(sequence_graph(), device="auto", fallback=fallback)
    assert len(told) == 1 and found.device == "cpu" and " us on " not in found.choice


@pytest.mark.parametrize(("fallback", "kind"), [(None, model.Model), ("cpu", devices.FallbackModel)])
def test_auto_keeps_the_fallback_of_a_faster_gpu(monkeypatch, fallback, kind):
    monkeypatch.setattr(model, "_programs", lambda graph, device, threads: Programs(graph))
    monkeypatch.setattr(devices, "medians", lambda runs, seconds=0.0: {"cpu": 2.0, "cuda": 1.0})
    with pytest.warns(DeviceWarning, match="on 'cuda'"):
        found = edgelstm.load(sequence_graph(), device="auto", fallback=fallback)
    assert type(found) is kind and found.device == "cuda" and "on 'cuda'" in found.choice


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", 3, None])
@pytest.mark.parametrize("fallback", [None, "cpu"])
def test_unknown_devices_are_refused(device, fallback):
    with pytest.raises(DeviceError, match="is not supported"):
        edgelstm.load(sequence_graph(), device=device, fallback=fallback)


def test_devices_have_numbers():
    assert devices.number_of("cuda") is None and devices.number_of("cuda:12") == 12


def test_other_fallbacks_are_refused():
    for device in ("cuda", "auto"):
        with pytest.raises(DeviceError, match="fallback='gpu'"):
            edgelstm.load(sequence_graph(), device=device, fallback="gpu")


@pytest.mark.parametrize("settings", [{"fallback": "cpu"}, {"batch": 2}, {"steps": 5}])
def test_a_native_build_takes_no_settings_of_devices(tmp_path, settings):
    with pytest.raises(DeviceError, match=f"{next(iter(settings))}=.*native build|native build.*{next(iter(settings))}="):
        edgelstm.load(tmp_path, **settings)


def test_a_fallback_stands_in_for_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(model, "_programs", lambda graph, device, threads: raising(DeviceError("no driver"))()
                        if device == "cuda" else Programs(graph))
    with pytest.warns(DeviceWarning, match="no driver"):
        found = edgelstm.load(sequence_graph(), device="cuda", fallback="cpu", threads=2)
    assert found.device == "cpu" and "no driver" in found.choice
    with pytest.raises(DeviceError, match="no driver"):
        edgelstm.load(sequence_graph(), device="cuda")


class Full(Programs):
    """A device whose memory is full."""

    resident = False

    def takes(self, inputs):
        return self.resident

    def run_resident(self, inputs):
        raise DeviceMemoryError("full")

    for_run = known_run = stream = pool = raising(DeviceMemoryError("full"))


@pytest.fixture
def full(monkeypatch):
    monkeypatch.setattr(model, "_programs", lambda graph, device, threads: (Full if device == "cuda" else Programs)(graph))


def test_a_fallback_stands_in_where_memory_is_full(full):
    ours, theirs = edgelstm.load(sequence_graph(), device="cuda", fallback="cpu"), edgelstm.load(sequence_graph())
    assert ours.device == "cuda"
    with pytest.warns(DeviceWarning, match="full") as told:
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert len(told) == 1
    with pytest.warns(DeviceWarning, match="full"):
        stream = ours.stream()
    np.testing.assert_array_equal(stream.step(X[0, 0]), theirs.stream().step(X[0, 0]))
    with pytest.warns(DeviceWarning, match="full"):
        pool = ours.pool(2)
    handle = pool.open()
    np.testing.assert_array_equal(pool.step({handle: X[0, 0]})[handle], theirs.stream().step(X[0, 0]))
    assert isinstance(pickle.loads(pickle.dumps(ours)), devices.FallbackModel)


def test_full_memory_is_an_error_where_no_fallback_was_asked_for(full, monkeypatch):
    with pytest.raises(DeviceMemoryError):
        edgelstm.load(sequence_graph(), device="cuda").predict(X)
    monkeypatch.setattr(Full, "resident", True)
    with pytest.raises(DeviceMemoryError):
        edgelstm.load(sequence_graph(), device="cuda", fallback="cpu").predict(X)
