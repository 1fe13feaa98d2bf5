"""What this machine can do at most, measured by Numba kernels, and the bound that follows for a recurrent layer.

    python -m bench.ceilings [--json]

Measured: read bandwidth of every cache level and of memory, the FMA peak, and the time of a chain of dependent FMAs and of
dependent FMAs with a division, both for one chain (latency) and for many side by side (throughput).

The bound of one step is weight bytes over the bandwidth of the level they fit in (or FLOPs over the FMA peak where that takes
longer, as for batches), plus the non-linearities: the chain that every step waits for, once, and their throughput for the rest
of the units. The shortest form tried counts: a rational tanh of degree 13 over 6, that is 8 dependent FMAs and a division.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from bench.cells import Cell
from edgelstm import native
from edgelstm.memory import address, aligned_zeros

ROUNDS, BURST_NS = 100, 1e6
READERS, FMA_CHAINS, DIVIDE_CHAINS = 8, 12, 8  # independent registers, enough to hide the latency of one
FMAS_PER_DIVISION = 8
DEFAULT_CACHES = {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}  # bytes, where the system does not tell
MEMORY_BYTES = 256 << 20
SERIAL = {"lstm": 2, "gru": 2, "simple_rnn": 1}  # non-linearities that wait for each other in a step
EVALUATED = {"lstm": 5, "gru": 3, "simple_rnn": 1}  # non-linearities of a unit
LANES = native.host().lanes


@dataclass(frozen=True)
class Ceilings:
    """`levels`: name -> (size in bytes, read bandwidth in bytes/ns), innermost first, memory last. Times in ns a vector."""

    levels: dict[str, tuple[int, float]]
    flops_per_ns: float
    fma_latency: float
    chain_latency: float
    chain_throughput: float

    def bandwidth(self, nbytes: int) -> float:
        """Bytes/ns of the innermost level that holds so many bytes."""
        fitting = [speed for size, speed in self.levels.values() if nbytes <= size]
        return fitting[0] if fitting else list(self.levels.values())[-1][1]

    def nonlinearities(self, op: str, units: int, batch: int = 1) -> float:
        """ns a step: the serial chain once, and the rest at throughput."""
        blocks = -(-units // LANES) * batch * EVALUATED[op]
        return SERIAL[op] * self.chain_latency + max(0, blocks - SERIAL[op]) * self.chain_throughput

    def step(self, cell: Cell) -> float:
        """ns of one streaming step."""
        nbytes = sum(cell.weight_bytes)
        return nbytes / self.bandwidth(nbytes) + self.nonlinearities(cell.op, cell.units)

    def sequence(self, cell: Cell, steps: int, batch: int = 1, threads: int = 1) -> float:
        """ns of a sequence: the input projection at the FMA peak, the recurrent weights read anew at every step."""
        inputs, recurrent = cell.weight_bytes
        peak = self.flops_per_ns * threads
        reading = recurrent / (self.bandwidth(recurrent // threads) * threads)
        computing = batch * recurrent / 2 / peak  # a float32 weight is 4 bytes and 2 FLOPs
        passes = cell.layers * cell.directions
        waiting = passes * self.nonlinearities(cell.op, cell.units, batch)
        return steps * (batch * inputs / 2 / peak + max(reading, computing) + waiting)


def measure() -> Ceilings:
    """All ceilings of this machine, each the best of many short bursts."""
    sizes = {**cache_sizes(), "memory": MEMORY_BYTES}
    levels = {name: (size, _read_speed(size if name == "memory" else size // 2)) for name, size in sizes.items()}
    fma, chain = _per_iteration(_fma_chains(1)), _per_iteration(_divide_chains(1))
    return Ceilings(levels, 2 * LANES * FMA_CHAINS / _per_iteration(_fma_chains(FMA_CHAINS)), fma, chain,
                    _per_iteration(_divide_chains(DIVIDE_CHAINS)) / DIVIDE_CHAINS)


def cache_sizes() -> dict[str, int]:
    """Bytes of the data caches by level, as Linux tells them."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            size = (index / "size").read_text().strip()
            found[f"L{(index / 'level').read_text().strip()}"] = int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]]
    return found or DEFAULT_CACHES


def _best(call: Callable[[int], Any], per_call: int) -> float:
    """The least ns of `call(n)`, over n * per_call, where a call takes about a burst."""
    call(1)
    repeats, spent = 1, 0.0
    while spent < BURST_NS:
        start = time.perf_counter_ns()
        call(repeats)
        spent = time.perf_counter_ns() - start
        repeats *= 2
    best = spent / (repeats // 2)
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        call(repeats // 2)
        best = min(best, (time.perf_counter_ns() - start) / (repeats // 2))
    return best / per_call


def _read_speed(nbytes: int) -> float:
    block = READERS * LANES * 4
    count = nbytes // block
    array, read = aligned_zeros((count * READERS * LANES,)), _reader()
    array[:] = 1
    return 1 / _best(lambda repeats: read(address(array), count, repeats), count * block)


def _per_iteration(loop: Callable[[int], float]) -> float:
    return _best(lambda repeats: loop(repeats * 1000), 1000)


def _vector() -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), LANES)


def _splat(value: float) -> ir.Constant:
    return ir.Constant(_vector(), [value] * LANES)


def _accumulators(builder: ir.IRBuilder, count: int) -> list[ir.Value]:
    return [cgutils.alloca_once_value(builder, _splat(2.0 + k / 16)) for k in range(count)]


def _fma(builder: ir.IRBuilder, *operands: ir.Value) -> ir.Value:
    signature = ir.FunctionType(_vector(), [_vector()] * 3)
    fused = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(fused, operands)


def _first_lane_of_sum(builder: ir.IRBuilder, accumulators: Sequence[ir.Value]) -> ir.Value:
    total = builder.load(accumulators[0])
    for accumulator in accumulators[1:]:
        total = builder.fadd(total, builder.load(accumulator))
    return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))


@cache
def _reader() -> Callable[[int, int, int], float]:
    """read(address, blocks, repeats): loads every vector of an array and adds it to one of READERS registers."""

    @intrinsic
    def add_all(typing, address, count):
        def generate(context, builder, signature, args):
            start = builder.inttoptr(args[0], _vector().as_pointer())
            sums = _accumulators(builder, READERS)
            with cgutils.for_range(builder, args[1]) as loop:
                first = builder.mul(loop.index, ir.Constant(loop.index.type, READERS))
                for k, total in enumerate(sums):
                    place = builder.gep(start, [builder.add(first, ir.Constant(first.type, k))])
                    builder.store(builder.fadd(builder.load(total), builder.load(place, align=4)), total)
            return _first_lane_of_sum(builder, sums)

        return types.float32(types.int64, types.int64), generate

    @njit
    def read(address, blocks, repeats):
        total = types.float32(0)
        for _ in range(repeats):
            total += add_all(address, blocks)
        return total

    return read


def _loop_of(count: int, advance: Callable[[ir.IRBuilder, ir.Value], ir.Value]) -> Callable[[int], float]:
    """loop(n): n times `advance` on each of `count` registers."""

    @intrinsic
    def run(typing, repeats):
        def generate(context, builder, signature, args):
            registers = _accumulators(builder, count)
            with cgutils.for_range(builder, args[0]):
                for register in registers:
                    builder.store(advance(builder, builder.load(register)), register)
            return _first_lane_of_sum(builder, registers)

        return types.float32(types.int64), generate

    return njit(lambda repeats: run(repeats))


@cache
def _fma_chains(count: int) -> Callable[[int], float]:
    return _loop_of(count, lambda builder, x: _fma(builder, x, _splat(0.5), _splat(0.5)))


@cache
def _divide_chains(count: int) -> Callable[[int], float]:
    def advance(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        for _ in range(FMAS_PER_DIVISION):
            x = _fma(builder, x, _splat(0.5), _splat(0.5))
        return builder.fdiv(_splat(1.0), x)

    return _loop_of(count, advance)


def text(ceilings: Ceilings) -> str:
    """The ceilings as lines for people."""
    lines = [f"{name:8} {size / 1024:10.0f} KiB  {speed:7.1f} bytes/ns" for name, (size, speed) in ceilings.levels.items()]
    chain = (f"{ceilings.fma_latency:10.2f} ns an FMA, {ceilings.chain_latency:.2f} ns for {FMAS_PER_DIVISION} and a division, "
             f"{ceilings.chain_throughput:.2f} ns where many run side by side")
    return "\n".join([*lines, f"FMA peak {ceilings.flops_per_ns:10.1f} GFLOP/s with vectors of {LANES}", f"chain    {chain}"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = measure()
    print(json.dumps(asdict(found), indent=1) if given.json else text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
