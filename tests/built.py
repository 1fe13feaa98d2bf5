"""Models for tests of `edgelstm build`, and C programs around what it gives."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgelstm.aot.header import C_TYPES
from edgelstm.axes import mark
from edgelstm.builder import GraphBuilder
from edgelstm.graph import Graph
from edgelstm.probe import with_probes
from tests.conftest import Layers
from tests.tiny_models import step_graph, two_in_two_out_graph

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic")


def cell(op: str, features: int = 3, units: int = 17, gates: int = 4, sequences: bool = True) -> Graph:
    """x (batch, time, features) -> one recurrent layer."""
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", features))
    return with_probes(net.graph(y=net.recurrent(op, x, units, gates=gates, sequences=sequences)))


def stack(features: int = 5, units: int = 17) -> Graph:
    """x -> causal Conv1D, relu -> LSTM -> Dense of the last step."""
    net = Layers()
    x = net.builder.input("x", "float32", ("batch", "time", features))
    y = net.builder.add("conv1d", x, net.weights(3, features, 8), net.weights(8), name="conv", padding="causal")
    y = net.recurrent("lstm", net.builder.add("relu", y), units, gates=4, sequences=False)
    return with_probes(net.graph(y=net.dense(y, 3)))


def tokens() -> Graph:
    """Token numbers -> Embedding -> GRU -> Dense."""
    net = Layers()
    x = net.builder.input("tokens", "int32", ("batch", "time"), batch=0, time=1)
    y = net.builder.add("embedding", x, net.weights(11, 6))
    return with_probes(net.graph(y=net.dense(net.recurrent("gru", y, 9, gates=3), 2)))


def starting_state() -> Graph:
    """An LSTM of one row whose states start at constants."""
    builder, rng = GraphBuilder(), np.random.default_rng(5)
    x = builder.input("x", "float32", (1, "T", 3), batch=0, time=1)
    parts = [builder.constant(rng.standard_normal(s) * 0.5) for s in ((3, 16), (4, 16), (16,), (1, 4), (1, 4))]
    y = builder.add("lstm", x, *parts, name="cell")
    builder.output("y", y)
    return mark(builder.build())


GRAPHS = {
    "lstm": lambda: cell("lstm"), "gru": lambda: cell("gru", features=5, units=9, gates=3),
    "simple_rnn": lambda: cell("simple_rnn", features=1, units=1, gates=1),
    "last": lambda: cell("lstm", units=33, sequences=False), "stack": stack, "tokens": tokens,
    "two_in_two_out": two_in_two_out_graph, "explicit_state": lambda: with_probes(step_graph()),
}


def compiler(name: str = "gcc") -> str:
    """A C compiler; skips where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt install gcc g++)")
    return found


def compile_c(folder: Path, text: str, *parts: str, flags: tuple[str, ...] = ()) -> Path:
    """A C program in the folder, linked with some of its files."""
    (folder / "program.c").write_text(text)
    program = folder / "program"
    command = [compiler(), *STRICT, "-O1", *flags, "program.c", *parts, "-o", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, given: bytes = b"") -> bytes:
    """What the program prints for this input."""
    return subprocess.run([program], input=given, capture_output=True, check=True, cwd=program.parent).stdout


ROUND_TRIP = """#include "{name}.h"
#include <stdio.h>

static _Alignas(64) unsigned char state[{macro}_STATE_BYTES + 1], arena[{macro}_ARENA_BYTES + 1];
{buffers}

int main(void)
{{
{reads}
    {name}_init(state);
    {name}_run(state, arena, {steps}, {whole});
{writes}
    {name}_reset(state);
    for (int t = 0; t < {steps}; t++)
        {name}_step(state, arena, {single});
{writes}
    return 0;
}}
"""


def round_trip(report, frames_in: list, frames_out: list, steps: int) -> str:
    """A C program that reads the frames of all steps and writes the outputs of `run`, then those of single steps."""
    frames = [*frames_in, *frames_out]
    count = {f.identifier: f.size * (steps if f.time is not None else 1) for f in frames}
    return ROUND_TRIP.format(
        name=report.name, macro=report.name.upper(), steps=steps,
        buffers="\n".join(f"static {C_TYPES[f.dtype]} {f.identifier}[{count[f.identifier]}];" for f in frames),
        reads="\n".join(f"    if (!fread({f.identifier}, sizeof *{f.identifier} * {count[f.identifier]}, 1, stdin))\n"
                        "        return 1;" for f in frames_in),
        writes="\n".join(f"    fwrite({f.identifier}, sizeof *{f.identifier}, {count[f.identifier]}, stdout);"
                         for f in frames_out),
        whole=", ".join(f.identifier for f in frames),
        single=", ".join(f"{f.identifier} + t * {f.size}" if f.time is not None else f.identifier for f in frames))


def without_probes(graph: Graph) -> Graph:
    return replace(graph, probes=())
