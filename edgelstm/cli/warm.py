"""Compile every kernel for this machine into the kernel cache, so that no later process needs numba or waits for it.

With --directory the cache is written there, to be shipped to machines of the same kind; set EDGELSTM_CACHE to it on them.
"""

import argparse
import sys
from pathlib import Path

from edgelstm.cli.text import print_json, say

SUMMARY = "compile all kernels into the cache"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--directory", metavar="D", type=Path, help="the cache directory to fill")
    parser.add_argument("--kernel", metavar="NAME", action="append", help="only this kernel; may be repeated")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    from edgelstm import kernels
    from edgelstm.native.warm import warm

    known = kernels.names()
    for name in arguments.kernel or ():
        if name not in known:
            arguments.parser.error(f"no kernel is called {name!r}; there are {', '.join(known)}")
    done = warm(arguments.directory, arguments.kernel, _show if sys.stderr.isatty() else lambda done, total, name: None)
    say(f"{len(done.kernels)} kernels for {done.target} in {done.directory}")
    if arguments.json:
        print_json({"directory": str(done.directory), "target": done.target, "kernels": done.kernels})
    return 0


def _show(done: int, total: int, name: str) -> None:
    print(f"\r\x1b[K{done + 1}/{total} {name}", end="\r", file=sys.stderr, flush=True)
