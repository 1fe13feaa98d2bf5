"""EdgeLSTM on a GPU beside PyTorch's cuDNN layers: float32 with TF32 off, inputs resident on the device, runs interleaved.

    python bench/gpu.py [--units 64 256] [--batch 1 8] [--steps 1 100] [--cell lstm gru] [--registers 9.0]

Prints the median time of each, how fast EdgeLSTM is relative to cuDNN, and the share of the bound: the time that reading the
recurrent weights from on-chip memory, or the multiplications, would take by themselves. `--registers` needs no GPU: it
prints what the assembler says the kernels use. (This file is not called cuda.py because a script's folder comes first among
the places of modules, and `cuda` is NVIDIA's package.)
"""

import argparse
import itertools
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm import EdgeLSTMError, load
from edgelstm.axes import mark
from edgelstm.builder import GraphBuilder
from edgelstm.graph import Graph

GATES = {"lstm": 4, "gru": 3}
REPEATS = 30
CACHE_BYTES = 64  # that a multiprocessor reads from its first cache in a cycle, in float32: 16 multiplications


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", nargs="+", choices=sorted(GATES), default=sorted(GATES))
    parser.add_argument("--units", nargs="+", type=int, default=[64, 128, 256, 512, 1024])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32, 128, 1024])
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 100, 1000])
    parser.add_argument("--registers", metavar="CAPABILITY", help="only the table of registers and spills, e.g. for 9.0")
    arguments = parser.parse_args()
    if arguments.registers:
        registers(tuple(map(int, arguments.registers.split("."))))
        return 0
    try:
        from edgelstm.cuda import driver

        print(driver.describe())
    except EdgeLSTMError as error:
        print(f"this benchmark needs a GPU: {error}", file=sys.stderr)
        return 5
    if driver.SIMULATED:
        print("this benchmark needs a GPU: the simulator says nothing about speed", file=sys.stderr)
        return 5
    compare(arguments)
    return 0


def compare(arguments: argparse.Namespace) -> None:
    """One line for each cell and shape."""
    print("cell units batch steps   ours us  cuDNN us  relative  of bound")
    for cell, units, batch, steps in itertools.product(arguments.cell, arguments.units, arguments.batch, arguments.steps):
        ours, theirs = times(our_run(cell, units, batch, steps), their_run(cell, units, batch, steps))
        share = bound(cell, units, batch, steps) / ours
        shape = f"{cell:4} {units:5} {batch:5} {steps:5}"
        print(f"{shape} {ours * 1e6:9.1f} {theirs * 1e6:9.1f} {theirs / ours:9.2f} {share:9.2f}", flush=True)


def times(*runs: Callable[[], None]) -> list[float]:
    """Median seconds of each, measured in turn."""
    for run in runs:
        for _ in range(3):
            run()
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(REPEATS):
        for times_of, run in zip(found, runs, strict=True):
            start = time.perf_counter()
            run()
            times_of.append(time.perf_counter() - start)
    return [statistics.median(each) for each in found]


def our_run(cell: str, units: int, batch: int, steps: int) -> Callable[[], None]:
    """A resident run, or one step of a stream where there is a single step."""
    from numba import cuda

    model, rng = load(graph_of(cell, units), device="cuda"), np.random.default_rng(1)
    if steps == 1:
        stream = model.stream(batch)
        return stream.advance
    x = cuda.to_device(rng.standard_normal((batch, steps, units)).astype(np.float32))
    return lambda: model.run({"x": x})


def graph_of(cell: str, units: int) -> Graph:
    """x (B, T, units) -> the cell -> y."""
    builder, rng, width = GraphBuilder(), np.random.default_rng(0), GATES[cell] * units
    x = builder.input("x", "float32", ("B", "T", units), batch=0, time=1)
    W, R = (builder.constant((rng.standard_normal((units, width)) / units**0.5).astype(np.float32)) for _ in range(2))
    builder.output("y", builder.add(cell, x, W, R, name="cell"))
    return mark(builder.build())


def their_run(cell: str, units: int, batch: int, steps: int) -> Callable[[], None]:
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](units, units, batch_first=True).cuda().eval()
    x, state = torch.randn(batch, steps, units, device="cuda"), None

    def run() -> None:
        nonlocal state
        with torch.inference_mode():
            _, state = layer(x, state if steps == 1 else None)
        torch.cuda.synchronize()

    return run


def bound(cell: str, units: int, batch: int, steps: int) -> float:
    """Seconds that the recurrent part takes at least: weights from the first caches, or the multiplications."""
    from numba import cuda

    device = cuda.get_current_device()
    clock, count = 1e3 * device.CLOCK_RATE, device.MULTIPROCESSOR_COUNT
    weights = 4 * GATES[cell] * units * units
    reading = weights / CACHE_BYTES / (1 if units <= 512 else count)
    multiplying = weights / 4 * batch / (128 * min(count, batch if units <= 512 else count))
    return steps * max(reading, multiplying) / clock


def registers(capability: tuple[int, int]) -> None:
    """What nvJitLink's assembler reports of every hot kernel."""
    from cuda.bindings import nvjitlink

    from edgelstm.cuda import ahead

    for name, kernel, signature in ahead.hot_kernels():
        print(f"{name:36} {report(nvjitlink, ahead.ptx(kernel, signature, capability), capability)}", flush=True)


def report(linker: Any, ptx: str, capability: tuple[int, int]) -> str:
    handle = linker.create(2, [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"])
    data = ptx.encode() + b"\0"
    linker.add_data(handle, linker.InputType.PTX, data, len(data), "kernel")
    linker.complete(handle)
    log = bytearray(linker.get_info_log_size(handle))
    linker.get_info_log(handle, log)
    return ", ".join(re.findall(r"\d+ registers|\d+ bytes (?:smem|spill \w+|stack frame)", log.decode()))


if __name__ == "__main__":
    sys.exit(main())
