"""Target wasm32: a WebAssembly module, an ES module with types that loads it, and the self-test as another one.

    link.py       object -> .wasm, by wasm-ld
    module.js     the ES module; `description` is what it knows of a model
    package.py    the text files: module, types, package.json, and what README.md says
    self_test.py  the probe of the model's file, for Node and browsers
"""

from pathlib import Path

from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.wasm.link import webassembly
from edgelstm.aot.wasm.package import module, package_json, types, usage
from edgelstm.aot.wasm.self_test import self_test


def add_files(made: Artefacts, folder: Path) -> None:
    """Add the module and the package. Raises DependencyError where there is no linker, BuildError where it fails."""
    name = made.program.prefix
    content, build = webassembly(made)
    made.add(f"{name}.wasm", content, "the model, linked: what a browser or Node runs")
    made.add(f"{name}.js", module(made, build), "ES module that loads it: `load`, `Model`, `Stream`")
    made.add(f"{name}.d.ts", types(made.program, weights_apart=made.wishes.weights_apart), "its types")
    made.add("package.json", package_json(name), "makes this folder an npm package, with ES modules")
    if made.self_test:
        made.add("self_test.js", self_test(made.program), "runs the probe of the file and compares: `node self_test.js`")
    made.usage = usage(made, len(content))
