"""Which form of the recurrent kernels runs: how the rows and units of a layer are divided, and where the weights are read.

Time is counted in clocks of a multiprocessor. A step reads the block's weights, at SHARED_BYTES a clock where they are in its
shared memory, at L2_BYTES where they are not, and for nothing where they are in registers, and multiplies them,
MULTIPLICATIONS a clock; what is slower counts. To that come STEP clocks for the latency of the sums and of the cell, and where
blocks share the units, reading all of h and MEETING clocks for the barrier (about 1.5 us, and a little for every block) or
LAUNCH for a launch.

Blocks of a cluster have h at hand; each sends its part to all others, and they need CLUSTER_MEETING clocks: 180 until the last
word has arrived, the rest an estimate of the hardware's barrier. PEER_BYTES is a guess from 16 bytes a clock in clusters of two
and 13 in those of four, which were measured, as were the 180 and the 263 of L2 (Luo et al. 2024, "Benchmarking and dissecting
the Nvidia Hopper GPU architecture"). Through L2 h would take 2 * 263 for writing and reading it, and a copy and a barrier more.

So a step of one float32 row of an LSTM with 64 units takes 64 KiB / 128 + 700 = 1200 clocks in one block whose weights are in
shared memory, and 64 * 256 / 128 + 700 = 830 where they are in registers. With 256 units it takes 1 MiB / 48 + 700 = 22500 in
one block, 32 KiB / 128 + 700 + 2100 + 21 = 3100 in 32 blocks, and in a cluster of 16 64 KiB / 128 + 700 + 500 + 96 = 1800. The
numbers are those of a Hopper card as its makers and others describe it; none of them was measured here.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from edgelstm.cuda.driver import LANES, Limits
from edgelstm.cuda.launching import HOLDING_THREADS, RECURRENT_THREADS
from edgelstm.cuda.recurrence import chunks, onchip
from edgelstm.cuda.recurrence.cells import Cell, all_cells
from edgelstm.cuda.recurrence.sweeps import partial_words, staged_words
from edgelstm.errors import UnsupportedError

WHOLE, CLUSTER, PERSISTENT, STEPWISE = "whole", "cluster", "persistent", "stepwise"
SHARED_BYTES, L2_BYTES = 128, 48  # a clock of a multiprocessor
MULTIPLICATIONS = 128  # a clock; of bytes twice as many
STEP, PREPARING, MEETING, ARRIVAL, LAUNCH = 700, 600, 2000, 4, 4500  # clocks
CLUSTER_MEETING, PEER_BYTES = 500, 10  # clocks; a clock
ROWS = (1, 2, 4, 8)  # of the batch, that a thread takes at once
SYSTEM = 1 << 10  # bytes of shared memory of a block that are left to the system
PLANS_KEPT = 256
SUMS = 32  # of a thread: rows times gates, so that they stay in registers
HOLDING_SUMS = 16  # beside words of weights
HELD_WORDS = {"float32": 144, "bfloat16": 128, "int8": 64, "int8x16": 64, "int4": 64}  # in a thread's registers, at most


@dataclass(frozen=True)
class Form:
    """`kind`: one of WHOLE (blocks[1] groups of rows), CLUSTER, PERSISTENT and STEPWISE (blocks[0] slices of `span` units for
    each; in the first they are a cluster).

    A block has `rows * turns` rows of the batch, `rows` at once; with `resident` the weights of its units are in shared memory:
    `memory` says at which words weights, sums and prepared rows begin there, `shared` how many bytes a block needs. The first
    `held` chunks of every thread are in its registers instead.
    """

    kind: str
    blocks: tuple[int, int]
    span: int
    rows: int
    turns: int
    threads: int
    resident: bool
    memory: tuple[int, int, int]
    shared: int
    held: int = 0


@dataclass(frozen=True)
class Layer:
    """What is to be run."""

    cell: str
    form: str
    batch: int
    units: int
    steps: int

    @property
    def width(self) -> int:
        """Units rounded up to whole vectors."""
        return -(-self.units // LANES) * LANES


@lru_cache(maxsize=PLANS_KEPT)
def plan_recurrent(limits: Limits, layer: Layer) -> Form:
    """The form that takes least time by the counts above, of those that the device has room for. Raises UnsupportedError."""
    found = min(candidates(limits, layer), key=lambda form: clocks(limits, layer, form), default=None)
    if found is None:
        raise UnsupportedError(f"{layer.units} units of a {layer.form} {layer.cell} layer need more shared memory than the "
                               f"{limits.shared >> 10} KiB of a block on this device; use device='cpu', or load with "
                               "fallback='cpu'")
    return found


def candidates(limits: Limits, layer: Layer) -> Iterator[Form]:
    """All forms that the device can run."""
    cell = all_cells()[layer.cell]
    sums = max(cell.products) * chunks.get(layer.form, max(cell.products), 1).sums
    for rows in (rows for rows in ROWS if rows == 1 or (rows < 2 * layer.batch and rows * sums <= SUMS)):
        forms = [_form(WHOLE, cell, layer, limits, layer.width, rows, 1, resident) for resident in (True, False)]
        if rows * sums <= HOLDING_SUMS and len(cell.products) == 1:
            forms += [form for form in [_form(WHOLE, cell, layer, limits, layer.width, rows, 1, True, True)] if form.held]
        forms += [_form(CLUSTER, cell, layer, limits, span, rows, 1, True) for span in _spans(layer.width)]
        for span, turns in itertools.product(_spans(layer.width), _turns(layer.batch, rows)):
            forms += [_form(kind, cell, layer, limits, span, rows, turns, resident)
                      for kind, resident in ((PERSISTENT, True), (PERSISTENT, False), (STEPWISE, False))]
        yield from (form for form in forms if _fits(limits, form))


def _spans(width: int) -> Iterator[int]:
    """The units that a block may have: a part of a vector, or whole ones."""
    span = max(1, LANES // 16)
    while span < width:
        yield span
        span *= 2


def _turns(batch: int, rows: int) -> Iterator[int]:
    """How often a block may take `rows` rows: the more often, the fewer blocks share the rows of the batch."""
    turns = 1
    while turns == 1 or turns // 2 * rows < batch:
        yield turns
        turns *= 2


def _form(kind: str, cell: Cell, layer: Layer, limits: Limits, span: int, rows: int, turns: int, resident: bool,
          holding: bool = False) -> Form:
    gates = max(cell.products)
    chunk = chunks.get(layer.form, gates, 1)
    lines = span * chunk.count(layer.units)
    threads = max(LANES, min(HOLDING_THREADS if holding else RECURRENT_THREADS, limits.threads, -(-lines // LANES) * LANES))
    parts = threads // span if holding else 0
    held = min(HELD_WORDS[layer.form] // chunk.rows, layer.units // chunk.inputs // parts) if parts else 0
    own = kind in (WHOLE, CLUSTER)
    states = cell.states * rows * layer.width if own else 0
    weights = states + staged_words(chunk, rows, layer.units, not own)
    sums = weights + (onchip.words(cell, layer.form, layer.units, span, held * parts) if resident else 0)
    end = sums + partial_words(chunk, gates, rows, threads, span)
    blocks = 1 if kind == WHOLE else -(-layer.units // span), -(-layer.batch // (rows * turns))
    return Form(kind, blocks, span, rows, turns, threads, resident, (weights, sums, states), 4 * end, held)


def _fits(limits: Limits, form: Form) -> bool:
    slices, groups = form.blocks
    at_once = {PERSISTENT: slices * groups <= limits.multiprocessors and limits.cooperative,
               CLUSTER: 1 < slices <= min(limits.cluster, limits.multiprocessors)}
    return form.shared + SYSTEM <= limits.shared and at_once.get(form.kind, True)


def without(limits: Limits, form: Form) -> Limits:
    """The device as it is left when it has no room for the blocks of a form that have to run at once."""
    return replace(limits, cluster=form.blocks[0] - 1) if form.kind == CLUSTER else replace(limits, cooperative=False)


def clusters_at_once(limits: Limits, form: Form) -> int:
    """How many of its clusters run together: all, or as many as there are multiprocessors for."""
    return min(form.blocks[1], limits.multiprocessors // form.blocks[0])


def clocks(limits: Limits, layer: Layer, form: Form) -> float:
    """The time of all steps."""
    cell, (slices, groups) = all_cells()[layer.cell], form.blocks
    products, prepared = len(cell.products), chunks.get(layer.form, max(cell.products), 1).prepared
    nbytes = 4 * onchip.words(cell, layer.form, layer.units, form.span)
    read = 4 * onchip.words(cell, layer.form, layer.units, form.span, form.held * (form.threads // form.span))
    reading = read / (SHARED_BYTES if form.resident else L2_BYTES)
    at_once = MULTIPLICATIONS * 2 / prepared if prepared else MULTIPLICATIONS
    multiplying = form.rows * sum(cell.products) * form.span * layer.units / at_once
    step = form.turns * (max(reading, multiplying) + (STEP + PREPARING * bool(prepared)) * products)
    if form.kind == CLUSTER:
        step += products * (CLUSTER_MEETING + form.rows * 4 * form.span * (slices - 1) / PEER_BYTES)
    elif form.kind != WHOLE:
        step += form.turns * form.rows * products * 4 * layer.width / L2_BYTES
        step += products * (MEETING + ARRIVAL * slices if form.kind == PERSISTENT else LAUNCH)
    start = nbytes / L2_BYTES * form.resident + 2 * LAUNCH * (form.kind == STEPWISE)
    at_once = clusters_at_once(limits, form) if form.kind == CLUSTER else limits.multiprocessors / slices
    waves = math.ceil(groups / at_once)
    return waves * (layer.steps * step + start)
