"""Devices on the command line: --device of run and bench, the crossover of doctor, with and without a GPU."""

import json

import numpy as np
import pytest

import edgelstm
from edgelstm import cli, devices, model
from edgelstm.errors import DeviceError
from edgelstm.format import write
from edgelstm.programs import Programs
from tests.tiny_models import sequence_graph, step_graph


@pytest.fixture
def files(tmp_path):
    """A model, and inputs for it."""
    write(sequence_graph(), tmp_path / "m.elstm")
    np.save(tmp_path / "x.npy", np.ones((2, 5, 3), np.float32))
    return [str(tmp_path / name) for name in ("m.elstm", "x.npy")]


@pytest.fixture
def no_gpu(monkeypatch):
    def programs(graph, device, threads):
        if device == "cpu":
            return Programs(graph)
        raise DeviceError("no CUDA device was found")

    monkeypatch.setattr(model, "_programs", programs)


class Pretended(Programs):
    """The CPU as a GPU."""

    def takes(self, inputs):
        return False


@pytest.fixture
def measured(monkeypatch):
    """A GPU, which is the CPU, and what is measured of both; gives the batches and steps that were asked for."""
    monkeypatch.setattr(model, "_programs", lambda graph, device, threads: Pretended(graph))
    monkeypatch.setattr(devices, "medians", lambda runs, seconds=0.0: {"cpu": 40e-6, "cuda": 12e-6})
    asked, real = [], devices.call

    def call(found, batch, steps=None):
        asked.append((batch, steps))
        return real(found, batch, steps)

    monkeypatch.setattr(devices, "call", call)
    return asked


@pytest.mark.parametrize(("options", "expected"), [([], (2, 5)), (["--stream"], (2, None))])
def test_run_tells_what_auto_chose(files, measured, capsys, options, expected):
    assert cli.main(["run", *files, "--device", "auto", *options]) == 0
    said = capsys.readouterr()
    assert "on 'cuda'" in said.err and "40.0 us on cpu, 12.0 us on cuda" in said.err
    assert set(measured) == {expected}
    assert said.out.startswith("y  float32")


def test_bench_tells_what_auto_chose(files, no_gpu, capsys):
    assert cli.main(["bench", files[0], "--device", "auto", "--seconds", "0.01", "--steps", "3", "--starts", "0"]) == 0
    assert "runs this model on the CPU: no CUDA device was found" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run"], ["bench"]])
def test_a_device_that_is_not_there_is_an_error(files, no_gpu, capsys, command):
    assert cli.main([*command, *files[: 2 if command == ["run"] else 1], "--device", "cuda"]) == 5
    assert "no CUDA device" in capsys.readouterr().err
    assert cli.main([*command, *files[: 2 if command == ["run"] else 1], "--device", "gpu"]) == 5
    assert "'gpu' is not supported" in capsys.readouterr().err


def test_doctor_shows_the_crossover_of_a_model(files, measured, monkeypatch, capsys):
    speeds = iter([(1e-6, 9e-6), (4e-6, 9e-6), (32e-6, 10e-6), (64e-6, 11e-6), (512e-6, 20e-6)])
    monkeypatch.setattr(devices, "medians", lambda runs, seconds=0.0: dict(zip(runs, next(speeds), strict=True)))
    assert cli.main(["doctor", "--crossover", files[0]]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("a step of m.elstm, microseconds")
    assert [line.split() for line in lines[start + 1 : start + 7]] == [
        ["batch", "cpu", "cuda", "faster"], ["1", "1.0", "9.0", "cpu"], ["8", "4.0", "9.0", "cpu"],
        ["32", "32.0", "10.0", "cuda"], ["128", "64.0", "11.0", "cuda"], ["1024", "512.0", "20.0", "cuda"]]  # fmt: skip
    assert measured == [(batch, None) for batch in devices.BATCHES for _ in range(2)]


def test_doctor_says_why_there_is_no_crossover(files, no_gpu, capsys):
    assert cli.main(["doctor", "--crossover", files[0], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["crossover"] == {"missing": "no CUDA device was found"}
    assert set(found["gpu"]) == {"device", "missing", "measurable"}


def test_the_standard_layer_of_the_crossover_streams():
    from edgelstm.cli.crossover import UNITS, standard_layer

    found = edgelstm.load(standard_layer())
    assert found.streaming.ok and found.stream(3).step(np.zeros((3, UNITS), np.float32)).shape == (3, UNITS)


def test_models_of_fixed_frames_are_measured(measured):
    """A model without a time axis is measured by its steps too."""
    assert devices.crossover({"cpu": edgelstm.load(step_graph())}, (1, 4))[1].batch == 4
