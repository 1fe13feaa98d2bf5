"""Runs divided among threads: the numbers of one thread, no division where rows depend on each other, nothing left busy."""

import os
import pickle
import threading
import time

import numpy as np
import pytest

import edgelstm
from edgelstm import helpers, native, rows, teams, threads
from edgelstm.ops import recurrent
from tests.conftest import Layers, stacked_graph


@pytest.fixture
def eager(monkeypatch):
    """Division pays however little there is to do."""
    monkeypatch.setattr(threads, "WORTH", 0)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("batch", [1, 2, 5, 8, 13])
def test_a_divided_batch_gives_the_same(stacked, rng, eager, count, batch):
    x = rng.standard_normal((batch, 6, 5)).astype(np.float32)
    expected = edgelstm.load(stacked).predict(x)
    np.testing.assert_allclose(edgelstm.load(stacked, threads=count).predict(x), expected, atol=1e-6)


def time_major_graph():
    net = Layers()
    x = net.builder.input("x", "float32", ("time", "batch", 4))
    y, h = net.builder.add_many("gru", x, net.weights(4, 9), net.weights(3, 9), net.weights(9), layout="tbf", used=(True, True))
    return net.graph(y=y, h=h)


def test_a_batch_that_is_not_the_outermost_axis(rng, eager):
    graph = time_major_graph()
    assert rows.independent(graph)
    x = rng.standard_normal((6, 9, 4)).astype(np.float32)
    expected, found = edgelstm.load(graph).predict(x), edgelstm.load(graph, threads=2).predict(x)
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_allclose(two, one, atol=1e-6)


def mixing(net, x):
    """Values over rows that depend on each other, by name."""
    b = net.builder
    y = net.recurrent("lstm", x, 3, gates=4)
    return {
        "reduce": b.add("sub", y, b.add("reduce_mean", y, axes=[0], keepdims=True)),
        "softmax": b.add("softmax", y, axis=0),
        "cumsum": b.add("cumsum", y, axis=0),
        "transposed": b.add("cumsum", b.add("transpose", y, perm=[1, 0, 2]), axis=1),
        "count": b.add("div", y, b.add("cast", b.add("gather", b.add("shape", y), b.constant(np.int64(0))), to="float32")),
    }


@pytest.mark.parametrize("kind", ["reduce", "softmax", "cumsum", "transposed", "count"])
def test_rows_that_depend_on_each_other_are_not_divided(kind, rng, eager):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 4))
    graph = net.graph(y=mixing(net, x)[kind])
    assert not rows.independent(graph)
    values = rng.standard_normal((6, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(edgelstm.load(graph, threads=2).predict(values), edgelstm.load(graph).predict(values))


def test_rows_of_plain_stacks_are_independent():
    assert rows.independent(stacked_graph()) and rows.independent(stacked_graph(sequences=False))


def test_no_thread_is_left_busy(rng, eager):
    model = edgelstm.load(stacked_graph(units=65), threads=2)
    x = rng.standard_normal((8, 50, 5)).astype(np.float32)
    for _ in range(3):
        model.predict(x)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.05


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2", None])
def test_unusable_numbers_of_threads_are_refused(stacked, count):
    with pytest.raises(edgelstm.DeviceError, match="whole number"):
        edgelstm.load(stacked, threads=count)


def test_wrong_shapes_are_refused_as_on_one_thread(stacked, eager):
    with pytest.raises(edgelstm.ShapeError):
        edgelstm.load(stacked, threads=2).predict(np.zeros((4, 3, 6), np.float32))


def test_threads_survive_pickling(stacked, rng, eager):
    model = pickle.loads(pickle.dumps(edgelstm.load(stacked, threads=2)))
    x = rng.standard_normal((8, 6, 5)).astype(np.float32)
    assert model._threads.count == 2
    np.testing.assert_allclose(model.predict(x), edgelstm.load(stacked).predict(x), atol=1e-6)


@pytest.fixture
def sharing(eager, monkeypatch):
    """Layers of any size are shared by a team, whatever processors there are."""
    monkeypatch.setattr(recurrent, "TEAM_UNITS", 1)
    monkeypatch.setattr(threads, "processors", lambda: 8)


def one_layer(units, **attrs):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    return net.graph(y=net.recurrent("lstm", x, units, gates=4, **attrs))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("units", [1, 16, 17, 33, 65, 130])
def test_a_team_gives_the_same_numbers(rng, sharing, count, units):
    x = rng.standard_normal((1, 40, 5)).astype(np.float32)
    for graph in (one_layer(units), one_layer(units, reverse=True)):
        model = edgelstm.load(graph, threads=count)
        for _ in range(3):
            np.testing.assert_array_equal(model.predict(x), edgelstm.load(graph).predict(x))
        assert len(model._programs._teams) == 1


def test_a_team_passes_over_layers_it_does_not_share(rng, sharing):
    x = rng.standard_normal((1, 30, 5)).astype(np.float32)
    for graph in (stacked_graph(units=65), one_layer(33, activation="relu")):
        np.testing.assert_array_equal(edgelstm.load(graph, threads=2).predict(x), edgelstm.load(graph).predict(x))


def test_dependent_rows_are_left_to_a_team(rng, sharing):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 4))
    graph = net.graph(y=mixing(net, x)["softmax"])
    values = rng.standard_normal((6, 5, 4)).astype(np.float32)
    model = edgelstm.load(graph, threads=2)
    np.testing.assert_allclose(model.predict(values), edgelstm.load(graph).predict(values), atol=1e-6)
    assert len(model._programs._teams) == 1


def late(monkeypatch, delays):
    """Every helper begins after a delay of its own, in seconds; None is never. Gives the threads that they run on."""
    timers = []

    def begin(self, calls):
        jobs = [[call] for call in calls]
        for delay, job in zip(delays, jobs, strict=True):
            if delay is not None:
                timers.append(threading.Timer(delay, helpers.serve, (job,)))
                timers[-1].start()
        return jobs

    monkeypatch.setattr(helpers.Helpers, "begin", begin)
    return timers


def two_ways(units):
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", 5))
    return net.graph(y=net.recurrent("lstm", net.recurrent("lstm", x, units, gates=4), units, gates=4, reverse=True))


@pytest.mark.parametrize("delays", [(None,), (0,), (0.002,), (0.1,), (None, None), (None, 0), (0, 0.002), (0.002, 0.002, 0)])
@pytest.mark.parametrize("units", [16, 33, 65])
def test_helpers_that_come_late_or_never_change_no_number(rng, sharing, monkeypatch, delays, units):
    timers = late(monkeypatch, delays)
    graph, values = two_ways(units), rng.standard_normal((1, 3000, 5)).astype(np.float32)
    model, expected = edgelstm.load(graph, threads=1 + len(delays)), edgelstm.load(graph).predict(values)
    for _ in range(3):
        found = model.predict(values)
        np.testing.assert_array_equal(found, expected)
    for timer in timers:
        timer.join()
    np.testing.assert_array_equal(found, expected)


def test_a_run_does_not_wait_for_a_helper_that_has_not_begun(rng, sharing, monkeypatch):
    late(monkeypatch, (None,))
    model, x = edgelstm.load(one_layer(33), threads=2), rng.standard_normal((1, 40, 5)).astype(np.float32)
    expected = edgelstm.load(one_layer(33)).predict(x)
    for _ in range(100):
        np.testing.assert_array_equal(model.predict(x), expected)


def interrupted(run_at, thread):
    """`run_at`, which that thread does not get to."""

    def run(start):
        if threading.get_ident() == thread:
            raise KeyboardInterrupt
        run_at(start)

    return run


def test_helpers_are_let_go_when_the_run_fails(rng, sharing, monkeypatch):
    model, x = edgelstm.load(one_layer(33), threads=2), rng.standard_normal((1, 40, 5)).astype(np.float32)
    expected = model.predict(x)
    with monkeypatch.context() as broken:
        broken.setattr(native, "run_at", interrupted(native.run_at, threading.get_ident()))
        with pytest.raises(KeyboardInterrupt):
            model.predict(x)
    for _ in range(50):
        np.testing.assert_array_equal(model.predict(x), expected)
    before = time.process_time()
    time.sleep(0.1)
    assert time.process_time() - before < 0.05


@pytest.mark.parametrize("batch", [1, 8])
def test_a_system_that_gives_no_thread_gives_one_later(rng, sharing, monkeypatch, batch):
    monkeypatch.setattr(helpers, "_current", [helpers.Helpers()])
    model, x = edgelstm.load(one_layer(130), threads=2), rng.standard_normal((batch, 300, 5)).astype(np.float32)
    expected = edgelstm.load(one_layer(130)).predict(x)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        np.testing.assert_array_equal(model.predict(x), expected)
        assert len(helpers.current()) == 0
    for _ in range(50):
        np.testing.assert_array_equal(model.predict(x), expected)
    assert len(helpers.current()) == 1


def test_what_helpers_do_not_begin_the_caller_does(monkeypatch):
    monkeypatch.setattr(helpers, "_current", [helpers.Helpers()])
    busy, free, done = threading.Event(), threading.Event(), []
    helpers.current().begin([lambda: (busy.set(), free.wait())])
    assert busy.wait(10)
    helpers.at_once([lambda name=name: done.append((name, threading.current_thread())) for name in "ab"])
    free.set()
    assert done == [("a", threading.current_thread()), ("b", threading.current_thread())]


@pytest.mark.parametrize("failing", [(0,), (1,), (2,), (1, 2), (0, 2)])
def test_what_a_part_raises_the_caller_gets_when_all_have_ended(failing):
    ended = []

    def part(number):
        time.sleep(0.005 * number)
        ended.append(number)
        if number in failing:
            raise ZeroDivisionError(number)

    for _ in range(3):
        ended.clear()
        with pytest.raises(ZeroDivisionError, match=str(failing[0])):
            helpers.at_once([lambda k=k: part(k) for k in range(3)])
        assert sorted(ended) == [0, 1, 2]


def test_helpers_rest_while_what_they_cost_is_more_than_a_part_of_the_work(sharing):
    team = edgelstm.load(one_layer(33), threads=2)._programs.for_team({"x": (1, 40, 5)}, 2)
    work = 64 * teams.SHARE * teams.MULTIPLICATIONS
    team._barrier[teams.DEBT] = 1000
    assert [team.ready(work) for _ in range(17)] == [False] * 15 + [True] * 2
    assert team.ready(20 * work)


def test_a_forked_child_has_helpers_of_its_own(rng, sharing):
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    model, x = edgelstm.load(one_layer(130), threads=2), rng.standard_normal((1, 300, 5)).astype(np.float32)
    expected = model.predict(x)
    child = os.fork()
    if child == 0:
        (team,) = model._programs._teams.values()
        team._barrier[teams.DEBT] = 0
        same = [np.array_equal(model.predict(x), expected) for _ in range(5)]
        os._exit(0 if all(same) and len(helpers.current()) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(model.predict(x), expected)


def test_two_callers_of_one_model_do_not_meet(rng, sharing):
    graph = one_layer(33)
    model, x = edgelstm.load(graph, threads=2), rng.standard_normal((1, 40, 5)).astype(np.float32)
    expected, wrong = model.predict(x), []

    def work():
        wrong.extend(1 for _ in range(20) if not np.array_equal(model.predict(x), expected))

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_one_processor_has_no_team(rng, sharing, monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 1)
    model = edgelstm.load(one_layer(33), threads=2)
    model.predict(rng.standard_normal((1, 40, 5)).astype(np.float32))
    assert len(model._programs._teams) == 0
