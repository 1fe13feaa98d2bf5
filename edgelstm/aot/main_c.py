"""main.c, the self-test of a build: the file's probe as C arrays, run and compared on the device."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgelstm.aot.header import C_TYPES
from edgelstm.aot.plan import Frame, StepProgram
from edgelstm.errors import BuildError
from edgelstm.graph import Probe

_PAGE = """\
/* Self-test of {prefix}: runs the inputs that its file carries and compares with the outputs that stand beside them.
 * Prints the largest error in units of 1e-9 and ends with 0 where every output is within its tolerance. */
#include <stdio.h>

#include "{prefix}.h"

#define ROUNDS {rounds}
#define STEPS {steps}

{arrays}

static {macro}_ALIGNED unsigned char state[{macro}_STATE_BYTES];
static {macro}_ALIGNED unsigned char arena[{macro}_ARENA_BYTES];
{buffers}

{blob}static double largest;
static int misses;

static void compare(double found, double expected)
{{
    double error = found > expected ? found - expected : expected - found;
    double size = expected < 0 ? -expected : expected;
    if (found == expected || (found != found && expected != expected))
        return;
    if (!(error <= {atol} + {rtol} * size))
        misses++;
    if (error > largest)
        largest = error;
}}

int main(void)
{{
    for (int round = 0; round < ROUNDS; round++) {{
        {prefix}_init(state);
{start}        {prefix}_run({weights}state, arena, STEPS, {arguments});
{checks}    }}
    if (largest > 2)
        largest = 2; /* what a 32-bit long can hold */
    printf("{prefix}: largest error %ld e-9, %d misses: %s\\n", (long)(largest * 1e9), misses, misses ? "FAILED" : "ok");
    return misses != 0;
}}
"""

_BLOB = """\
__asm__(".section .rodata\\n.balign 64\\nweights_blob:\\n.incbin \\"{prefix}.weights\\"\\n.previous");
extern const unsigned char weights[] __asm__("weights_blob");

"""


def main_c(program: StepProgram, *, weights_apart: bool = False) -> str:
    """The text of main.c. Raises BuildError where the model's file has no probe."""
    probe = smallest_probe(program)
    rounds, steps = extent(program, probe)
    arrays = [*_arrays(program.inputs, probe.inputs, rounds, "given", program.batch),
              *_arrays(program.outputs, probe.outputs, rounds, "expected", program.batch)]
    start, image = _start(program, probe, rounds)
    many = {frame.identifier: steps if frame.time is not None else 1 for frame in program.outputs}
    return _PAGE.format(
        prefix=program.prefix, macro=program.prefix.upper(), rounds=rounds, steps=steps, arrays="\n".join([*arrays, *image]),
        buffers="\n".join(f"static {C_TYPES[frame.dtype]} found_{frame.identifier}[{frame.size * many[frame.identifier]}];"
                          for frame in program.outputs),
        blob=_BLOB.format(prefix=program.prefix) if weights_apart else "", atol=probe.atol, rtol=probe.rtol,
        start=start, weights="weights, " * weights_apart,
        arguments=", ".join([*(f"given_{frame.identifier}[round]" for frame in program.inputs),
                             *(f"found_{frame.identifier}" for frame in program.outputs)]),
        checks="".join(f"        for (long i = 0; i < {frame.size * many[frame.identifier]}; i++)\n"
                       f"            compare(found_{frame.identifier}[i], expected_{frame.identifier}[round][i]);\n"
                       for frame in program.outputs))


def smallest_probe(program: StepProgram) -> Probe:
    """The probe that a self-test runs. Raises BuildError where the model's file has none."""
    if not program.graph.probes:
        raise BuildError("the model carries no probe, so a self-test has nothing to compare with; "
                         "convert it without --no-probe", exit_code=2)
    return min(program.graph.probes, key=lambda probe: sum(array.size for array in probe.inputs.values()))


def extent(program: StepProgram, probe: Probe) -> tuple[int, int]:
    """How often the model is run, `batch` rows at a time, and over how many time steps."""
    rows, steps = program.batch, 1
    for frame in program.inputs:
        shape = probe.inputs[frame.name].shape
        rows = rows if frame.batch is None else shape[frame.batch]
        steps = steps if frame.time is None else shape[frame.time]
    if rows != program.batch and not program.independent_rows:
        raise BuildError(f"the probe has {rows} rows, which depend on each other; a self-test needs batch={rows}")
    return max(rows // program.batch, 1), steps


def rounds_of(array: np.ndarray, frame: Frame, batch: int, rounds: int) -> np.ndarray:
    """A probe's array as (rounds, [steps,] frame); where it has too few rows for a batch they are taken again."""
    if frame.batch is None:
        parts = [array] * rounds
    else:
        parts = [array.take(range(r * batch, (r + 1) * batch), frame.batch, mode="wrap") for r in range(rounds)]
    return np.stack([part if frame.time is None else np.moveaxis(part, frame.time, 0) for part in parts])


def _arrays(frames: Sequence[Frame], arrays: Mapping[str, np.ndarray], rounds: int, role: str, batch: int) -> Iterator[str]:
    for frame in frames:
        found = rounds_of(arrays[frame.name], frame, batch, rounds).reshape(rounds, -1)
        rows = ",\n".join(f"    {{{_numbers(row)}}}" for row in found)
        yield f"static const {C_TYPES[frame.dtype]} {role}_{frame.identifier}[ROUNDS][{found.shape[1]}] = {{\n{rows}\n}};"


def _start(program: StepProgram, probe: Probe, rounds: int) -> tuple[str, list[str]]:
    """C that puts the probe's explicit states in place, and the arrays that it copies from."""
    code, arrays = "", []
    for number, state in enumerate(state for state in program.states if state.source):
        port = program.graph.input(state.source)
        frame = Frame(state.name, f"state{number}", state.dtype, state.shape, port.batch, None)
        found = rounds_of(probe.inputs[state.source], frame, program.batch, rounds).astype(state.dtype)
        rows = ",\n".join(f"    {{{', '.join(map(str, row.tobytes()))}}}" for row in found)
        arrays.append(f"static const unsigned char {frame.identifier}[ROUNDS][{state.nbytes}] = {{\n{rows}\n}};")
        code += (f"        for (long i = 0; i < {state.nbytes}; i++)\n"
                 f"            state[{state.offset} + i] = {frame.identifier}[round][i];\n")
    return code, arrays


def _numbers(row: np.ndarray) -> str:
    """A row as C constants, floats so that they are read back exactly."""
    if row.dtype != np.float32:
        return ", ".join(str(int(value)) for value in row)
    return ", ".join(_number(float(value)) for value in row)


def _number(value: float) -> str:
    if np.isfinite(value):
        return f"{value:.9g}f" if not value.is_integer() else f"{value:.1f}f"
    return "(0.0f / 0.0f)" if np.isnan(value) else f"({'-' * (value < 0)}1.0f / 0.0f)"
