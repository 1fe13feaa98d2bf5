"""Compile a model ahead of time for one target: object, static library, C header, CMakeLists.txt, and README.md with figures.

Target native also gives a shared library and a Python package that needs NumPy alone; wasm32 a WebAssembly module.
"""

import argparse
import dataclasses
import re
from pathlib import Path

from edgelstm.cli.text import print_json, say, table

SUMMARY = "compile a model ahead of time, for a device without Python"

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, nargs="?", help="an .elstm file, or a .keras, .h5 or .onnx file")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="the folder to build into")
    parser.add_argument("-t", "--target", metavar="T", default="native",
                        help="what to build for (default: native); see --list-targets")
    parser.add_argument("--cpu", metavar="NAME", help="a CPU of the target's family, by the name LLVM has for it")
    parser.add_argument("--batch", metavar="N", type=int, default=1, help="rows that one call computes (default: 1)")
    parser.add_argument("--optimize", choices=("speed", "size"), help="default: size on microcontrollers, else speed")
    parser.add_argument("--weights", choices=("constants", "blob"), default="constants",
                        help="weights inside the object (default), or in a file of their own")
    parser.add_argument("--self-test", action="store_true",
                        help="add a main.c (wasm32: self_test.js) that runs the probe of the model's file")
    parser.add_argument("--max-ram", metavar="BYTES", type=_size,
                        help="fail when state and arena need more; 64K and 1M are understood")
    parser.add_argument("--max-flash", metavar="BYTES", type=_size, help="fail when code and weights need more")
    parser.add_argument("--soft-float", action="store_true", help="allow float32 on a core without a floating-point unit")
    parser.add_argument("--list-targets", action="store_true", help="show all targets and end")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    from edgelstm.aot import targets

    if arguments.list_targets:
        return _list(arguments.json)
    if arguments.model is None or arguments.output is None:
        arguments.parser.error("give a MODEL and the folder to build into with -o DIR")
    import edgelstm

    target = targets.find(arguments.target, arguments.cpu)
    report = edgelstm.build(
        arguments.model, arguments.output, arguments.target, cpu=arguments.cpu, batch=arguments.batch,
        optimize=arguments.optimize or target.optimize, self_test=arguments.self_test, max_ram=arguments.max_ram,
        max_flash=arguments.max_flash, weights=arguments.weights, soft_float=arguments.soft_float)
    say(str(report))
    if arguments.json:
        print_json({**dataclasses.asdict(report), "flash": report.flash, "ram": report.ram})
    return 0


def _list(as_json: bool) -> int:
    from edgelstm.aot import targets

    found = [targets.find(name) for name in targets.names()]
    if as_json:
        print_json([{"name": t.name, "cpu": t.machine.cpu, "triple": t.machine.triple, "summary": t.summary} for t in found])
    else:
        print(table(("target", "cpu", ""), [(t.name, t.machine.cpu, t.summary) for t in found]))
    return 0


def _size(argument: str) -> int:
    found = re.fullmatch(r"(\d+)([KM]?)(?:iB|B)?", argument)
    if not found:
        raise argparse.ArgumentTypeError(f"{argument!r} is not a number of bytes such as 65536, 64K or 1M")
    return int(found[1]) * _UNITS[found[2]]
