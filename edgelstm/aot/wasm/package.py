"""The text files around a WebAssembly module: ES module, types, package.json, and the JavaScript part of README.md."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from edgelstm.aot.artefacts import Artefacts
from edgelstm.aot.plan import Frame, State, StepProgram
from edgelstm.aot.wasm.link import STACK
from edgelstm.errors import BuildError
from edgelstm.version import __version__

ARRAYS = {"float32": "Float32Array", "int8": "Int8Array", "int16": "Int16Array", "int32": "Int32Array",
          "int64": "BigInt64Array", "uint8": "Uint8Array", "bool": "Uint8Array"}

_TYPES = """\
// Types of {name}.js, made by EdgeLSTM {version}.

/** Numbers of one kind; values that the type can't hold are refused. */
type Numbers = ArrayLike<number> | ArrayLike<bigint> | readonly boolean[];

/** What a step or run takes{by_itself}. In a run the frames of all time steps lie one after the other. */
export type Frames = {frames};

/** What a step or run gives. */
export type Outputs = {outputs};

/** Copies of the carried states. */
export interface State {{
{states}
}}

/** An input, output or state; `shape` is that of one time step, `time` says whether there is one frame a time step. */
export interface Port {{
  readonly name: string;
  readonly dtype: {dtypes};
  readonly shape: readonly number[];
  readonly time?: boolean;
}}

/** Where the module's bytes come from; a path only in Node. */
export type Source = URL | string | Response | BufferSource | WebAssembly.Module;

/** The model, from {name}.wasm beside this module unless a source is given. */
export function load(source?: Source | PromiseLike<Source>{options}): Promise<Model>;

export class Model {{
  private constructor();
  readonly name: string;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly states: readonly Port[];
  /** An independent stream at its start. */
  stream(): Stream;
  /** What a new stream's `run` gives. */
  predict(frames: Frames): Outputs;
}}

/** One sequence: it carries its state from step to step. */
export class Stream {{
  private constructor();
  /** One time step; the outputs are new arrays, or `out`. */
  step(frames: Frames, out?: Outputs): Outputs;
  /** Time steps at once. */
  run(frames: Frames): Outputs;
  /** Back to the start. */
  reset(): void;
  readonly state: State;
  /** Continue from what `state` gave, here or in another stream of this model. */
  restore(state: Readonly<State>): void;
  /** Give the memory back to the model; the stream can't be used any more. */
  close(): void;
}}
"""

_USAGE = """
## JavaScript

```js
import {{ load }} from "./{name}.js";

const model = await load();        // {name}.wasm beside it, or load(url | bytes | response | compiled module)
const stream = model.stream();     // one sequence; several live side by side

// One time step; the state is carried to the next.
let y = stream.step({step});

// Many time steps, their frames one after the other.
y = stream.run({run});

const kept = stream.state;         // copies by name; stream.restore(kept) goes back to them
stream.reset();
stream.close();                    // gives its memory back to the model
```

{ports}

The module is {size:,} bytes, imports nothing and needs 128-bit SIMD (Chrome 93, Firefox 92, Safari 16.4, Node 18).
Frames are typed arrays or arrays of numbers; wrong lengths and values throw a RangeError or TypeError and leave the state
as it was. An instance has {stack:,} bytes of stack, arena, staged frames, and {state:,} bytes for each stream. Keep the files
together: `{name}.js` refuses a module of another build. A path or a `file:` URL works in Node, what `fetch` takes everywhere.
"""


def module(made: Artefacts, build: str) -> str:
    """The ES module's text; `build` is the mark of the WebAssembly module it belongs to."""
    text = resources.files("edgelstm.aot.wasm").joinpath("module.js").read_text(encoding="utf-8")
    known = "{\n" + "".join(f"  {key}: {_value(value)},\n" for key, value in description(made, build).items()) + "}"
    for place, found in (("{/* @MODEL@ */}", known), ("@NAME@", made.program.prefix), ("@VERSION@", __version__)):
        text = text.replace(place, found)
    return text


def _value(value: Any) -> str:
    """JSON with a line for every port."""
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + "".join(f"    {json.dumps(port)},\n" for port in value) + "  ]"


def description(made: Artefacts, build: str) -> dict[str, Any]:
    """What the ES module knows of a model."""
    program, apart = made.program, made.wishes.weights_apart
    return {
        "name": program.prefix, "build": build, "weights": f"{program.prefix}.weights" if apart else None,
        "weightsBytes": len(program.weights), "stateBytes": program.state_nbytes, "arenaBytes": program.arena_nbytes,
        "inputs": [{**_port(frame), "time": frame.time is not None} for frame in program.inputs],
        "outputs": [{**_port(frame), "time": frame.time is not None} for frame in program.outputs],
        "states": [{**_port(state), "offset": state.offset} for state in program.states],
    }


def _port(port: Frame | State) -> dict[str, Any]:
    if port.dtype not in ARRAYS:
        raise BuildError(f"{port.name!r} is {port.dtype}, for which JavaScript has no typed array; it has {', '.join(ARRAYS)}",
                         exit_code=3)
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape), "size": int(np.prod(port.shape, dtype=np.int64))}


def types(program: StepProgram, *, weights_apart: bool) -> str:
    """The text of the type declarations."""
    given, single = _fields(program.inputs, " | Numbers"), len(program.inputs) == 1
    states = [f"  {json.dumps(state.name)}: {ARRAYS[state.dtype]};" for state in program.states]
    return _TYPES.format(
        name=program.prefix, version=__version__, by_itself="; a single input may be given by itself" if single else "",
        frames=f"{ARRAYS[program.inputs[0].dtype]} | Numbers | {given}" if single else given,
        outputs=ARRAYS[program.outputs[0].dtype] if len(program.outputs) == 1 else _fields(program.outputs),
        states="\n".join(states), dtypes=" | ".join(json.dumps(dtype) for dtype in ARRAYS),
        options=", options?: { weights?: Source }" if weights_apart else "")


def _fields(frames: Sequence[Frame], more: str = "") -> str:
    """An object type with an array for every port."""
    fields = [f"  /** {_described(frame)} */\n  {json.dumps(frame.name)}: {ARRAYS[frame.dtype]}{more};" for frame in frames]
    return "\n".join(["{", *fields, "}"])


def _described(frame: Frame) -> str:
    shape = "".join(f"[{n}]" for n in frame.shape)
    return f"{frame.dtype}{shape}, {'one frame a time step' if frame.time is not None else 'no time axis'}"


def package_json(name: str) -> str:
    """package.json: an ES module with its types; the other files can be reached, too."""
    entry = {"types": f"./{name}.d.ts", "default": f"./{name}.js"}
    return json.dumps({
        "name": name.lower(), "version": "1.0.0", "private": True, "type": "module", "sideEffects": False,
        "types": entry["types"], "exports": {".": entry, "./*": "./*"}}, indent=2) + "\n"


def usage(made: Artefacts, nbytes: int) -> str:
    """How the module of so many bytes is used from JavaScript, for README.md."""
    program = made.program
    single = len(program.inputs) == 1
    names = ", ".join(json.dumps(frame.name) + ": " + frame.identifier for frame in program.inputs)
    ports = [f"- {role} `{frame.name}`: {ARRAYS[frame.dtype]} of {frame.size}, {_described(frame)}"
             for role, frames in (("input", program.inputs), ("output", program.outputs)) for frame in frames]
    return _USAGE.format(
        name=program.prefix, ports="\n".join(ports), size=nbytes, stack=STACK, state=program.state_nbytes,
        step="frame" if single else f"{{ {names} }}", run="frames" if single else f"{{ {names} }}")
