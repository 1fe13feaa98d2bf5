"""`edgelstm.load`: a file is compiled for this machine, the folder of a native build is loaded as it is, without a compiler."""

import os
from typing import TYPE_CHECKING, BinaryIO, Union

from edgelstm.errors import DeviceError

if TYPE_CHECKING:
    from edgelstm.aot.runtime.built import Model as BuiltModel
    from edgelstm.graph import Graph
    from edgelstm.model import Model

Source = Union[str, os.PathLike, bytes, BinaryIO, "Graph"]


def load(source: Source, device: str = "cpu", threads: int = 1, *, fallback: str | None = None, batch: int = 1,
         steps: int | None = None) -> "Model | BuiltModel":
    """A Model from an .elstm path, bytes, a binary file object, a Graph, or the folder of a native build.

    `device` is 'cpu', 'cuda' (the current GPU), 'cuda:1', or 'auto', which measures both at this `batch`, a step of a stream or
    a run of so many `steps`, and takes the faster. With fallback='cpu' the CPU stands in for a GPU that is not there or whose
    memory is full. Both tell what they chose by a DeviceWarning and in `Model.choice`.

    Raises FormatError for a bad file or folder, DeviceError for a device that can't be used.
    """
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        from edgelstm.aot.runtime import built

        if fallback is not None or batch != 1 or steps is not None:
            raise DeviceError(f"{source}: a native build runs on the CPU it was made for, and fallback={fallback!r}, "
                              f"batch={batch!r}, steps={steps!r} choose a device; leave them out, or load the .elstm file")
        return built.Model(source, device, threads)
    from edgelstm import model

    return model.load(source, device, threads, fallback=fallback, batch=batch, steps=steps)
