"""What the host does for a session on the device, held on a driver that is made up: see made_up_driver.c.

Kernels do nothing there, so nothing here looks at outputs: only at the calls of the driver, their arguments, and at what is
left of a session when one of them fails. All of it runs in a process of its own that finds this driver.
"""

import gc
import os
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests import cuda_simulator

if not cuda_simulator.ON_MADE_UP_DRIVER:
    pytest.skip("runs on a made-up driver, from tests/test_cuda_made_up.py", allow_module_level=True)

from numba import cuda

import edgelstm
from bench.cuda import graph_of
from edgelstm import DeviceError, DeviceMemoryError, DeviceWarning, ShapeError, axes
from edgelstm.cuda import driver
from edgelstm.cuda.host import ready, session
from tests.cuda_made_up import calls, failing, made_up
from tests.test_stream import framed_graph
from tests.tiny_models import sequence_graph, step_graph, two_in_two_out_graph

OUT_OF_MEMORY, ILLEGAL_ADDRESS, CAPTURE_INVALIDATED = 2, 700, 901
COOPERATIVE, CLUSTERS = 2, 4  # attributes of a launch
REPLAY = ["cuCtxPushCurrent", "cuGraphLaunch", "cuStreamSynchronize", "cuCtxPopCurrent"]


@pytest.fixture(scope="module")
def model():
    return edgelstm.load(sequence_graph(), device="cuda")


def on_device(*shape):
    return cuda.to_device(np.zeros(shape, np.float32))


class Foreign:
    """An array of another library, which names no stream."""

    def __init__(self, *shape):
        self._array = on_device(*shape)

    @property
    def __cuda_array_interface__(self):
        return {**self._array.__cuda_array_interface__}


def sessions(model, batch=2, steps=3):
    """A new session of the model's program for such runs."""
    pool = model._programs.for_run({"x": (batch, steps, *model.inputs[0].shape[2:])})
    return session.CudaSession(pool.program, model._programs._constants)


def floats(args):
    """For every word of the arguments whether it is a float32, which has but four bytes."""
    for arg in args:
        if isinstance(arg, tuple):
            yield from floats(arg)
        else:
            yield from [isinstance(arg, np.float32)] * len(list(ready._words(arg)))


@pytest.mark.parametrize(("units", "kind"), [(3, 0), (200, CLUSTERS), (1024, COOPERATIVE)])
def test_launches_are_those_of_numba_cuda(units, kind):
    """Blocks, threads, shared memory, function, stream, attributes and every argument; it has no clusters."""
    bound, kinds = sessions(edgelstm.load(graph_of("lstm", units), device="cuda"), batch=1), set()
    with driver.on(0):
        launches = bound.made([driver.zeros(4 * 3 * units)] * 2)
        assert len(launches) > 1
        for launch in launches:
            short, found = list(floats(launch.args)), []
            made_up.made_up_expect(len(short))
            for start in (launch, ready.Ready(launch)):
                start(bound._stream)
                last = made_up.made_up_launch().contents
                words = [word & 0xFFFFFFFF if four else word for word, four in zip(last.words, short, strict=False)]
                attribute = (last.attribute, last.value) if launch.cluster == 1 else None
                found.append((list(last.numbers), last.stream, attribute, words))
            made_up.made_up_expect(0)
            kinds.add(last.attribute)
            assert len(short) > 5 and found[0] == found[1]
            assert launch.cluster == 1 or (last.attribute, last.value) == (CLUSTERS, launch.cluster)
    assert kinds == {0, kind}


def test_launches_follow_the_arrays_that_are_bound(model):
    bound, seen = sessions(model), []
    for _ in range(3):
        x, y = on_device(2, 3, 3), on_device(2, 3, 4)
        bound.bind([x, y])
        bound.run()
        pointers = {launch.words[k] for launch in bound._movable._launches for k in launch.pointers}
        assert {driver.address(x), driver.address(y)} < pointers and max(pointers) < 1 << 62
        seen.append((x, y))


@pytest.mark.parametrize("make", [sequence_graph, step_graph])
def test_a_step_of_the_host_is_one_graph(make):
    """The first makes the launches one by one, the second records them with the copies, all others start the graph."""
    stream, frame = edgelstm.load(make(), device="cuda").stream(), np.zeros(3, np.float32)
    first = calls(stream.step, frame)
    assert {"cuMemcpyHtoDAsync", "cuLaunchKernelEx", "cuMemcpyDtoHAsync"} < set(first) and "cuGraphLaunch" not in first
    second = calls(stream.step, frame)
    captured = second[second.index("cuStreamBeginCapture") + 1 : second.index("cuStreamEndCapture")]
    assert captured == [call for call in first if call.endswith("Async") or "Launch" in call]
    assert captured[0] == "cuMemcpyHtoDAsync" and captured[-1] == "cuMemcpyDtoHAsync"
    out = stream.step(frame)
    for given in (None, out):
        assert calls(stream.step, frame, given) == REPLAY


@pytest.mark.parametrize("make", [on_device, Foreign])
def test_a_step_over_arrays_of_the_device_that_come_again_is_one_graph(model, make):
    """Whichever of them comes, in whatever order; and none of them is copied."""
    stream, pairs = model.stream(2), [(make(2, 3), make(2, 4)) for _ in range(3)]
    for frame, out in pairs * 2:
        assert not [call for call in calls(stream.step, frame, out) if "Memcpy" in call]
    for frame, out in [*pairs, pairs[0], pairs[2]]:
        assert calls(stream.step, frame, out) == REPLAY
    frame, out = pairs[0]
    with pytest.raises(ShapeError, match="out has the shape"):
        stream.step(frame, frame)
    with pytest.raises(ShapeError, match="shape"):
        stream.step(out, out)


def test_runs_over_new_arrays_only_launch(model):
    """Nothing but the outputs is allocated, nothing is copied, and no kernel is loaded again."""
    for _ in range(2):
        model.run({"x": on_device(2, 3, 3)})
    x = on_device(2, 3, 3)
    found = set(calls(model.run, {"x": x})) - {"cuMemFree", "cuCtxPushCurrent", "cuCtxPopCurrent"}
    assert found <= {"cuMemAlloc", "cuLaunchKernelEx", "cuStreamSynchronize", "cuGraphLaunch"}


def test_a_step_of_a_pool_is_one_graph():
    pool = edgelstm.load(two_in_two_out_graph(), device="cuda").pool(5)
    names = [port.name for port in two_in_two_out_graph().inputs]
    shapes = {port.name: port.shape[-1] for port in two_in_two_out_graph().inputs}
    frames = {pool.open(): {name: np.zeros(shapes[name], np.float32) for name in names} for _ in range(3)}
    for _ in range(2):
        pool.step(frames)
    assert calls(pool.step, frames) == REPLAY


@pytest.mark.parametrize("after", range(0, 12, 2))
@pytest.mark.parametrize("use", ["run", "stream", "pool"])
def test_models_outlive_full_memory(use, after):
    """Wherever it is full (numba-cuda tries twice), it is an error once, and what was asked for is there the next time."""
    model, x = edgelstm.load(sequence_graph(), device="cuda"), np.zeros((1, 2, 3), np.float32)
    depth, outcomes = made_up.made_up_depth(), []

    def used():
        if use == "run":
            return model.predict(x)
        if use == "stream":
            return model.stream().run(x)
        pool = model.pool(3)
        return pool.step({pool.open(): x[0, 0] for _ in range(3)})

    with failing("cuMemAlloc", OUT_OF_MEMORY, after, times=2):
        try:
            used()
        except DeviceMemoryError as error:
            outcomes.append(str(error))
    assert made_up.made_up_depth() == depth
    assert after > 6 or "OUT_OF_MEMORY" in outcomes[0]
    for _ in range(3):
        assert len(used()) in (1, 3)


def test_a_stream_that_opens_with_its_first_frame_opens_later_where_memory_was_full():
    builder, total = framed_graph()
    builder.output("y", total)
    builder.output("sn", total)
    stream = edgelstm.load(axes.mark(builder.build(states=[("s", "sn")])), device="cuda").stream()
    frame = np.zeros(5, np.float32)
    for after in range(0, 6, 2):
        with failing("cuMemAlloc", OUT_OF_MEMORY, after, times=2), pytest.raises(DeviceMemoryError):
            stream.step(frame)
    assert stream.step(frame).shape == (2,)


@pytest.mark.parametrize("call", ["cuGraphLaunch", "cuStreamSynchronize", "cuCtxPushCurrent"])
def test_what_the_driver_reports_of_a_recorded_step_is_raised(model, call):
    stream, frame = model.stream(), np.zeros(3, np.float32)
    for _ in range(2):
        stream.step(frame)
    depth = made_up.made_up_depth()
    with failing(call, ILLEGAL_ADDRESS), pytest.raises(DeviceError, match="ILLEGAL_ADDRESS"):
        stream.step(frame)
    assert made_up.made_up_depth() == depth
    assert calls(stream.step, frame) == REPLAY


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuLaunchKernelEx"])
def test_a_step_that_can_not_be_recorded_is_launched(model, call):
    stream, frame = model.stream(), np.zeros(3, np.float32)
    stream.step(frame)
    with failing(call, CAPTURE_INVALIDATED), pytest.warns(DeviceWarning, match="one by one"):
        stream.step(frame)
    assert {"cuLaunchKernelEx", "cuStreamSynchronize"} < set(calls(stream.step, frame))


def test_memory_may_be_freed_while_a_step_is_recorded(model):
    """By whatever the garbage collector finds: what numba-cuda frees waits, and what others free does no harm."""
    stream, frame = model.stream(), np.zeros(3, np.float32)
    stream.step(frame)
    kept = [cuda.device_array(64, np.uint8) for _ in range(30)]
    start = stream.advance._graph._launches

    def launches(on):
        kept.clear()
        driver.checked(driver.bindings().cuMemFree(driver.checked(driver.bindings().cuMemAlloc(64))))
        start(on)

    stream.advance._graph._launches = launches
    found = calls(stream.step, frame)
    assert found[found.index("cuStreamBeginCapture") : found.index("cuStreamEndCapture")].count("cuMemFree") == 1
    assert calls(stream.step, frame) == REPLAY


def test_a_forked_child_is_told_to_be_spawned(model):
    stream, frame = model.stream(), np.zeros(3, np.float32)
    for _ in range(2):
        stream.step(frame)
    for use in (lambda: stream.step(frame), lambda: model.predict(np.zeros((2, 3, 3), np.float32))):
        child = os.fork()
        if child == 0:
            try:
                use()
            except DeviceError as error:
                os._exit(0 if "'spawn'" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_memory_is_given_back(model):
    """That of a stream, a pool and a session with those that own them, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        alive = driver.on(0) and len(cuda.current_context().memory_manager.allocations)
        for make in (model.stream, lambda: model.pool(3), lambda: sessions(model)):
            kept = make()
            if hasattr(kept, "bind"):
                kept.bind([on_device(2, 3, 3), on_device(2, 3, 4)])
            del kept
        assert len(cuda.current_context().memory_manager.allocations) <= alive
    finally:
        gc.enable()


def test_the_memory_of_a_step_lives_as_long_as_the_step():
    """Where nothing else holds its session: in a pool, and for what was taken from a stream."""
    model, made = edgelstm.load(sequence_graph(), device="cuda"), []
    real = model._programs.session

    def noted(*given):
        found = real(*given)
        made.append(weakref.ref(found))
        return found

    model._programs.session = noted
    pool, advance = model.pool(2), model.stream().advance
    frames = {pool.open(): np.zeros(3, np.float32) for _ in range(2)}
    for _ in range(3):
        pool.step(frames)
        advance()
    gc.collect()
    assert len(made) > 1 and all(ref() is not None for ref in made)


def test_threads_step_streams_of_one_model(model):
    """Each records while others allocate; and each leaves its thread with a context, as what is freed there needs one."""
    def steps(seed):
        depth, stream, frame = made_up.made_up_depth(), model.stream(), np.zeros(3, np.float32)
        for _ in range(20):
            stream.step(frame)
            model.predict(np.zeros((1, 1 + seed, 3), np.float32))
        return depth, made_up.made_up_depth()

    with warnings.catch_warnings(), ThreadPoolExecutor(4) as threads:
        warnings.simplefilter("error", DeviceWarning)
        assert {*threads.map(steps, range(4))} <= {(0, 1), (1, 1)}


@pytest.mark.parametrize("other", [False, True])
def test_a_model_on_the_second_device_leaves_the_first_alone(other):
    """All calls are made with the second as the current one, but for what is freed while the thread works on the first."""
    def used():
        model = edgelstm.load(sequence_graph(), device="cuda:1")
        stream, pool, x = model.stream(), model.pool(3), np.zeros((1, 2, 3), np.float32)
        frames = {pool.open(): x[0, 0] for _ in range(3)}
        for _ in range(3):
            model.predict(x)
            stream.step(x[0, 0])
            stream.run(x)
            pool.step(frames)
        stream.restore(stream.state)
        stream.reset()
        pool.close(next(iter(frames)))

    def found():
        if other:
            cuda.select_device(0)
        return calls(used)

    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(found).result()
    freed = {"cuCtxPopCurrent", "cuMemFree", "cuMemFreeHost", "cuGraphExecDestroy", "cuStreamDestroy"}
    assert len(made) > 50 and "cuLaunchKernelEx@1" in made
    assert {call for call in made if not call.endswith("@1")} <= (freed if other else set())


def test_arrays_of_another_device_are_refused(model):
    there, stream = edgelstm.load(sequence_graph(), device="cuda:1"), model.stream(2)
    with driver.on(1):
        x, frame, out = on_device(2, 3, 3), on_device(2, 3), on_device(2, 4)
    assert there.run({"x": x})["y"].shape == (2, 3, 4)
    for use in (lambda: model.run({"x": x}), lambda: stream.step(frame, out), lambda: stream.step(on_device(2, 3), out)):
        with pytest.raises(DeviceError, match="lies on device 1, the model on device 0"):
            use()
