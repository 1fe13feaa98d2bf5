"""The C header of a built model: sizes as macros, shapes in comments, and the four entries."""

from edgelstm.aot.plan import Frame, StepProgram
from edgelstm.version import __version__

C_TYPES = {"float32": "float", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "int8": "int8_t", "uint8": "uint8_t",
           "bool": "uint8_t"}

_LEAST_ALIGNMENT = 8  # bytes: that of the largest number; no kernel needs more

_PAGE = """\
/* {name}: a trained network as machine code, made by EdgeLSTM {version}. No malloc, no libc, no global state.
 *
{ports}
 *
 * state and arena are the caller's memory, {aligned}{apart}:
 *
 *   static {macro}_ALIGNED unsigned char state[{macro}_STATE_BYTES], arena[{macro}_ARENA_BYTES];
 *
 * state belongs to one sequence (several may live side by side) and is ready after {prefix}_init; arena is scratch that may be
 * shared by all sequences of one thread. state, arena, inputs and outputs must not overlap.
 */
#ifndef {macro}_H
#define {macro}_H

#include <stdint.h>

#define {macro}_STATE_BYTES {state}
#define {macro}_ARENA_BYTES {arena}
#define {macro}_WEIGHTS_BYTES {weights}
#define {macro}_ALIGNMENT {alignment}
#if defined(_MSC_VER) && !defined(__clang__)
#define {macro}_ALIGNED __declspec(align({alignment}))
#else
#define {macro}_ALIGNED __attribute__((aligned({alignment})))
#endif
#define {macro}_BATCH {batch}
{sizes}

#ifdef __cplusplus
extern "C" {{
#endif

/* The state before the first step; {prefix}_reset goes back to it. */
void {prefix}_init(void *state);
void {prefix}_reset(void *state);

/* One time step. */
void {prefix}_step({weights_param}void *state, void *arena, {params});

/* Time steps in one call, the frames of each input and output one after the other{fixed}. */
void {prefix}_run({weights_param}void *state, void *arena, int32_t steps, {params});

#ifdef __cplusplus
}}
#endif

#endif
"""


def header(program: StepProgram, *, weights_apart: bool = False) -> str:
    """The header's text."""
    prefix, macro = program.prefix, program.prefix.upper()
    ports = [f" *   in  {_describe(frame)}" for frame in program.inputs]
    ports += [f" *   out {_describe(frame)}" for frame in program.outputs]
    sizes = [f"#define {macro}_{frame.identifier.upper()}_SIZE {frame.size}" for frame in (*program.inputs, *program.outputs)]
    params = [f"const {C_TYPES[frame.dtype]} *{frame.identifier}" for frame in program.inputs]
    params += [f"{C_TYPES[frame.dtype]} *{frame.identifier}" for frame in program.outputs]
    still = [frame.name for frame in program.outputs if frame.time is None]
    fixed = f"; {', '.join(still)} is what the last step gives" if still else ""
    return _PAGE.format(
        name=prefix, version=__version__, ports="\n".join(ports), macro=macro, prefix=prefix, alignment=program.alignment,
        state=program.state_nbytes, arena=program.arena_nbytes, weights=len(program.weights), batch=program.batch,
        sizes="\n".join(sizes), params=", ".join(params), fixed=fixed, weights_param="const void *weights, " * weights_apart,
        aligned=_aligned(program.alignment, f"{macro}_ALIGNMENT"),
        apart="; so are the weights" if weights_apart else "")


def _aligned(alignment: int, macro: str) -> str:
    """How memory must lie."""
    if alignment <= _LEAST_ALIGNMENT:
        return f"aligned to {macro} bytes"
    return f"aligned to {macro} bytes for speed ({_LEAST_ALIGNMENT} bytes suffice)"


def _describe(frame: Frame) -> str:
    """A line about a port: C name and type, its shape in a step, and its name and time axis in the model."""
    shape = "".join(f"[{n}]" for n in frame.shape)
    own = "" if frame.name == frame.identifier else f", in the model {_quiet(frame.name)!r}"
    time = "one frame a time step" if frame.time is not None else "no time axis"
    return f"{C_TYPES[frame.dtype]} {frame.identifier}{shape}: {time}{own}"


def _quiet(name: str) -> str:
    """A name that cannot end the comment it stands in."""
    return name.replace("*/", "* /").replace("/*", "/ *")
