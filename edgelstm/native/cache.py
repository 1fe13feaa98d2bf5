"""The kernel cache: machine code on disk, named by everything that determines its content.

An object's name is a hash of the kernel's IR, the target, the passes and the LLVM that made it, so a stale entry
cannot exist. To find a kernel's code without the compiler, two files are named by a hash of all kernel sources, the
kernel and the target: one holds the object's name, the other the kernel's image, which needs no linker. A description
of a processor is named by what the processor says of itself. Content is verified when it is read; what is damaged
counts as absent.
"""

import functools
import os
import sys
from importlib import import_module
from importlib.util import find_spec

from edgelstm.native import image, places
from edgelstm.native.digest import SIZE, digest, name
from edgelstm.native.image import Image
from edgelstm.native.target import Target

OBJECT, LINK, IMAGE, HOST = SUFFIXES = (".object", ".kernel", ".image", ".host")


def object_name(ir: str, passes: str, target: Target) -> str:
    """The name of the object that these passes make of this IR on this target."""
    return name(ir, *target.words()[1:], passes, compiler())


def kernel_name(kernel: str, target: Target) -> str:
    """The name of the files that lead to a kernel's code, computed from the sources alone."""
    return name(_sources(), kernel, *target.words(), compiler())


def find_kernel(kernel: str, target: Target) -> bytes | None:
    """A kernel's object, without the compiler; None where it was never compiled for this target."""
    link = _read(kernel_name(kernel, target) + LINK)
    return None if link is None else find_object(link.decode())


def find_object(name: str) -> bytes | None:
    """The object of this name, None where it is absent or damaged."""
    return _read(name + OBJECT)


def keep_object(name: str, content: bytes) -> None:
    """Stores an object."""
    _write(name + OBJECT, content)


def keep_kernel(kernel: str, target: Target, name: str, content: bytes) -> None:
    """Stores a kernel's object, then the file that leads to it."""
    keep_object(name, content)
    _write(kernel_name(kernel, target) + LINK, name.encode())


def find_image(kernel: str, target: Target) -> Image | None:
    """A kernel's image, None where it has none yet."""
    content = _read(kernel_name(kernel, target) + IMAGE)
    return None if content is None else image.from_bytes(content)


def keep_image(kernel: str, target: Target, image: Image) -> None:
    """Stores a kernel's image, where that is possible."""
    _offer(kernel_name(kernel, target) + IMAGE, image.to_bytes())


def find_host(processor: bytes) -> Target | None:
    """What LLVM called a processor that says this of itself; None where it was not asked yet."""
    content = _read(_host_name(processor) + HOST)
    return None if content is None else Target.from_words(content.decode().split("\n"))


def keep_host(processor: bytes, target: Target) -> None:
    """Stores what LLVM calls a processor, where that is possible."""
    _offer(_host_name(processor) + HOST, "\n".join(target.words()).encode())


@functools.cache
def compiler() -> str:
    """The version of llvmlite, which is not imported."""
    found = find_spec("llvmlite")
    if found is None or found.origin is None:
        return ""
    try:
        with open(os.path.join(os.path.dirname(found.origin), "_version.py"), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return import_module("llvmlite").__version__


def _host_name(processor: bytes) -> str:
    return name(_sources(), compiler(), sys.platform, getattr(sys.implementation, "_multiarch", ""), processor.hex())


def _read(name: str) -> bytes | None:
    for content in places.read(name):
        if digest(content[SIZE:]) == content[:SIZE]:
            return content[SIZE:]
    return None


def _write(name: str, content: bytes) -> None:
    places.write(name, digest(content) + content)


def _offer(name: str, content: bytes) -> None:
    places.offer(name, digest(content) + content)


@functools.cache
def _sources() -> str:
    """A hash of everything that determines what kernels are compiled to but the compiler."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    files = [os.path.join(package, "version.py")]
    for part in ("kernels", "native"):
        for folder, _, names in os.walk(os.path.join(package, part)):
            files += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    parts = []
    for path in sorted(files):
        with open(path, "rb", buffering=0) as file:
            parts += [os.fsencode(path[len(package):]), file.read()]
    return digest(b"\0".join(parts)).hex()
