"""The shared library of a native build, made by the compiler driver or the linker that this machine has."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.module import ARENA, STATE, WEIGHTS
from edgelstm.aot.native.processor import reader
from edgelstm.errors import BuildError, DependencyError
from edgelstm.native.optimise import emit

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


def shared_library(made: Artefacts) -> tuple[str, bytes]:
    """File name and bytes of the library. Raises DependencyError without a linker and BuildError with its message.

    The name holds a hash of the content: a process that has loaded a library of the same name would be given that one again.
    """
    command = _linker()
    with tempfile.TemporaryDirectory() as place:
        library, objects = Path(place) / "library", []
        for name, content in _objects(made).items():
            objects.append(Path(place) / name)
            objects[-1].write_bytes(content)
        done = subprocess.run([*command, "-o", library, *objects], capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{command[0]} could not link the shared library: {(done.stderr or done.stdout).strip()}")
        content = library.read_bytes()
        return library_name(made.program.prefix, hashlib.sha256(content).hexdigest()[:12]), content


def _objects(made: Artefacts) -> dict[str, bytes]:
    """What is linked, by the name of its file."""
    machine = made.target.machine
    found = {"model.o": made.content, "door.o": emit(_door(made), machine), "processor.o": reader(made.program.prefix, machine)}
    return {name: content for name, content in found.items() if content is not None}


def library_name(prefix: str, version: str) -> str:
    """The file name of a shared library; with "*" as version, a pattern for all of them."""
    return f"lib{prefix}-{version}{_SUFFIX}"


def _linker() -> list[str]:
    """The command that links objects into a shared library."""
    for name, options in _known():
        path = shutil.which(name)
        if path:
            return [path, *options]
    raise DependencyError("a native build needs a linker and found none of "
                          f"{', '.join(dict.fromkeys(name for name, _ in _known()))}: install gcc or lld (apt install gcc)")


def _known() -> Iterator[tuple[str, list[str]]]:
    chosen = os.environ.get("CC", "").split()
    alone = [] if sys.platform == "darwin" else ["-nostdlib"]
    for name in [*chosen[:1], "cc", "gcc", "clang"]:
        yield name, ["-shared", *alone]
    if sys.platform.startswith("linux"):
        yield "ld", ["-shared"]
        yield "ld.lld", ["-shared"]
        yield "lld", ["-flavor", "gnu", "-shared"]


def _door(made: Artefacts) -> str:
    """IR of `<m>_call(void **table)`: a step whose pointers lie in a table, which Python calls faster than with all of them."""
    program = made.program
    blocks = [*([WEIGHTS] if made.wishes.weights_apart else []), STATE, ARENA, *program.inputs, *program.outputs]
    loads = "".join(f"  %p{i} = getelementptr ptr, ptr %table, i32 {i}\n  %a{i} = load ptr, ptr %p{i}\n"
                    for i in range(len(blocks)))
    types, args = ", ".join(["ptr"] * len(blocks)), ", ".join(f"ptr %a{i}" for i in range(len(blocks)))
    name = program.prefix
    return (f"declare void @{name}_step({types})\n"
            f"define void @{name}_call(ptr %table) {{\n{loads}  call void @{name}_step({args})\n  ret void\n}}\n")
