"""self_test.js: the probe of the model's file as base64, run by Node or a browser and compared."""

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np

from edgelstm.aot.main_c import extent, rounds_of, smallest_probe
from edgelstm.aot.plan import Frame, StepProgram

_PAGE = """\
// Self-test of @NAME@: runs the inputs that its file carries and compares with the outputs that stand beside them.
// Prints the largest error; in Node it ends with 0 where every output is within its tolerance, else with 1.
import { load } from "./@NAME@.js";

const ATOL = @ATOL@, RTOL = @RTOL@;
const ARRAYS = { float32: Float32Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
                 uint8: Uint8Array, bool: Uint8Array };

// Each round: what is given, the states it starts with, and what is expected; little-endian bytes as base64.
const ROUNDS = @ROUNDS@;

function arrays(texts, ports) {
  return Object.fromEntries(ports.filter(({ name }) => Object.hasOwn(texts, name)).map(({ name, dtype }) => [
    name, new ARRAYS[dtype](Uint8Array.from(atob(texts[name]), (letter) => letter.charCodeAt(0)).buffer)]));
}

let largest = 0, misses = 0;

function compare(found, expected) {
  if (found === expected || Number.isNaN(found) && Number.isNaN(expected)) return;
  const error = Math.abs(Number(found) - Number(expected));
  if (!(error <= ATOL + RTOL * Math.abs(Number(expected)))) misses++;
  if (error > largest) largest = error;
}

const model = await load();
for (const round of ROUNDS) {
  const stream = model.stream();
  stream.restore({ ...stream.state, ...arrays(round.states, model.states) });
  const given = stream.run(arrays(round.given, model.inputs));
  const found = model.outputs.length === 1 ? { [model.outputs[0].name]: given } : given;
  for (const [name, expected] of Object.entries(arrays(round.expected, model.outputs))) {
    if (found[name].length !== expected.length) misses++;
    expected.forEach((value, i) => compare(found[name][i], value));
  }
  stream.close();
}
console.log(`@NAME@: largest error ${largest.toExponential(1)}, ${misses} misses: ${misses ? "FAILED" : "ok"}`);
if (misses && typeof process === "object") process.exitCode = 1;

export { largest, misses };
"""


def self_test(program: StepProgram) -> str:
    """The file's text. Raises BuildError where the model's file has no probe."""
    probe = smallest_probe(program)
    count, _ = extent(program, probe)
    starts = [Frame(state.source, "", state.dtype, state.shape, state.batch, None) for state in program.states if state.source]
    rounds = [{"given": _round(program.inputs, probe.inputs, program.batch, count, number),
               "states": _round(starts, probe.inputs, program.batch, count, number),
               "expected": _round(program.outputs, probe.outputs, program.batch, count, number)} for number in range(count)]
    text = _PAGE.replace("@NAME@", program.prefix).replace("@ROUNDS@", json.dumps(rounds, indent=1))
    return text.replace("@ATOL@", repr(float(probe.atol))).replace("@RTOL@", repr(float(probe.rtol)))


def _round(frames: Sequence[Frame], arrays: Mapping[str, np.ndarray], batch: int, rounds: int, number: int) -> dict[str, str]:
    """The frames of one round by name, as base64 of little-endian bytes."""
    found = {frame.name: rounds_of(arrays[frame.name], frame, batch, rounds)[number] for frame in frames}
    return {frame.name: base64.b64encode(found[frame.name].astype(np.dtype(frame.dtype).newbyteorder("<")).tobytes()).decode()
            for frame in frames}
