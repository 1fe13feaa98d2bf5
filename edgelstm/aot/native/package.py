"""The Python package of a native build: modules of the runtime, copied so that they import each other, and model.json."""

import importlib.util
import io
import json
import marshal
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgelstm
from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.native.processor import needs
from edgelstm.aot.plan import Frame, StepProgram
from edgelstm.aot.runtime.interface import FILE, FORMAT, PROBES, State
from edgelstm.graph import Port
from edgelstm.version import __version__

_MODULES = ("aot/runtime/built.py", "aot/runtime/interface.py", "aot/runtime/library.py",
            "aot/runtime/processor.py", "aot/runtime/sessions.py", "arrays.py", "drift.py", "errors.py", "memory.py",
            "ports.py", "record.py", "stream.py", "stream_pool.py", "verify.py")
_CHECKED_BY_HASH = (3).to_bytes(4, "little")  # flags of a .pyc file, PEP 552

_INIT = '''"""{name}: a trained network as machine code, made by EdgeLSTM {version}. It needs NumPy alone.

`load()` gives the model; the names of its methods and properties are names of this module, too.
"""

from functools import cache
from pathlib import Path

from .runtime.built import Model
from .runtime.errors import EdgeLSTMError, ShapeError
from .runtime.stream import Stream

__all__ = ["EdgeLSTMError", "Model", "ShapeError", "Stream", "load"]


@cache
def load() -> Model:
    """The model of this folder."""
    return Model(Path(__file__).parent)


def __getattr__(name):
    if name.startswith("_") or not hasattr(Model, name):
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    return getattr(load(), name)
'''


def package_files(made: Artefacts, library: str) -> dict[str, tuple[str | bytes, str]]:
    """Contents of the package's files and what is said of them, by name."""
    source, program = Path(edgelstm.__file__).parent, made.program
    files: dict[str, tuple[str | bytes, str]] = {
        "__init__.py": (_INIT.format(name=program.prefix, version=__version__), "makes this folder a Python package"),
        FILE: (json.dumps(_manifest(made, library), indent=1), "inputs, outputs and states, for Python"),
    }
    if program.graph.probes:
        files[PROBES] = _probes(program), "inputs and expected outputs, for `verify`"
    for module in ("aot/runtime/__init__.py", *_MODULES):
        files[f"runtime/{Path(module).name}"] = _standalone((source / module).read_text(encoding="utf-8")), ""
    return files | _compiled({name: text for name, (text, _) in files.items() if name.endswith(".py")})


def _compiled(sources: dict[str, str | bytes]) -> dict[str, tuple[bytes, str]]:
    """What Python would keep of the sources, bound to their content and not to their dates: a short start wherever they lie."""
    found = {}
    for name, text in sources.items():
        source, path = str(text).encode(), Path(name)
        code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
        content = importlib.util.MAGIC_NUMBER + _CHECKED_BY_HASH + importlib.util.source_hash(source) + code
        found[(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc").as_posix()] = content, ""
    return found


def _standalone(text: str) -> str:
    """A module's text, importing its neighbours from beside itself."""
    text = re.sub(r"^( *)from edgelstm\.aot\.runtime import", r"\1from . import", text, flags=re.MULTILINE)
    return re.sub(r"^( *)from edgelstm(?:\.\w+)*\.(\w+) import", r"\1from .\2 import", text, flags=re.MULTILINE)


def _manifest(made: Artefacts, library: str) -> dict[str, Any]:
    program = made.program
    apart = made.wishes.weights_apart
    return {
        "format": FORMAT, "made_by": f"EdgeLSTM {__version__}", "name": program.prefix, "library": library,
        "weights": f"{program.prefix}.weights" if apart else "", "weights_nbytes": len(program.weights),
        "cpu": made.target.machine.cpu, "needs": needs(made.target.machine),
        "rows": program.batch, "independent_rows": program.independent_rows,
        "state_nbytes": program.state_nbytes, "arena_nbytes": program.arena_nbytes,
        "inputs": _ports(program.graph.inputs, program.input_shapes, program.inputs),
        "outputs": _ports(program.graph.outputs, program.output_shapes, program.outputs),
        "states": [{field: getattr(state, field) for field in State._fields} for state in program.states],
        "probes": [(probe.atol, probe.rtol, probe.source) for probe in program.graph.probes],
    }


def _ports(ports: Sequence[Port], shapes: Sequence[tuple[int, ...]], frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Ports with the lengths that the machine code was made for."""
    by_name = {frame.name: frame for frame in frames}
    return [_port(port, list(shape), by_name.get(port.name)) for port, shape in zip(ports, shapes, strict=True)]


def _port(port: Port, whole: list[int | str], frame: Frame | None) -> dict[str, Any]:
    """One of them; only batch and time stay open, where the model leaves them so."""
    for axis, role in ((port.batch, "batch"), (port.time, "time")):
        if axis is not None and isinstance(port.shape[axis], str):
            whole[axis] = role
    return {"name": port.name, "dtype": port.dtype, "shape": whole, "batch": port.batch, "time": port.time,
            "frame": None if frame is None else list(frame.shape)}


def _probes(program: StepProgram) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for number, probe in enumerate(program.graph.probes):
        arrays |= {f"{number}.in.{k}": probe.inputs[port.name] for k, port in enumerate(program.graph.inputs)}
        arrays |= {f"{number}.out.{k}": probe.outputs[port.name] for k, port in enumerate(program.graph.outputs)}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
