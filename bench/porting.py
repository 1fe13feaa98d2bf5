"""Figures of `edgelstm build` for docs/porting.md: what models cost on every target, and instructions per multiply-accumulate.

    python -m bench.porting

Instructions are counted by qemu, one step of an LSTM with 40 inputs and 128 units, where cross compiler and emulator are
installed (the packages stand in .ci/run); sizes need nothing but LLVM.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import edgelstm
from edgelstm.aot import targets
from edgelstm.graph import Graph
from edgelstm.precision.apply import apply
from edgelstm.precision.choose import layers
from tests import cross
from tests.built import cell, stack

PAGE = Path(__file__).parent.parent / "docs" / "porting.md"
BEGIN, END = "<!-- figures: written by `python -m bench.porting` -->\n", "<!-- /figures -->"
FEATURES, UNITS = 40, 128


def int8(graph: Graph) -> Graph:
    """The graph with all weights in int8."""
    return apply(graph, {node.name: "int8" for node in layers(graph)})


MODELS = {
    "LSTM (8, 32)": lambda: cell("lstm", features=8, units=32),
    "GRU (40, 64)": lambda: cell("gru", features=FEATURES, units=64, gates=3),
    "Conv1D, LSTM (8, 17), Dense": stack,
    "LSTM (40, 128)": lambda: cell("lstm", features=FEATURES, units=UNITS),
    "LSTM (40, 128) int8": lambda: int8(cell("lstm", features=FEATURES, units=UNITS)),
}


def sizes() -> Iterator[str]:
    """A table: code, RAM and stack of every model on every target, with the target's default of --optimize."""
    yield "Bytes of code / RAM (state and arena) / stack, built as each target does by default (`size` on microcontrollers);"
    yield "weights lie in flash besides; `soft` means float32 in software, whose helpers are not counted.\n"
    yield f"| target | {' | '.join(MODELS)} |"
    yield f"|---|{'---|' * len(MODELS)}"
    graphs = {name: make() for name, make in MODELS.items()}
    weights: dict[str, set[int]] = {name: set() for name in MODELS}
    for target in targets.names():
        cells = []
        for name, graph in graphs.items():
            report = _report(graph, target)
            weights[name].add(report.weights)
            cells.append(f"{report.code} / {report.ram} / {report.stack}")
        soft = "" if targets.find(target).fpu else " (soft)"
        yield f"| {target}{soft} | {' | '.join(cells)} |"
    yield f"| weights | {' | '.join(_span(weights[name]) for name in MODELS)} |"


def _report(graph: Graph, target: str) -> edgelstm.aot.report.BuildReport:
    machine = targets.find(target)
    with tempfile.TemporaryDirectory() as folder:
        return edgelstm.build(graph, Path(folder) / "m", target, optimize=machine.optimize, soft_float=not machine.fpu)


def _span(found: set[int]) -> str:
    return f"{min(found)}" if len(found) == 1 else f"{min(found)} to {max(found)}"


def instructions() -> Iterator[str]:
    """A table: instructions per multiply-accumulate, in the loop over the units and in a whole step."""
    yield f"Instructions per multiply-accumulate, one step of an LSTM ({FEATURES}, {UNITS}), counted by qemu: in the innermost"
    yield "loop, and in the whole step with its non-linearities and the quantization of activations.\n"
    yield "| machine | float32 loop | float32 step | int8 loop | int8 step |\n|---|---|---|---|---|"
    graphs = [MODELS["LSTM (40, 128)"](), MODELS["LSTM (40, 128) int8"]()]
    for name, machine in cross.MACHINES.items():
        if machine.missing:
            print(f"{name}: not counted, {machine.missing} not installed", file=sys.stderr)
        elif machine.emulator and targets.find(machine.target).fpu:
            found = [figure for graph in graphs for figure in _per_product(graph, machine)]
            yield f"| {name} | {' | '.join(f'{figure:.2f}' for figure in found)} |"


def _per_product(graph: Graph, machine: cross.Machine) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        built = cross.build(graph, machine, Path(folder) / "m", optimize=targets.find(machine.target).optimize)
        inputs = {frame.name: np.ones((3, *frame.shape), np.float32) for frame in built.program.inputs}
        three, one = built.traced(inputs, 3), built.traced(inputs, 1)
    products = 4 * UNITS * (UNITS + FEATURES)
    return _hottest(three) / (3 * 4 * UNITS * UNITS), (three.total() - one.total()) / (2 * products)


def _hottest(executed: Counter[bytes]) -> int:
    """Instructions executed in the innermost loop: those that ran as often as the one that ran most often."""
    most = max(executed.values())
    return sum(count for count in executed.values() if count > 0.9 * most)


def main() -> None:
    """Write the figures into the page."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    figures = "\n".join([*sizes(), "", *instructions()])
    PAGE.write_text(f"{before}{BEGIN}\n{figures}\n\n{END}{after}")


if __name__ == "__main__":
    main()
