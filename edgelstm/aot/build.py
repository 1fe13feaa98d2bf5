"""From a model to a folder for one target: compiled, measured, held to its limits, and only then written."""

import dataclasses
import os
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict, Unpack

from edgelstm import kernels
from edgelstm.aot import targets
from edgelstm.aot.archive import archive
from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.cmake import cmake
from edgelstm.aot.folder import SUMS
from edgelstm.aot.header import header
from edgelstm.aot.main_c import main_c
from edgelstm.aot.module import Wishes, emit_object, entries, link_weights, optimised
from edgelstm.aot.plan import StepProgram, step_program
from edgelstm.aot.readme import readme
from edgelstm.aot.report import BuildReport
from edgelstm.aot.sizes import read_sizes
from edgelstm.aot.stack import entry_stacks
from edgelstm.aot.targets import BuildTarget
from edgelstm.arrays import whole_number
from edgelstm.errors import BuildError, FormatError
from edgelstm.graph import Graph
from edgelstm.native.symbols import undefined_symbols

PathLike = str | os.PathLike[str]

# Where a target has more for its folder: these have a function add_files(made, folder).
_ADDITIONS = {"native": "edgelstm.aot.native", "wasm32": "edgelstm.aot.wasm"}
_FLOAT_HELPER = re.compile(r"__(aeabi_([fd]\w+|u?[il]2[fd])|\w*[sd]f\w*)")  # of a compiler's runtime
_TRAINED = (".keras", ".h5", ".hdf5", ".onnx")


class More(TypedDict, total=False):
    """Further options of a build."""

    weights: str
    soft_float: bool


def build(source: Any, outdir: PathLike, target: str = "native", *, cpu: str | None = None, batch: int = 1,
          optimize: str = "speed", self_test: bool = False, max_ram: int | None = None, max_flash: int | None = None,
          **more: Unpack[More]) -> BuildReport:
    """Compile a model ahead of time into a folder: object, static library, C header, CMakeLists.txt and README.md.

    `source` is what `load` takes, or the file of a trained model. `optimize` is "speed" or "size"; `self_test` adds a main.c
    that runs the probe of the file; `max_ram` and `max_flash` are limits in bytes. `weights="blob"` writes the weights to a
    file of their own instead of into the object; `soft_float=True` allows float32 models on cores without a floating-point
    unit. The target "native" also gives a shared library and a Python package that needs NumPy alone, "wasm32" a linked module
    and an ES module for browsers and Node, whose self-test is in JavaScript.

    Raises BuildError, UnsupportedError for a model that has no such form, and DependencyError where a linker is missing.
    """
    wishes, soft_float = _wishes(optimize, more)
    machine = targets.find(target, cpu)
    folder = Path(outdir)
    if folder.exists() and not folder.is_dir():
        raise BuildError(f"{folder}: is a file; give the name of a folder to build into", exit_code=2)
    graph, name = _open(source, folder)
    rows = whole_number("the batch of a build", batch)
    program = step_program(graph, name, machine.machine.lanes, rows, machine.machine.alignment)
    made, report = _compile(program, machine, wishes, str(folder))
    report = dataclasses.replace(report, notes=_check_floats(made, report.undefined, soft_float))
    _check_limits(report, max_ram, max_flash)
    _add_files(made, folder, self_test)
    report = _listing(report, made)
    made.about[SUMS] = "what builds have written here: `sha256sum -c`, and what the next one may replace"
    made.add("README.md", readme(made, report, folder.resolve().name))
    made.write(folder)
    return report


def _wishes(optimize: str, more: More) -> tuple[Wishes, bool]:
    unknown = sorted(set(more) - set(More.__annotations__))
    if unknown:
        raise TypeError(f"build() got an unexpected keyword argument {unknown[0]!r}")
    weights = more.get("weights", "constants")
    for what, found, known in (("optimize", optimize, ("speed", "size")), ("weights", weights, ("constants", "blob"))):
        if found not in known:
            raise BuildError(f"{what}={found!r} is not supported; it is {' or '.join(map(repr, known))}", exit_code=2)
    return Wishes(small=optimize == "size", weights_apart=weights == "blob"), bool(more.get("soft_float", False))


def _open(source: Any, folder: Path) -> tuple[Graph, str]:
    """The graph to build and the name of the model: that of its file, or else of the folder."""
    from edgelstm import conversion, model

    if not isinstance(source, str | os.PathLike):
        return (source.graph if isinstance(source, model.Model) else model.load(source).graph), folder.resolve().name
    path = Path(source)
    if path.is_dir():
        raise FormatError(f"{path}: is a folder; give an .elstm file or the file of a trained model")
    trained = path.suffix.lower() in _TRAINED
    return (conversion.convert(path) if trained else model.load(path).graph), path.stem


def _check_floats(made: Artefacts, undefined: Iterable[str], soft_float: bool) -> tuple[str, ...]:
    """Warnings for a model that computes with floats where the hardware can't. Raises BuildError unless that is allowed."""
    if made.target.fpu or not any(_FLOAT_HELPER.fullmatch(name) for name in undefined):
        return ()
    name = made.target.name
    if not soft_float:
        called = sorted({call.kernel for call in made.program.calls})
        using = ", ".join(each for each in called if any(kind.startswith("f32") for _, kind in kernels.get(each).params))
        raise BuildError(f"{name} has no floating-point unit and the model computes with float32 ({using}); convert it with "
                         "--precision integer-ports, or allow float32 in software, many times slower, with --soft-float",
                         exit_code=3)
    return (f"warning: {name} has no floating-point unit, so float32 runs in software, many times slower",)


def _compile(program: StepProgram, target: BuildTarget, wishes: Wishes, folder: str) -> tuple[Artefacts, BuildReport]:
    """The object and what it costs."""
    module = optimised(program, target.machine, wishes)
    stacks = entry_stacks(module, target.machine, entries(program))
    if program.weights and not wishes.weights_apart:
        link_weights(module, program)
    content = emit_object(module, target.machine)
    undefined = _undefined(content)
    missing = ", ".join(sorted(undefined - target.runtime))
    if missing:
        raise BuildError(f"the model needs {missing}, which {target.name} has not", exit_code=3)
    sizes = read_sizes(content)
    inside = 0 if wishes.weights_apart else len(program.weights)
    report = BuildReport(
        target.name, target.machine.cpu, program.prefix, folder, (), sizes.flash - inside, len(program.weights),
        program.state_nbytes, program.arena_nbytes + sizes.writable, max(stacks.values()), tuple(sorted(undefined)))
    return Artefacts(program, target, wishes, content), report


def _undefined(content: bytes) -> frozenset[str]:
    """What the object needs from elsewhere, as far as its format can be read."""
    return undefined_symbols(content) if content[:4] in (b"\x7fELF", b"\0asm") else frozenset()


def _check_limits(report: BuildReport, max_ram: int | None, max_flash: int | None) -> None:
    for what, found, limit, parts in (("RAM", report.ram, max_ram, f"state {report.state}, arena {report.arena}"),
                                      ("flash", report.flash, max_flash, f"code {report.code}, weights {report.weights}")):
        if limit is not None and found > limit:
            raise BuildError(f"{report.name} needs {found} bytes of {what} on {report.target} ({parts}); the limit is {limit}",
                             exit_code=1)


def _add_files(made: Artefacts, folder: Path, self_test: bool) -> None:
    made.self_test = self_test
    name, apart = made.program.prefix, made.wishes.weights_apart
    library = f"lib{name}.a"
    made.add(f"{name}.h", header(made.program, weights_apart=apart), "C interface")
    made.add(f"{name}.o", made.content, "the model as an object")
    made.add(library, archive(f"{name}.o", made.content, entries(made.program)), "the same as a static library")
    if apart:
        made.add(f"{name}.weights", made.program.weights, "the weights, for the parameter `weights`")
    if self_test and made.target.compiler:
        made.add("main.c", main_c(made.program, weights_apart=apart), "runs the probe of the model's file and compares")
    compiler = " ".join((made.target.compiler, *made.target.flags))
    if compiler:
        text = cmake(made.program, made.target.name, compiler, library, self_test=self_test, weights_apart=apart)
        made.add("CMakeLists.txt", text, "the library, and the self-test, as CMake targets")
    if made.target.name in _ADDITIONS:
        import_module(_ADDITIONS[made.target.name]).add_files(made, folder)


def _listing(report: BuildReport, made: Artefacts) -> BuildReport:
    return dataclasses.replace(report, files=tuple(sorted([*made.names, "README.md"])))
