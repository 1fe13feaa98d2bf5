"""Target native: a shared library, and a Python package around it that needs NumPy alone."""

from pathlib import Path

from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.native.link import library_name, shared_library
from edgelstm.aot.native.package import package_files


def add_files(made: Artefacts, folder: Path) -> None:
    """Add the library and the package. Raises DependencyError where there is no linker, BuildError where it fails."""
    name, content = shared_library(made)
    made.add(name, content, "shared library of the same, with what Python calls")
    made.replaces.append(library_name(made.program.prefix, "*"))
    for file, (text, about) in package_files(made, name).items():
        made.add(file, text, about)
