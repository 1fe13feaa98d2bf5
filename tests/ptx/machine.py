"""Builds machine.c and runs launches with it."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tests.ptx import instructions
from tests.ptx.parse import SPECIAL, Kernel, packed

HERE = Path(__file__).parent
WAVE = 8  # blocks at once where blocks do not wait for each other
FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-shared", "-fwrapv", "-ffp-contract=off", "-fno-strict-aliasing", "-w")


class Violation(AssertionError):
    """What a kernel may not do."""


class _Launch(ctypes.Structure):
    _fields_ = [("code", ctypes.c_void_p), ("first", ctypes.c_void_p), ("bounds", ctypes.c_void_p),
                *((name, ctypes.c_int32) for name in ("count", "given", "slots", "ranges", "shared", "asked", "local",
                                                      "cluster", "waves", "seed")),
                ("grid", ctypes.c_int32 * 3), ("block", ctypes.c_int32 * 3)]


class _Report(ctypes.Structure):
    _fields_ = [("message", ctypes.c_char * 400), ("line", ctypes.c_int32), ("block", ctypes.c_int32),
                ("thread", ctypes.c_int32),
                ("checked", ctypes.c_int32), ("instructions", ctypes.c_uint64)]


@dataclass(frozen=True)
class Grid:
    """How a kernel is launched."""

    blocks: tuple[int, int, int]
    threads: tuple[int, int, int]
    shared: int = 0
    cluster: int = 1
    seed: int = 0


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return shutil.which("gcc") or shutil.which("cc")


@cache
def library() -> ctypes.CDLL:
    """The machine, built once for these sources: processes that come later find it."""
    sources = {path.name: path.read_text() for path in sorted(HERE.glob("*.[ch]"))} | _generated()
    name = hashlib.sha256(repr((FLAGS, sources)).encode()).hexdigest()[:20]
    kept = Path(tempfile.gettempdir()) / f"edgelstm-tests-{os.getuid()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    assert kept.stat().st_uid == os.getuid(), f"{kept} belongs to somebody else"
    if not (kept / f"{name}.so").exists():
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            _build(Path(folder), sources).rename(kept / f"{name}.so")
    return ctypes.CDLL(str(kept / f"{name}.so"))


def _generated() -> dict[str, str]:
    codes, others = instructions.CODES, (*instructions.CONTROL, *instructions.WITH_MEMORY)
    numbers = [f"    CODE_{name} = {codes[name]},\n" for name in others]
    cases = [f"        case {codes[name]}: {code}; break; /* {name} */\n" for name, code in instructions.SIMPLE.items()]
    return {"numbers.h": f"enum {{\n{''.join(numbers)}}};\n", "cases.h": "".join(cases)}


def _build(folder: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        (folder / name).write_text(text)
    done = subprocess.run([compiler(), *FLAGS, "machine.c", "-o", "machine.so", "-lm"], cwd=folder, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return folder / "machine.so"


def run(kernel: Kernel, grid: Grid, parameters: Sequence[int], arrays: Sequence[tuple[int, int]]) -> int:
    """Runs all threads of a launch and gives the number of instructions. `parameters`: the bits of each; `arrays`: where
    the memory begins and ends that the launch may touch. Raises Violation with the line of PTX.
    """
    assert len(parameters) == len(kernel.parameters), f"{len(parameters)} arguments for {len(kernel.parameters)} parameters"
    code, given = packed(kernel), [*[0] * len(SPECIAL), *parameters, *kernel.constants]
    first, bounds = np.array(given, np.uint64), np.array(_merged(arrays), np.uint64).reshape(-1)
    shared = -(-kernel.static_shared // 16) * 16 + grid.shared if grid.shared else kernel.static_shared
    meets = any(one.code in MEETING or one.memory.strength for one in kernel.code)
    launch = _Launch(ctypes.cast(code, ctypes.c_void_p), first.ctypes.data, bounds.ctypes.data, len(kernel.code), len(given),
                     kernel.slots, len(bounds) // 2, shared, grid.shared, kernel.local, grid.cluster, 0 if meets else WAVE,
                     grid.seed, grid.blocks, grid.threads)
    report = _Report()
    if library().run_launch(ctypes.byref(launch), ctypes.byref(report)):
        place = f"line {report.line}: {kernel.lines[report.line - 1].strip()}: " if report.line else ""
        raise Violation(f"{place}{report.message.decode()} (block {report.block}, thread {report.thread}; {grid})")
    return report.instructions


MEETING = [instructions.CODES[name] for name in ("atomic", "arrive", "wait")]


def _merged(arrays: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, and those that touch as one."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted((begin, end) for begin, end in arrays if end > begin):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found
