"""The WebAssembly module of a build, made by LLVM's linker, and marked so that its ES module knows it."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.module import entries
from edgelstm.errors import BuildError, DependencyError

SECTION = "edgelstm"  # the custom section that holds the build's mark
STACK = 65536  # bytes, below everything else: what runs over its end traps
_OPTIONS = ("--no-entry", "--stack-first", "-z", f"stack-size={STACK}", "--strip-all", "--export=__heap_base")
_VERSIONS = range(40, 12, -1)  # of linkers that distributions install with a number


def webassembly(made: Artefacts) -> tuple[bytes, str]:
    """The module, which imports nothing, and its mark. Raises DependencyError without a linker, BuildError with its message."""
    command = _linker()
    exports = [f"--export={entry}" for entry in entries(made.program)]
    with tempfile.TemporaryDirectory() as place:
        model, linked = Path(place) / "model.o", Path(place) / "model.wasm"
        model.write_bytes(made.content)
        done = subprocess.run([*command, *_OPTIONS, *exports, model, "-o", linked], capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{command[0]} could not link the WebAssembly module: {(done.stderr or done.stdout).strip()}")
        content = linked.read_bytes()
    mark = hashlib.sha256(content).hexdigest()[:16]
    return content + _custom_section(SECTION.encode(), mark.encode()), mark


def _linker() -> list[str]:
    for name, options in _known():
        path = shutil.which(name)
        if path:
            return [path, *options]
    raise DependencyError("a wasm32 build needs LLVM's linker and found neither wasm-ld nor lld: install lld (apt install lld)")


def _known() -> Iterator[tuple[str, list[str]]]:
    for suffix in ("", *(f"-{version}" for version in _VERSIONS)):
        yield f"wasm-ld{suffix}", []
        yield f"lld{suffix}", ["-flavor", "wasm"]


def _custom_section(name: bytes, content: bytes) -> bytes:
    """A section that WebAssembly ignores; all lengths are below 128, so that each is one byte."""
    body = bytes([len(name)]) + name + content
    return bytes([0, len(body)]) + body
