"""The object cache: compiled kernels on disk, named by everything that determines their content.

An object's name is a hash of the kernel's IR, the target, the passes and the LLVM that made it, so a stale entry
cannot exist. To find a kernel's object without the compiler, a small file named by a hash of all kernel sources, the
kernel and the target holds the object's name. Content is verified when it is read; what is damaged counts as absent.
"""

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import llvmlite

from edgelstm.native import places
from edgelstm.native.optimise import PASSES
from edgelstm.native.target import Target

_OBJECT = ".object"
_LINK = ".kernel"
_DIGEST = 32


@dataclass(frozen=True)
class Description:
    """What `edgelstm doctor` shows of one cache directory: `kernels` and `size` (bytes) of what it holds."""

    path: Path
    refused: str
    writable: bool
    kernels: int
    size: int


def object_name(ir: str, target: Target) -> str:
    """The name of the object that this IR gives on this target."""
    return _hash(ir, *_target_words(target), PASSES, llvmlite.__version__)


def kernel_name(kernel: str, target: Target) -> str:
    """The name of the file that says which object a kernel has, computed from the sources alone."""
    return _hash(_sources(), kernel, *_target_words(target), llvmlite.__version__)


def find_kernel(kernel: str, target: Target) -> bytes | None:
    """A kernel's object, without the compiler; None where it was never compiled for this target."""
    for link in places.read(kernel_name(kernel, target) + _LINK):
        if re.fullmatch(rb"[0-9a-f]{64}", link):
            return find_object(link.decode())
    return None


def find_object(name: str) -> bytes | None:
    """The object of this name, None where it is absent or damaged."""
    for content in places.read(name + _OBJECT):
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            return content[_DIGEST:]
    return None


def keep_object(name: str, content: bytes) -> None:
    """Stores an object."""
    places.write(name + _OBJECT, hashlib.sha256(content).digest() + content)


def keep_kernel(kernel: str, target: Target, name: str, content: bytes) -> None:
    """Stores a kernel's object, then the file that leads to it."""
    keep_object(name, content)
    places.write(kernel_name(kernel, target) + _LINK, name.encode())


def describe() -> tuple[Description, ...]:
    """Every directory that is tried, best first."""
    found = []
    for place in places.places():
        files = [file for file in places.files(place) if file.suffix in (_OBJECT, _LINK)]
        kernels = sum(file.suffix == _LINK for file in files)
        size = sum(file.stat().st_size for file in files)
        found.append(Description(place.path, place.refused, place.writable, kernels, size))
    return tuple(found)


def _target_words(target: Target) -> tuple[str, ...]:
    return (target.triple, target.cpu, target.features, str(target.lanes), target.abi, target.dot, str(target.registers))


def _hash(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


@functools.cache
def _sources() -> str:
    package = Path(__file__).resolve().parent.parent
    files = [*package.glob("kernels/**/*.py"), *package.glob("native/*.py"), package / "version.py"]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
