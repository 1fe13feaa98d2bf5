// @NAME@: a trained network as WebAssembly, made by EdgeLSTM @VERSION@. No dependencies; for browsers, workers and Node.
//
//     const model = await load();
//     const stream = model.stream();
//     const y = stream.step(frame);

const MODEL = {/* @MODEL@ */};

const HERE = import.meta.url;
const ARRAYS = {
  float32: Float32Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, bool: Uint8Array,
};
const ALONE = MODEL.inputs.length === 1 && MODEL.outputs.length === 1 && MODEL.inputs[0].dtype !== "bool";
const GIVEN = ARRAYS[MODEL.inputs[0]?.dtype];
const RESULT = ARRAYS[MODEL.outputs[0]?.dtype];
const ALIGNMENT = 64;
const PAGE = 65536; // bytes by which memory grows
const STAGED = 65536; // bytes of frames that one native call of `run` takes and gives

/** The model, from the .wasm file beside this module or from another URL, path (Node), Response, bytes or WebAssembly.Module. */
export async function load(source = new URL("./@NAME@.wasm", import.meta.url), { weights } = {}) {
  const given = await source;
  const module = given instanceof WebAssembly.Module ? given : await WebAssembly.compile(await bytesOf(given));
  checkBuild(module);
  const kept = MODEL.weights === null ? null : await bytesOf(weights ?? new URL(MODEL.weights, HERE));
  return new Model(new Machine(await WebAssembly.instantiate(module), kept));
}

/** What the model takes, gives and carries. Make streams with `stream()`; as many as you like live side by side. */
export class Model {
  #machine;

  constructor(machine) {
    if (!(machine instanceof Machine)) throw new TypeError("a Model comes from load()");
    this.#machine = machine;
  }

  get name() { return MODEL.name; }
  get inputs() { return MODEL.inputs.map(described); }
  get outputs() { return MODEL.outputs.map(described); }
  get states() { return MODEL.states.map(described); }

  /** An independent stream at its start. */
  stream() { return new Stream(this.#machine); }

  /** What a new stream's `run` gives. */
  predict(frames) {
    const stream = this.stream();
    try {
      return stream.run(frames);
    } finally {
      stream.close();
    }
  }
}

/** One sequence: it carries its state from step to step. */
export class Stream {
  #machine;
  #at;
  #step;

  constructor(machine) {
    if (!(machine instanceof Machine)) throw new TypeError("a Stream comes from model.stream()");
    this.#machine = machine;
    this.#at = machine.openState();
    this.#step = machine.step.bind(null, ...machine.before, this.#at, machine.arena, ...machine.pointers);
  }

  /** One time step: a frame in, a frame out, in `out` where it is given. Several inputs or outputs are objects by name. */
  step(frames, out) {
    const machine = this.#opened();
    if (ALONE && frames instanceof GIVEN && frames.length === MODEL.inputs[0].size) return this.#stepAlone(machine, frames, out);
    const given = named(frames);
    const arrays = MODEL.inputs.map((port) => checked(port, given[port.name], port.size, "a frame"));
    const targets = out === undefined ? machine.results(1) : resultsIn(out);
    machine.stage(arrays, 0, 1);
    this.#step();
    machine.collect(targets, 0, 1);
    return shown(targets);
  }

  /** Time steps at once: the frames of each input one after the other, and so the outputs; no time axis, the last step's. */
  run(frames) {
    const machine = this.#opened();
    const given = named(frames);
    const steps = stepsOf(given);
    const arrays = MODEL.inputs.map((port) => checked(port, given[port.name], port.time ? steps * port.size : port.size, "a block"));
    const targets = machine.results(steps);
    for (let start = 0; start < steps; start += machine.chunk) {
      const count = Math.min(machine.chunk, steps - start);
      machine.stage(arrays, start, count);
      machine.run(...machine.before, this.#at, machine.arena, count, ...machine.pointers);
      machine.collect(targets, start, count);
    }
    return shown(targets);
  }

  /** Back to the start. */
  reset() { this.#opened().reset(this.#at); }

  /** Copies of all carried states, by name. */
  get state() {
    const machine = this.#opened();
    return Object.fromEntries(MODEL.states.map((state) => [state.name, machine.view(state, this.#at + state.offset).slice()]));
  }

  /** Continue from what `state` gave, here or in another stream of this model. */
  restore(state) {
    const machine = this.#opened();
    checkNames(state, MODEL.states, "the stream carries the states");
    const arrays = MODEL.states.map((own) => checked(own, state[own.name], own.size, "the state"));
    MODEL.states.forEach((own, i) => machine.view(own, this.#at + own.offset).set(arrays[i]));
  }

  /** Give the stream's memory back to the model; the stream can't be used any more. */
  close() {
    this.#machine?.closed.push(this.#at);
    this.#machine = null;
  }

  /** The short way of a step: one input, of the right type and length, and one output. */
  #stepAlone(machine, frame, out) {
    const target = out === undefined ? undefined : resultsIn(out)[0];
    const [given, result] = machine.staged();
    given.set(frame);
    this.#step();
    if (target === undefined) return result.slice(0, MODEL.outputs[0].size);
    for (let i = 0; i < target.length; i++) target[i] = result[i];
    return target;
  }

  #opened() {
    if (this.#machine === null) throw new Error(`${MODEL.name}: this stream is closed`);
    return this.#machine;
  }
}

/** An instance with its memory: weights, arena and staged frames, which all streams share, and a state for each of them. */
class Machine {
  constructor(instance, weights) {
    const { exports } = instance;
    this.memory = exports.memory;
    this.end = exports.__heap_base.value;
    [this.init, this.reset, this.step, this.run] = ["init", "reset", "step", "run"].map((entry) => exports[`${MODEL.name}_${entry}`]);
    this.closed = [];
    this.before = weights === null ? [] : [this.keep(weights)];
    this.arena = this.take(MODEL.arenaBytes);
    const ports = [...MODEL.inputs, ...MODEL.outputs];
    const bytes = ports.reduce((sum, port) => sum + (port.time ? nbytes(port) : 0), 0);
    this.chunk = Math.max(1, Math.floor(STAGED / Math.max(1, bytes)));
    this.pointers = ports.map((port) => this.take(nbytes(port) * (port.time ? this.chunk : 1)));
    this.views = [];
  }

  /** Memory that nobody else has. */
  take(bytes) {
    const at = Math.ceil(this.end / ALIGNMENT) * ALIGNMENT;
    const missing = at + bytes - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    this.end = at + bytes;
    return at;
  }

  keep(weights) {
    const octets = ArrayBuffer.isView(weights) ? new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength) : new Uint8Array(weights);
    if (octets.length !== MODEL.weightsBytes) {
      throw new RangeError(`${MODEL.name}: the weights have ${octets.length} bytes, expected the ${MODEL.weightsBytes} of ${MODEL.weights}`);
    }
    const at = this.take(octets.length);
    new Uint8Array(this.memory.buffer).set(octets, at);
    return at;
  }

  openState() {
    const at = this.closed.pop() ?? this.take(MODEL.stateBytes);
    this.init(at);
    return at;
  }

  view(port, at, count = 1) { return new ARRAYS[port.dtype](this.memory.buffer, at, port.size * count); }

  /** Where the frames of every input, then every output lie; memory that has grown has a new buffer. */
  staged() {
    if (this.views[0]?.buffer !== this.memory.buffer) {
      const ports = [...MODEL.inputs, ...MODEL.outputs];
      this.views = ports.map((port, i) => this.view(port, this.pointers[i], port.time ? this.chunk : 1));
    }
    return this.views;
  }

  /** Put `count` time steps from `start` where the native code reads them. */
  stage(arrays, start, count) {
    const views = this.staged();
    MODEL.inputs.forEach((port, i) => {
      const all = !port.time || arrays[i].length === count * port.size;
      views[i].set(all ? arrays[i] : arrays[i].subarray(start * port.size, (start + count) * port.size));
    });
  }

  collect(targets, start, count) {
    const views = this.staged();
    MODEL.outputs.forEach((port, i) => {
      const view = views[MODEL.inputs.length + i];
      targets[i].set(port.time ? view.subarray(0, count * port.size) : view, port.time ? start * port.size : 0);
    });
  }

  results(steps) { return MODEL.outputs.map((port) => new ARRAYS[port.dtype](port.time ? steps * port.size : port.size)); }
}

function described({ name, dtype, shape, time }) { return { name, dtype, shape: [...shape], ...(time === undefined ? {} : { time }) }; }

function nbytes(port) { return port.size * ARRAYS[port.dtype].BYTES_PER_ELEMENT; }

/** Arrays by the names of the inputs; a single input may be given by itself. */
function named(frames) {
  if (ArrayBuffer.isView(frames) || Array.isArray(frames)) {
    if (MODEL.inputs.length === 1) return { [MODEL.inputs[0].name]: frames };
    throw new TypeError(`${MODEL.name}: give the inputs ${quoted(MODEL.inputs)} as an object by name`);
  }
  checkNames(frames, MODEL.inputs, "the model takes");
  return frames;
}

function checkNames(found, ports, text) {
  const names = found !== null && typeof found === "object" ? Object.keys(found) : [];
  if (names.length !== ports.length || !ports.every(({ name }) => Object.hasOwn(found, name))) {
    const what = found !== null && typeof found === "object" ? quoted(names.map((name) => ({ name }))) : String(found);
    throw new TypeError(`${MODEL.name}: ${text} ${quoted(ports)}, not ${what || "nothing"}`);
  }
}

function quoted(ports) { return ports.map(({ name }) => `'${name}'`).join(", "); }

/** Time steps of a block. */
function stepsOf(given) {
  const timed = MODEL.inputs.find((port) => port.time);
  const steps = timed === undefined ? 1 : Math.floor((given[timed.name]?.length ?? 0) / timed.size);
  const last = MODEL.outputs.find((port) => !port.time);
  if (steps === 0 && last !== undefined) {
    throw new RangeError(`${MODEL.name}: the output '${last.name}' is that of the last time step; give at least one`);
  }
  return steps;
}

/** The values as an array of the port's own type. Throws a TypeError or RangeError that names the port. */
function checked(port, values, length, what) {
  if (!ArrayBuffer.isView(values) && !Array.isArray(values) || values instanceof DataView) {
    throw new TypeError(`${MODEL.name}: ${what} of '${port.name}' is ${typeof values}, expected a typed array or an array of numbers`);
  }
  if (values.length !== length) {
    const form = `${port.dtype}[${port.shape.join("][")}]`;
    const several = length === port.size ? "" : `, ${length / port.size} frames`;
    throw new RangeError(`${MODEL.name}: ${what} of '${port.name}' has ${values.length} values, expected ${length} (${form}${several})`);
  }
  return values instanceof ARRAYS[port.dtype] && port.dtype !== "bool" ? values : converted(port, values);
}

function converted(port, values) {
  const found = new ARRAYS[port.dtype](values.length);
  const wide = port.dtype === "int64";
  for (let i = 0; i < values.length; i++) {
    const value = typeof values[i] === "boolean" ? Number(values[i]) : values[i];
    if (typeof value !== "number" && typeof value !== "bigint") {
      throw new TypeError(`${MODEL.name}: '${port.name}' [${i}] is ${String(value)}, expected a number`);
    }
    const whole = wide ? Number.isInteger(value) || typeof value === "bigint" : true;
    found[i] = wide ? BigInt(whole ? value : 0) : Number(value);
    const kept = port.dtype === "float32" || whole && found[i] == value && !(port.dtype === "bool" && found[i] > 1);
    if (!kept) throw new RangeError(`${MODEL.name}: '${port.name}' [${i}] is ${value}, which is no ${port.dtype}`);
  }
  return found;
}

/** Outputs as the caller sees them: alone, or by name. */
function shown(arrays) {
  return arrays.length === 1 ? arrays[0] : Object.fromEntries(MODEL.outputs.map((port, i) => [port.name, arrays[i]]));
}

function resultsIn(out) {
  if (ALONE && out instanceof RESULT && out.length === MODEL.outputs[0].size) return [out];
  const byName = ArrayBuffer.isView(out) && MODEL.outputs.length === 1 ? { [MODEL.outputs[0].name]: out } : out;
  checkNames(byName, MODEL.outputs, "the model gives");
  return MODEL.outputs.map((port) => {
    const array = byName[port.name];
    if (!(array instanceof ARRAYS[port.dtype]) || array.length !== port.size) {
      throw new RangeError(`${MODEL.name}: out for '${port.name}' must be a ${ARRAYS[port.dtype].name} of ${port.size}`);
    }
    return array;
  });
}

/** Refuse the .wasm of another build, whose sizes and offsets are not those of this module. */
function checkBuild(module) {
  const found = WebAssembly.Module.customSections(module, "edgelstm").map((section) => new TextDecoder().decode(section));
  if (found[0] !== MODEL.build) {
    throw new Error(`${MODEL.name}: the WebAssembly module is not of the same build as this file (${found[0] ?? "none"}, ` +
      `expected ${MODEL.build}); take both from one folder, and look for stale caches`);
  }
}

async function bytesOf(source) {
  const given = await source;
  if (ArrayBuffer.isView(given) || given instanceof ArrayBuffer) return given;
  if (isFile(given)) {
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises");
    return readFile(String(given).startsWith("file:") ? new URL(given) : given);
  }
  const response = given instanceof Response ? given : await fetch(given);
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

/** Whether to read a file: Node's fetch knows no file URLs and no paths. */
function isFile(source) {
  if (typeof process !== "object" || !process.versions?.node) return false;
  return source instanceof URL ? source.protocol === "file:" : typeof source === "string" && !/^(https?|data|blob):/.test(source);
}
