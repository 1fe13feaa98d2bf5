"""EdgeLSTM on a GPU beside PyTorch's cuDNN layers: float32 with TF32 off, arrays resident on the device, runs interleaved.

    python -m bench.cuda [--units 64 256] [--batch 1 8] [--steps 1 100] [--cell lstm gru] [--markdown | --json]
    python -m bench.cuda --registers 9.0 [--kernels REGEX]

A run of one step is a step of a stream that carries the state, as `step(frame, out)`; the others are stateless runs. All are
timed from Python to the end of their work on the device. `relative` is the speed of EdgeLSTM relative to cuDNN, with an
asterisk where it misses the target; `of bound` the share of the run that reading the recurrent weights on the chip and meeting
at barriers, or the multiplications, would take by themselves. A shape that does not fit into the device's memory has no times.
The last line counts the targets that were met. Nothing is timed twice as long as SECONDS: all 150 shapes take an estimated 15
minutes. `--registers` needs no GPU: it prints what the assembler says of the kernels: registers of a thread, static shared
memory, spills.
"""

import sys

if not __package__:
    sys.exit("run it as `python -m bench.cuda`: as a script, its folder would hide NVIDIA's package `cuda`")

import argparse
import gc
import itertools
import json
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from edgelstm import DeviceMemoryError, EdgeLSTMError, load
from edgelstm.axes import mark
from edgelstm.builder import GraphBuilder
from edgelstm.graph import Graph

GATES = {"lstm": 4, "gru": 3}
TORCH_GATES = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # our gates in the order of PyTorch
WARM_UP, SECONDS, FEWEST, MOST = 3, 2.0, 5, 200  # runs before, then so many turns as fit into this time
TOLERANCE = 1e-4
ON_CHIP_BYTES = 128  # that a multiprocessor reads of shared memory in a cycle
MULTIPLICATIONS = 128  # of float32 that a multiprocessor makes in a cycle
CLUSTER = 16  # blocks, at most
BARRIER, CLUSTER_BARRIER = 1.5e-6, 0.25e-6  # seconds, of all blocks and of a cluster
HEADS = ("cell", "units", "batch", "steps", "ours us", "cuDNN us", "relative", "of bound")

Run = Callable[[], object]


class Shape(NamedTuple):
    """What is run: a cell with as many inputs as units."""

    cell: str
    units: int
    batch: int
    steps: int


class Chip(NamedTuple):
    """What the bound depends on: multiprocessors, cycles a second, and whether blocks can be clusters."""

    multiprocessors: int
    clock: float
    clusters: bool


class Row(NamedTuple):
    """Seconds of a run, ours and theirs, None where memory was full, and those of the bound."""

    shape: Shape
    ours: float | None
    theirs: float | None
    bound: float

    @property
    def relative(self) -> float | None:
        return None if self.ours is None or self.theirs is None else self.theirs / self.ours

    @property
    def met(self) -> bool:
        return self.relative is not None and self.relative >= target(self.shape)

    def cells(self) -> list[str]:
        """As HEADS say."""
        times = ["-" if seconds is None else f"{seconds * 1e6:.1f}" for seconds in (self.ours, self.theirs)]
        relative = "-" if self.relative is None else f"{self.relative:.2f}{'' if self.met else '*'}"
        return [*map(str, self.shape), *times, relative, "-" if self.ours is None else f"{self.bound / self.ours:.2f}"]

    def figures(self) -> dict[str, Any]:
        return self.shape._asdict() | {"ours": self.ours, "theirs": self.theirs, "relative": self.relative, "bound": self.bound,
                                       "target": target(self.shape), "met": self.met}


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.registers:
        registers([tuple(map(int, number.split("."))) for number in arguments.registers], re.compile(arguments.kernels))
        return 0
    try:
        from edgelstm.cuda import driver

        device = driver.describe()
    except EdgeLSTMError as error:
        print(f"this benchmark needs a GPU: {error}", file=sys.stderr)
        return 5
    if driver.SIMULATED:
        print("this benchmark needs a GPU: the simulator says nothing about speed", file=sys.stderr)
        return 5
    shapes = itertools.starmap(Shape, itertools.product(arguments.cell, arguments.units, arguments.batch, arguments.steps))
    print(device, file=sys.stderr if arguments.json else sys.stdout)
    rows = printed(compared(shapes, driver), arguments.markdown, sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps({"device": device, "rows": [row.figures() for row in rows]}, indent=1))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.cuda", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", nargs="+", choices=sorted(GATES), default=sorted(GATES))
    parser.add_argument("--units", nargs="+", type=int, default=[64, 128, 256, 512, 1024])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32, 128, 1024])
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 100, 1000])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="a table for docs/performance.md")
    form.add_argument("--json", action="store_true", help="figures in seconds on standard output, the table on standard error")
    parser.add_argument("--registers", metavar="CAPABILITY", nargs="+", help="only a table of registers, e.g. for 9.0")
    parser.add_argument("--kernels", metavar="REGEX", default="", help="with --registers: kernels whose names it is found in")
    return parser


def printed(rows: Iterable[Row], markdown: bool, where: Any) -> list[Row]:
    """The rows, each printed as soon as it is there, and at last how many targets were met."""
    def line(cells: Iterable[str]) -> None:
        text = f"| {' | '.join(cells)} |" if markdown else "  ".join(f"{cell:>9}" for cell in cells)
        print(text, file=where, flush=True)

    line(HEADS)
    if markdown:
        line(["---"] * len(HEADS))
    found = []
    for row in rows:
        line(row.cells())
        found.append(row)
    print(f"\n{told(found)}", file=where)
    return found


def told(rows: list[Row]) -> str:
    """How many targets were met."""
    full = sum(row.relative is None for row in rows)
    left = f"; {full} did not fit into the device's memory" if full else ""
    return f"targets met: {sum(row.met for row in rows)} of {len(rows) - full}{left}"


def compared(shapes: Iterable[Shape], driver: Any) -> Iterator[Row]:
    """A row of the table for each shape."""
    import torch

    device = driver.cuda.get_current_device()
    chip = Chip(device.MULTIPROCESSOR_COUNT, 1e3 * device.CLOCK_RATE, tuple(device.compute_capability) >= (9, 0))
    for shape in shapes:
        try:
            ours, theirs = measured(shape, driver, torch)
        except (DeviceMemoryError, torch.cuda.OutOfMemoryError):
            ours = theirs = None
        yield Row(shape, ours, theirs, bound(shape, chip))
        gc.collect()
        torch.cuda.empty_cache()


def measured(shape: Shape, driver: Any, torch: Any) -> list[float]:
    """Median seconds, ours and theirs, of runs whose first outputs agree."""
    run, other = our_run(shape, driver), their_run(shape)
    error = float((torch.as_tensor(run(), device="cuda").reshape(-1) - other().reshape(-1)).abs().max())
    if not error < TOLERANCE:
        raise SystemExit(f"{shape}: the outputs differ by {error:.1e}; nothing was timed")
    return medians(run, other)


def medians(*runs: Run) -> list[float]:
    """Median seconds of each, measured in turns of which each begins as often as the others."""
    for _ in range(WARM_UP):
        start = time.perf_counter()
        for run in runs:
            run()
        turn = time.perf_counter() - start
    found: list[list[float]] = [[] for _ in runs]
    for first in range(max(FEWEST, min(MOST, int(SECONDS / turn)))):
        for k in range(len(runs)):
            number = (first + k) % len(runs)
            start = time.perf_counter()
            runs[number]()
            found[number].append(time.perf_counter() - start)
    return [statistics.median(each) for each in found]


def our_run(shape: Shape, driver: Any) -> Run:
    """A resident run, or one step of a stream where there is a single step."""
    model, x = load(graph_of(shape.cell, shape.units), device="cuda"), driver.cuda.to_device(inputs(shape))
    if shape.steps > 1:
        return lambda: model.run({"x": x})["y"]
    stream = model.stream(shape.batch)
    frame = x.reshape(stream.buffers()[0].shape)
    out = driver.cuda.device_array(frame.shape, np.float32)
    return lambda: stream.step(frame, out)


@lru_cache(maxsize=1)
def inputs(shape: Shape) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((shape.batch, shape.steps, shape.units), np.float32)


def weights(cell: str, units: int) -> list[np.ndarray]:
    """W and R, (units, gates * units)."""
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((units, GATES[cell] * units)) / units**0.5).astype(np.float32) for _ in range(2)]


def graph_of(cell: str, units: int) -> Graph:
    """x (B, T, units) -> the cell -> y, a GRU with its reset gate after the product, as cuDNN has it."""
    builder = GraphBuilder()
    x = builder.input("x", "float32", ("B", "T", units), batch=0, time=1)
    W, R = map(builder.constant, weights(cell, units))
    builder.output("y", builder.add(cell, x, W, R, name="cell"))
    return mark(builder.build())


def their_run(shape: Shape, device: str = "cuda") -> Run:
    """PyTorch's layer with the same weights; a single step carries the state."""
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[shape.cell](shape.units, shape.units, bias=False, batch_first=True)
    for parameter, array in zip(layer.parameters(), weights(shape.cell, shape.units), strict=True):
        gates = array.reshape(shape.units, -1, shape.units)[:, TORCH_GATES[shape.cell]]
        parameter.data[...] = torch.from_numpy(gates.reshape(shape.units, -1).T)
    layer, x, state = layer.to(device).eval(), torch.from_numpy(inputs(shape)).to(device), None

    def run() -> Any:
        nonlocal state
        with torch.inference_mode():
            y, after = layer(x, state)
        state = after if shape.steps == 1 else None
        if device == "cuda":
            torch.cuda.synchronize()
        return y

    return run


def target(shape: Shape) -> float:
    """The speed relative to cuDNN that is asked for."""
    if shape.steps == 1:
        return 3.0
    if shape.batch <= 8 and shape.units <= 256:
        return 2.0
    return 1.0 if shape.batch <= 32 else 0.6 if shape.batch <= 128 else 0.4


def bound(shape: Shape, chip: Chip) -> float:
    """Seconds that the recurrent part takes at least: in one block a row, in a cluster a row, or in all blocks together."""
    forms = [(1, 0.0), *[(CLUSTER, CLUSTER_BARRIER)] * chip.clusters, (chip.multiprocessors, BARRIER)]
    return shape.steps * min(_of_a_step(shape, chip, blocks, barrier) for blocks, barrier in forms)


def _of_a_step(shape: Shape, chip: Chip, blocks: int, barrier: float) -> float:
    weights = GATES[shape.cell] * shape.units**2
    reading = 4 * weights / ON_CHIP_BYTES / blocks / chip.clock + barrier
    multiplying = weights * shape.batch / (MULTIPLICATIONS * min(chip.multiprocessors, blocks * shape.batch)) / chip.clock
    return max(reading, multiplying)


def registers(capabilities: list[tuple[int, int]], wanted: re.Pattern[str]) -> None:
    """What nvJitLink's assembler reports of the hot kernels, a column for each compute capability."""
    from cuda.bindings import nvjitlink

    from edgelstm.cuda import ahead

    print(f"| kernel | {' | '.join('.'.join(map(str, each)) for each in capabilities)} |\n|{'---|' * (len(capabilities) + 1)}")
    for name, kernel, signature in ahead.hot_kernels():
        if wanted.search(name):
            found = [report(nvjitlink, ahead.ptx(kernel, signature, each), each) if ahead.compiles(name, each) else "none"
                     for each in capabilities]
            print(f"| {name} | {' | '.join(found)} |", flush=True)


def report(linker: Any, ptx: str, capability: tuple[int, int]) -> str:
    handle = linker.create(2, [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"])
    data = ptx.encode() + b"\0"
    linker.add_data(handle, linker.InputType.PTX, data, len(data), "kernel")
    linker.complete(handle)
    log = bytearray(linker.get_info_log_size(handle))
    linker.get_info_log(handle, log)
    linker.destroy(handle)
    return summary(log.decode())


def summary(log: str) -> str:
    """Registers of a thread, static shared memory, and what is kept in local memory, from the assembler's report."""
    used, shared, kept = (sum(map(int, set(re.findall(pattern, log)))) for pattern in (
        r"Used (\d+) registers", r"(\d+) bytes smem", r"(\d+) bytes (?:stack frame|spill \w+)"))
    return f"{used}, {shared} B, {f'{kept} B spilled' if kept else 'no spills'}"


if __name__ == "__main__":
    sys.exit(main())
