"""CUDA graphs: launches that are recorded once and then started together."""

import warnings
import weakref
from collections.abc import Callable
from typing import Any

from edgelstm.cuda.driver import SIMULATED, bindings, checked, cuda, device_errors, on, wait
from edgelstm.cuda.host.ready import Launches
from edgelstm.errors import DeviceError, DeviceWarning


class Graph:
    """Launches in the order of one stream. The first run makes them one by one, which loads the kernels; the
    second records them.

    They are recorded on a stream of their own that nothing waits for, because work of other threads on the default stream would
    spoil a recording on one that does. On the simulator they are always made one by one, and with a DeviceWarning where the
    driver refuses to record them.
    """

    def __init__(self, launches: Launches, stream: Any) -> None:
        self._launches, self.stream = launches, stream
        self._runs = 0
        self.recorded: Any = None

    def run(self) -> None:
        """Start all launches; they may still run when this returns."""
        if self._runs == 1 and not SIMULATED:
            self.recorded = self._recording()
        if self.recorded is None:
            self._launches(self.stream)
        else:
            checked(bindings().cuGraphLaunch(self.recorded, self.stream.handle))
        self._runs += 1

    def _recording(self) -> Any:
        """The graph that can be launched; None, and a warning, where the driver refuses it."""
        try:
            with device_errors():
                return self._record()
        except DeviceError as error:
            warnings.warn("the launches of a model can't be recorded into a CUDA graph and are made one by one, which is "
                          f"slower: {error}", DeviceWarning, stacklevel=3)
            return None

    def _record(self) -> Any:
        api = bindings()
        handle = checked(api.cuStreamCreate(api.CUstream_flags.CU_STREAM_NON_BLOCKING.value))
        try:
            graph = _captured(self._launches, handle)
            try:
                found = checked(api.cuGraphInstantiate(graph, 0))
            finally:
                api.cuGraphDestroy(graph)
        finally:
            api.cuStreamDestroy(handle)
        weakref.finalize(self, api.cuGraphExecDestroy, found).atexit = False
        return found


def _captured(launches: Launches, handle: Any) -> Any:
    """The graph of the launches. An error of theirs ends the capture and is raised; no memory is freed meanwhile.

    The capture is a relaxed one: what the garbage collector makes other libraries free in this thread does not spoil it.
    """
    api = bindings()
    with cuda.defer_cleanup():
        checked(api.cuStreamBeginCapture(handle, api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED))
        try:
            launches(cuda.external_stream(int(handle)))
        except BaseException:
            _, graph = api.cuStreamEndCapture(handle)
            if graph is not None and int(graph):
                api.cuGraphDestroy(graph)
            raise
        return checked(api.cuStreamEndCapture(handle))


class Door:
    """Runs a graph and waits for its end, in any thread. Once it is recorded, that is four calls of the driver.

    `memory` is what the graph reads and writes, and lives as long.
    """

    def __init__(self, graph: Graph, number: int, memory: Any) -> None:
        self._graph, self._number, self._memory = graph, number, memory
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self._replay is not None:
            self._replay()
            return
        with on(self._number):
            self._graph.run()
            wait(self._graph.stream)
        if self._graph.recorded is not None:
            self._replay = replay(self._graph.recorded, self._graph.stream.handle, self._number)


def replay(recorded: Any, stream: Any, number: int) -> Callable[[], None]:
    """Starts a recorded graph on a device and waits for its end: on, checked and wait with as little Python as there can be."""
    api, settle, context = bindings(), on(number).settle, on(number).context
    push, pop, start, wait_for = api.cuCtxPushCurrent, api.cuCtxPopCurrent, api.cuGraphLaunch, api.cuStreamSynchronize

    def run() -> None:
        settle()
        error = push(context)[0]
        if not error:
            error = start(recorded, stream)[0] or wait_for(stream)[0]
            pop()
        if error:
            checked((error,))

    return run
