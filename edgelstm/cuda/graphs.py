"""CUDA graphs: launches that are recorded once and then started together."""

import warnings
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any

from edgelstm.cuda.driver import SIMULATED, bindings, checked, cuda, device_errors, few_blocks
from edgelstm.errors import DeviceError, DeviceWarning

Launches = Callable[[Any], None]  # are given the stream


class Graph:
    """Launches in the order of one stream. The first run makes them one by one, which compiles them; the second records them.

    They are recorded on a stream of their own that nothing waits for, because work of other threads on the default stream would
    spoil a recording on one that does. On the simulator they are always made one by one, and with a DeviceWarning where the
    driver refuses to record them.
    """

    def __init__(self, launches: Launches, stream: Any) -> None:
        self._launches, self._stream = launches, stream
        self._runs = 0
        self._recorded: Any = None

    def run(self) -> None:
        """Start all launches; they may still run when this returns."""
        if self._runs == 1 and not SIMULATED:
            self._recorded = self._recording()
        if self._recorded is None:
            with few_blocks():
                self._launches(self._stream)
        else:
            checked(bindings().cuGraphLaunch(self._recorded, self._handle))
        self._runs += 1

    @cached_property
    def _handle(self) -> Any:
        return bindings().CUstream(int(self._stream.handle))

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
    """The graph of the launches. An error of theirs ends the capture and is raised; no memory is freed meanwhile."""
    api = bindings()
    with cuda.defer_cleanup(), few_blocks():
        checked(api.cuStreamBeginCapture(handle, api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        try:
            launches(cuda.external_stream(int(handle)))
        except BaseException:
            _, graph = api.cuStreamEndCapture(handle)
            if graph is not None and int(graph):
                api.cuGraphDestroy(graph)
            raise
        return checked(api.cuStreamEndCapture(handle))
