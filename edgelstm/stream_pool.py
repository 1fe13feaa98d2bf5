"""A Pool: many streams of one model that come and go, addressed by handles."""

from collections.abc import Callable, Mapping
from typing import Any

from edgelstm.arrays import whole_number
from edgelstm.errors import DeviceError
from edgelstm.stream import Stream


class Pool:
    """Up to `capacity` open streams. A closed stream's memory serves the next one that is opened."""

    def __init__(self, make: Callable[[], Stream], capacity: int) -> None:
        self._make, self._capacity = make, whole_number("a pool's capacity", capacity)
        self._open: dict[int, Stream] = {}
        self._spare: list[Stream] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._open)

    def open(self) -> int:
        """A handle of a fresh stream. Raises DeviceError when the pool is full or the model can't stream."""
        if len(self._open) == self._capacity:
            raise DeviceError(f"the pool is full: all of its {self._capacity} streams are open")
        stream = self._spare.pop() if self._spare else self._make()
        stream.reset()
        handle, self._next = self._next, self._next + 1
        self._open[handle] = stream
        return handle

    def step(self, frames: Mapping[int, Any]) -> dict[int, Any]:
        """One time step of every stream that has a frame; the others stay as they are. Gives the outputs by handle.

        Raises ShapeError or DeviceError before any stream has moved when a frame or a handle is wrong.
        """
        streams = {handle: self._stream(handle) for handle in frames}
        for handle, stream in streams.items():
            stream.check(frames[handle])
        return {handle: stream.step(frames[handle]) for handle, stream in streams.items()}

    def close(self, handle: int) -> None:
        """End a stream; its handle is not used again."""
        stream = self._stream(handle)
        del self._open[handle]
        self._spare.append(stream)

    def _stream(self, handle: int) -> Stream:
        try:
            return self._open[handle]
        except (KeyError, TypeError):
            raise DeviceError(f"the pool has no open stream {handle!r}") from None
