"""`edgelstm.load`: a file is compiled for this machine, the folder of a native build is loaded as it is, without a compiler."""

import os
from typing import TYPE_CHECKING, BinaryIO, Union

if TYPE_CHECKING:
    from edgelstm.aot.runtime.built import Model as BuiltModel
    from edgelstm.graph import Graph
    from edgelstm.model import Model

Source = Union[str, os.PathLike, bytes, BinaryIO, "Graph"]


def load(source: Source, device: str = "cpu", threads: int = 1) -> "Model | BuiltModel":
    """A Model from an .elstm path, bytes, a binary file object, a Graph, or the folder of a native build.

    Raises FormatError for a bad file or folder.
    """
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        from edgelstm.aot.runtime import built

        return built.Model(source, device, threads)
    from edgelstm import model

    return model.load(source, device, threads)
